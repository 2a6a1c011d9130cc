//! A script that fails in the middle, and one session whose keys are foreign among many.

use super::*;
use crate::backend::redis::tests::kind;
use crate::backend::redis::tests::midway::{allow, restricted};

#[tokio::test]
async fn what_a_user_may_not_run_is_named_when_the_store_is_opened() {
    if !redis_server_found("what_a_user_may_not_run_is_named_when_the_store_is_opened") {
        return;
    }
    let (server, url) = restricted("nothing");
    let cache = || RedisCache::new(&config(&url), "db").unwrap();
    cache().warnings(true).await.unwrap();
    for command in ["hkeys", "hexists", "hlen", "xadd", "xrange", "xlen"] {
        allow(&server, command);
        let error = cache().prove().await.unwrap_err();
        assert!(error.message().contains(&command.to_uppercase()), "{error}");
    }
    assert_eq!(server.run::<u32>("DBSIZE"), 0, "nothing is left of it");
}

#[tokio::test]
async fn an_outbox_does_not_acknowledge_what_failed_midway() {
    if !redis_server_found("an_outbox_does_not_acknowledge_what_failed_midway") {
        return;
    }
    let (server, url) = restricted("nothing");
    let copies = RedisCache::new(&config(&url), "db").unwrap();
    let session: SessionId = "s".into();
    let revision = |version| revision(TOKEN, version);
    install_at(&copies, &session, revision(0)).await;
    let write = async |base, changes: &[Change]| {
        let entry = Bytes::from_static(b"entry");
        copies
            .commit(&session, base, revision(base + 1), changes, Some(&entry), None)
            .await
    };
    assert_eq!(
        write(0, &[put("a", "1"), put("b", "1")]).await.unwrap(),
        Written::Yes
    );
    for without in ["hdel", "persist"] {
        allow(&server, without);
        for _ in 0..2 {
            let answer = write(1, &[put("a", "2"), drop_record("b")]).await;
            assert_eq!(kind(answer), Kind::Config);
        }
        allow(&server, "nothing");
        assert_eq!(
            copies.revision(&session).await.unwrap(),
            Some(revision(1)),
            "{without}"
        );
        assert!(!copies.confirm_entry(&session, 2).await.unwrap());
        // What the copy holds may be half of it: then it is at no revision that its owner knows of.
        let copied = copies.read(&session, &[key("a"), key("b")]).await.unwrap();
        assert_ne!(copied.revision, Some(revision(1)), "{without}");
    }
    let again = write(1, &[put("a", "2"), drop_record("b")]).await.unwrap();
    assert_eq!(again, Written::Yes);
    let copied = copies.read(&session, &[key("a"), key("b")]).await.unwrap();
    assert_eq!((copied.revision, copied.complete), (Some(revision(2)), false));
    assert_eq!(copied.records, [Some(Bytes::from("2")), None]);
}

#[tokio::test]
async fn a_foreign_key_fails_its_own_copy_among_many() {
    if !redis_server_found("a_foreign_key_fails_its_own_copy_among_many") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    let sessions: Vec<String> = (0..200).map(|index| format!("s{index}")).collect();
    for session in &sessions {
        install(&copies, session).await;
    }
    // Each key of a session in turn.
    let foreign = ["bv:{s60}:db:outbox", "bv:{s61}:db:owner"];
    for key in foreign {
        server.run::<u32>(&format!("DEL {key}"));
        server.run::<u32>(&format!("RPUSH {key} x"));
    }
    let held: Vec<_> = sessions
        .iter()
        .map(|session| HeldLease {
            session,
            token: 7,
            request_id: 1,
            version: 0,
        })
        .collect();
    let answers = copies.renew(&held, &owner("first"), LEASE).await;
    for (at, answer) in answers.into_iter().enumerate() {
        match at {
            60 | 61 => {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt, "s{at}: {error}");
                assert!(error.message().contains(foreign[at - 60]), "{error}");
            }
            _ => assert_eq!(answer.unwrap(), Renewed::Yes, "s{at}"),
        }
    }
}

#[tokio::test]
async fn an_outbox_that_went_back_renews_nothing() {
    if !redis_server_found("an_outbox_that_went_back_renews_nothing") {
        return;
    }
    let server = Server::start(&[]);
    let copies = RedisCache::new(&config(&server.url()), "db").unwrap();
    let session: SessionId = "s".into();
    let revision = |version| revision(TOKEN, version);
    install_at(&copies, &session, revision(3)).await;
    for (known, answer) in [(0, Renewed::Yes), (3, Renewed::Yes), (4, Renewed::Unknown)] {
        let held = HeldLease {
            session: &session,
            token: 7,
            request_id: 1,
            version: known,
        };
        let renewed = copies.renew(&[held], &owner("first"), LEASE).await.remove(0);
        assert_eq!(renewed.unwrap(), answer, "{known}");
    }
}
