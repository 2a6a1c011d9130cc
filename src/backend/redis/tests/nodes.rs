//! Nodes of a cluster that hang, fail or move are nobody else's business.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::super::testing::{Server, redis_server_found};
use super::topologies::{cluster_url, start_cluster};
use super::*;
use crate::backend::Renewal;

/// Longer than any answer of a node that works takes on a busy machine, shorter than one that hangs is waited for.
const SOON: Duration = Duration::from_millis(2_500);
const SHORT_LEASE: Duration = Duration::from_secs(8);

struct Sessions {
    backend: Arc<RedisBackend>,
    /// Of the node that will hang, and of the others.
    there: Vec<(String, Token)>,
    elsewhere: Vec<(String, Token)>,
}

async fn sessions_on(servers: &[Server], hanging: usize) -> Sessions {
    let limits = RedisConfig {
        operation_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(2),
        ..config(&cluster_url(servers))
    };
    let backend = Arc::new(RedisBackend::new(&limits).unwrap());
    let (mut there, mut elsewhere) = (Vec::new(), Vec::new());
    for index in 0..30 {
        let session = format!("s{index}");
        let request = Acquire {
            lease: SHORT_LEASE,
            ..request(&session, "first")
        };
        let token = granted(backend.acquire(request).await.unwrap()).token;
        let is_there = servers[hanging]
            .try_run::<String>(&format!("HGET bv:{{{session}}} @"))
            .is_ok();
        if is_there { &mut there } else { &mut elsewhere }.push((session, token));
    }
    assert!(there.len() > 2 && elsewhere.len() > 5);
    Sessions {
        backend,
        there,
        elsewhere,
    }
}

fn renewals_of(sessions: &[(String, Token)]) -> Vec<Renewal> {
    let leases: Vec<_> = sessions
        .iter()
        .map(|(session, token)| (session.as_str().into(), *token))
        .collect();
    renewals(&leases)
}

#[tokio::test]
async fn a_node_that_hangs_holds_up_its_own_sessions_alone() {
    if !redis_server_found("a_node_that_hangs_holds_up_its_own_sessions_alone") {
        return;
    }
    let servers = start_cluster(&["--cluster-require-full-coverage", "no"]);
    let Sessions {
        backend,
        there,
        elsewhere,
    } = sessions_on(&servers, 1).await;
    let parts: HashMap<_, _> = there
        .iter()
        .chain(&elsewhere)
        .map(|(session, _)| (session.clone(), backend.part_of(&session.as_str().into())))
        .collect();
    let of_the_node = parts[&there[0].0];
    for (session, part) in &parts {
        let is_there = there.iter().any(|(other, _)| other == session);
        assert_eq!(*part == of_the_node, is_there, "{session}");
    }

    servers[1].freeze(true);
    let stuck = {
        let backend = backend.clone();
        let there = there.clone();
        tokio::spawn(async move {
            let start = Instant::now();
            let mut failures = 0;
            while start.elapsed() < Duration::from_secs(12) {
                let tries = there.iter().map(|(session, token)| {
                    let next = commit(session, *token, 0, vec![put("a", "1")]);
                    commit_one(&backend, next)
                });
                for result in join_all(tries).await {
                    let error = result.unwrap_err();
                    assert!(is_outage(&error) && error.is_of_part(), "{error}");
                    failures += 1;
                }
                let renewed = backend.renew(&renewals_of(&there), SHORT_LEASE).await;
                assert!(
                    renewed
                        .iter()
                        .all(|answer| is_outage(answer.as_ref().unwrap_err()))
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            failures
        })
    };
    let mut versions: HashMap<String, u64> = HashMap::new();
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(12) {
        for (session, token) in &elsewhere {
            let base = versions.entry(session.clone()).or_default();
            let asked = Instant::now();
            let head = commit_one(&backend, commit(session, *token, *base, vec![put("a", "1")])).await;
            *base = head.unwrap_or_else(|error| panic!("{session}: {error}")).version;
            assert_eq!(read_one(&backend, session, "a").await.as_deref(), Some("1"));
            assert!(asked.elapsed() < SOON, "{session}: {:?}", asked.elapsed());
        }
        let asked = Instant::now();
        for answer in backend.renew(&renewals_of(&elsewhere), SHORT_LEASE).await {
            answer.unwrap();
        }
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        rounds += 1;
    }
    assert!(rounds > 2, "{rounds}");
    assert!(stuck.await.unwrap() > 0);
    // No lease of a healthy node ran out, and the sessions of the other one go on when it does.
    let leases: Vec<_> = elsewhere
        .iter()
        .map(|(session, token)| (SessionId::from(session.as_str()), *token))
        .collect();
    assert!(
        backend
            .check_leases(&leases)
            .await
            .unwrap()
            .iter()
            .all(|held| *held)
    );
    servers[1].freeze(false);
    for (session, token) in &there {
        let next = commit(session, *token, 0, vec![put("a", "2")]);
        // What was sent before may arrive first.
        let head = persist(async || commit_one(&backend, next.clone()).await).await;
        match head {
            Ok(head) => assert_eq!(head.version, 1),
            Err(error) => assert_eq!(error.kind(), Kind::VersionMismatch, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_slot_that_went_to_another_node_is_found_there() {
    if !redis_server_found("a_slot_that_went_to_another_node_is_found_there") {
        return;
    }
    let mut servers = start_cluster(&["--cluster-require-full-coverage", "no"]);
    let sessions = sessions_on(&servers, 1).await;
    let (session, _) = sessions.there[0].clone();
    let slot: u16 = servers[0].run(&format!("CLUSTER KEYSLOT bv:{{{session}}}"));
    // As a replica that takes over: the old node says nothing any more, and the others know better.
    servers[1].kill();
    let heir: String = servers[2].run("CLUSTER MYID");
    for at in [0, 2] {
        servers[at].run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {heir}"));
    }
    let token = persist(async || sessions.backend.acquire(request(&session, "second")).await)
        .await
        .map(granted)
        .unwrap()
        .token;
    let next = commit(&session, token, 0, vec![put("a", "1")]);
    assert_eq!(commit_one(&sessions.backend, next).await.unwrap().version, 1);
    assert!(servers[2].run::<bool>(&format!("EXISTS bv:{{{session}}}")));
}
