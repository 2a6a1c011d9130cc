//! Copies and outboxes on real servers: many sessions in one call, each with its own answer.

mod midway;
mod replicas;

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::backend::redis::testing::{Server, redis_server_found};
use crate::backend::redis::tests::topologies::{cluster_url, start_cluster};
use crate::backend::redis::tests::{LEASE, config, drop_record, key, owner, put};

const TOKEN: Token = 7;

async fn install(copies: &RedisCache, session: &str) {
    let revision = Revision {
        token: TOKEN,
        ..Revision::default()
    };
    install_at(copies, session, revision).await;
}

/// Begins an outbox at `revision`.
async fn install_at(copies: &RedisCache, session: &str, revision: Revision) {
    let installed = copies
        .install(&session.into(), None, revision, &owner("first"), 1, LEASE)
        .await;
    assert_eq!(installed.unwrap(), Installed::Yes(revision), "{session}");
}

fn revision(token: Token, version: u64) -> Revision {
    Revision {
        token,
        version,
        commit_id: version,
        updated_at: 1,
    }
}

async fn write(copies: &RedisCache, session: &str, token: Token, base: u64) -> Result<Written> {
    let changes = [put("a", session), drop_record("b")];
    let entry = Bytes::copy_from_slice(session.as_bytes());
    copies
        .commit(
            &session.into(),
            base,
            revision(token, base + 1),
            &changes,
            Some(&entry),
            None,
        )
        .await
}

async fn held(copies: &RedisCache, session: &str) -> (Option<Revision>, Option<Bytes>) {
    let mut copied = copies.read(&session.into(), &[key("a")]).await.unwrap();
    (copied.revision, copied.records.remove(0))
}

fn calls(server: &Server) -> u64 {
    let info: String = server.run("INFO commandstats");
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    let calls = line.and_then(|line| line.split_once("calls=")?.1.split(',').next()?.parse().ok());
    calls.unwrap_or(0)
}

#[tokio::test]
async fn commits_to_hot_copies_share_calls_and_each_has_its_own_answer() {
    if !redis_server_found("commits_to_hot_copies_share_calls_and_each_has_its_own_answer") {
        return;
    }
    let server = Server::start(&[]);
    let copies = Arc::new(RedisCache::new(&config(&server.url()), "db").unwrap());
    let sessions: Vec<String> = (0..600).map(|index| format!("s{index}")).collect();
    for session in &sessions {
        install(&copies, session).await;
    }
    // Another type under one session's key, and a session that Redis has lost.
    server.run::<()>("DEL bv:{s302}:db:hot bv:{s303}:db:outbox bv:{s304}:db:outbox");
    server.run::<()>("SET bv:{s302}:db:hot x");
    server.run::<()>("SET bv:{s303}:db:outbox x");
    let before = calls(&server);
    let writes = sessions
        .iter()
        .enumerate()
        .map(async |(index, session)| match index {
            300 => write(&copies, session, TOKEN - 1, 0).await,
            301 => write(&copies, session, TOKEN, 5).await,
            _ => write(&copies, session, TOKEN, 0).await,
        });
    let answers = join_all(writes).await;
    assert!(calls(&server) - before < 100, "{} calls", calls(&server) - before);
    let untouched = Some(revision(TOKEN, 0)).map(|revision| Revision {
        updated_at: 0,
        ..revision
    });
    for (index, answer) in answers.into_iter().enumerate() {
        match index {
            300 | 301 => assert_eq!(answer.unwrap(), Written::No(untouched), "{index}"),
            302 | 303 => assert!(answer.is_err(), "{index}"),
            304 => assert_eq!(answer.unwrap(), Written::No(None)),
            _ => assert_eq!(answer.unwrap(), Written::Yes, "{index}"),
        }
    }
    assert_eq!(held(&copies, "s300").await, (untouched, None));
    let (found, value) = held(&copies, "s599").await;
    assert_eq!((found, value), (Some(revision(TOKEN, 1)), Some("s599".into())));
    let entries = copies.entries(&"s599".into()).await.unwrap();
    assert_eq!(entries, [(1, Bytes::from_static(b"s599"))]);
    assert_eq!(copies.entries(&"s301".into()).await.unwrap(), []);
    // Sent again: it stands there already.
    let again = write(&copies, "s599", TOKEN, 0).await.unwrap();
    assert_eq!(again, Written::No(Some(revision(TOKEN, 1))));
}

#[tokio::test]
async fn who_is_shut_out_of_an_outbox_writes_no_more() {
    if !redis_server_found("who_is_shut_out_of_an_outbox_writes_no_more") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    let session: SessionId = "s".into();
    install(&copies, "s").await;
    assert_eq!(write(&copies, "s", TOKEN, 0).await.unwrap(), Written::Yes);
    // By its successor, and by an earlier one who comes late.
    for (token, found) in [(TOKEN + 1, TOKEN), (TOKEN - 1, TOKEN + 1)] {
        let before = copies.fence(&session, token).await.unwrap();
        assert_eq!(before, Some(revision(found, 1)));
        let refused = write(&copies, "s", TOKEN, 1).await.unwrap();
        assert_eq!(refused, Written::No(Some(revision(TOKEN + 1, 1))));
    }
    let entries = copies.entries(&session).await.unwrap();
    assert_eq!(entries, [(1, Bytes::from_static(b"s"))]);
}

#[tokio::test]
async fn trimming_removes_the_entries_that_it_names() {
    if !redis_server_found("trimming_removes_the_entries_that_it_names") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    install(&copies, "s").await;
    for base in 0..4 {
        assert_eq!(write(&copies, "s", TOKEN, base).await.unwrap(), Written::Yes);
    }
    let session: SessionId = "s".into();
    let left = async || {
        let entries = copies.entries(&session).await.unwrap();
        entries.iter().map(|(version, _)| *version).collect::<Vec<_>>()
    };
    copies.trim(&session, TOKEN - 1, &[1, 2]).await.unwrap();
    assert_eq!(left().await, [1, 2, 3, 4], "somebody else owns it");
    copies.trim(&session, TOKEN, &[1, 2]).await.unwrap();
    assert_eq!(left().await, [3, 4]);
    assert_eq!(copies.revision(&session).await.unwrap(), Some(revision(TOKEN, 4)));
}

/// A later owner may have acknowledged something there since the session was deleted.
#[tokio::test]
async fn a_deleted_session_takes_no_entries_with_it_that_came_since() {
    if !redis_server_found("a_deleted_session_takes_no_entries_with_it_that_came_since") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    let session: SessionId = "s".into();
    install(&copies, "s").await;
    let entries = async || copies.entries(&session).await.unwrap().len();
    assert_eq!(write(&copies, "s", TOKEN, 0).await.unwrap(), Written::Yes);
    let seen = copies.revision(&session).await.unwrap();
    assert_eq!(write(&copies, "s", TOKEN, 1).await.unwrap(), Written::Yes);
    for late in [seen, None] {
        copies.purge(&session, late).await.unwrap();
        assert_eq!(entries().await, 2);
    }
    let seen = copies.revision(&session).await.unwrap();
    copies.purge(&session, seen).await.unwrap();
    assert_eq!(entries().await, 0);
    let left = copies.revision(&session).await.unwrap().unwrap();
    assert_eq!((left.token, left.version), (TOKEN, 0));
}

#[tokio::test]
async fn leases_beside_hot_copies_are_renewed_together() {
    if !redis_server_found("leases_beside_hot_copies_are_renewed_together") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    let sessions: Vec<String> = (0..450).map(|index| format!("s{index}")).collect();
    for session in &sessions {
        install(&copies, session).await;
    }
    server.run::<()>("DEL bv:{s1}:db:owner bv:{s2}:db:outbox");
    server.run::<()>("SET bv:{s3}:db:owner 0-0000000000000002-other");
    copies.fence(&"s4".into(), TOKEN + 1).await.unwrap();
    let leases: Vec<_> = sessions
        .iter()
        .map(|session| HeldLease {
            session,
            token: TOKEN,
            request_id: 1,
            version: 0,
        })
        .collect();
    let before = calls(&server);
    let answers = copies.renew(&leases, &owner("first"), 20 * LEASE).await;
    assert!(calls(&server) - before <= 4, "many by one call");
    assert_eq!(answers.len(), 450);
    for (index, answer) in answers.into_iter().enumerate() {
        let expected = match index {
            2 => Renewed::Unknown,
            3 => Renewed::Contested,
            4 => Renewed::Fenced,
            _ => Renewed::Yes,
        };
        assert_eq!(answer.unwrap(), expected, "s{index}");
    }
    let long = i64::try_from((10 * LEASE).as_millis()).unwrap();
    for index in [0, 1, 449] {
        assert!(
            server.run::<i64>(&format!("PTTL bv:{{s{index}}}:db:owner")) > long,
            "s{index}"
        );
    }
    // One that had run out is written as it was.
    let (back, kept): (String, String) = (
        server.run("GET bv:{s1}:db:owner"),
        server.run("GET bv:{s0}:db:owner"),
    );
    assert_eq!(back, kept);
}

#[tokio::test]
async fn a_cluster_takes_hot_copies_on_every_node() {
    if !redis_server_found("a_cluster_takes_hot_copies_on_every_node") {
        return;
    }
    let servers = start_cluster(&[]);
    let copies = RedisCache::new(&config(&cluster_url(&servers[..1])), "db").unwrap();
    let sessions: Vec<String> = (0..30).map(|index| format!("s{index}")).collect();
    for session in &sessions {
        install(&copies, session).await;
    }
    let writes = sessions.iter().map(|session| write(&copies, session, TOKEN, 0));
    for written in join_all(writes).await {
        assert_eq!(written.unwrap(), Written::Yes);
    }
    let leases: Vec<_> = sessions
        .iter()
        .map(|session| HeldLease {
            session,
            token: TOKEN,
            request_id: 1,
            version: 0,
        })
        .collect();
    for renewed in copies.renew(&leases, &owner("first"), LEASE).await {
        assert_eq!(renewed.unwrap(), Renewed::Yes);
    }
    for server in &servers {
        assert!(server.run::<u32>("DBSIZE") > 0);
    }
}
