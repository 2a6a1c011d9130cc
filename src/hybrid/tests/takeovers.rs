//! Who takes a session over from whom, with another kind of store, a second installation, or a Redis that forgot in
//! between.

use super::*;
use crate::backend::{AcquireOutcome, Owner};
use crate::hybrid::cache::Reserved;

/// Runs out while a test looks on.
const SHORT: Duration = Duration::from_millis(500);

/// An owner whose lease in MongoDB runs out soon, cut from MongoDB after its first commit, with `commits` more that
/// only Redis has.
async fn owner_ahead(servers: &mut Servers, session: &SessionId, commits: u64) -> (HybridBackend, Token) {
    let owner = servers.hybrid(behind()).await;
    let request = Acquire {
        lease: SHORT,
        ..acquire(session)
    };
    let token = grant(&owner, request).await.token;
    put(&owner, session, token, 0, "a", "0").await.unwrap();
    owner.reconcile().await.unwrap();
    servers.mongo.cut().await;
    for base in 1..=commits {
        put(&owner, session, token, base, "a", &base.to_string())
            .await
            .unwrap();
    }
    (owner, token)
}

/// What comes of opening the session once no lease holds it any more.
async fn opened_when_free(backend: &dyn Backend, session: &SessionId) -> Result<Acquired> {
    let mut answer = None;
    until("the leases ran out", async || {
        let asked = backend.acquire(acquire(session)).await;
        let free = !matches!(asked, Ok(Acquired::Held(_)));
        answer = free.then_some(asked);
        free
    })
    .await;
    answer.unwrap()
}

async fn everything_applied(owner: &HybridBackend) {
    until("MongoDB has everything", async || {
        owner.reconcile().await.is_ok() && owner.outbox_stats().pending == 0
    })
    .await;
}

#[tokio::test]
async fn a_store_without_redis_does_not_pass_an_outbox() {
    let name = "a_store_without_redis_does_not_pass_an_outbox";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "beside".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 2).await;
    let plain = servers.primary().await;
    let error = opened_when_free(&plain, &session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SessionBusy, "{error:?}");
    assert!(error.message().contains("outbox"), "{error:?}");
    assert_eq!(error.detail("option").unwrap(), "acceptLostOutbox");

    // The owner was not disturbed by that.
    servers.mongo.mend().await;
    everything_applied(&owner).await;
    put(&owner, &session, token, 3, "a", "3").await.unwrap();
    owner.release(&session, token).await.unwrap();
    assert_eq!(owner.outbox_stats().dead_letters, 0);
    assert_eq!(granted(&plain, &session).await.head.version, 4);
    assert_eq!(get(&plain, &session, "a").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_session_that_stands_in_an_outbox_alone_is_no_new_session() {
    let name = "a_session_that_stands_in_an_outbox_alone_is_no_new_session";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "only-there".into();
    let owner = servers.hybrid(behind()).await;
    let request = Acquire {
        lease: SHORT,
        ..acquire(&session)
    };
    let token = grant(&owner, request).await.token;
    servers.mongo.cut().await;
    put(&owner, &session, token, 0, "creds", "paired").await.unwrap();
    killed(owner).await;
    servers.mongo.mend().await;
    let plain = servers.primary().await;
    let error = opened_when_free(&plain, &session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SessionBusy, "{error:?}");
    let next = servers.hybrid(through()).await;
    let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
        unreachable!("it is free");
    };
    assert_eq!(taken.head.version, 1);
    assert_eq!(get(&next, &session, "creds").await.as_deref(), Some("paired"));
}

#[tokio::test]
async fn what_another_commit_has_passed_is_a_dead_letter() {
    let name = "what_another_commit_has_passed_is_a_dead_letter";
    for others in [1, 3, 5] {
        let Some(mut servers) = Servers::start(name).await else {
            return;
        };
        let session: SessionId = "passed".into();
        let (owner, token) = owner_ahead(&mut servers, &session, 3).await;
        killed(owner).await;
        servers.mongo.mend().await;
        // The operator goes on without Redis, which comes back later.
        let plain = servers.primary_without_outboxes().await;
        let taken = succeed(&plain, &session, token).await;
        assert_eq!(taken.head.version, 1);
        for base in 1..=others {
            put(&plain, &session, taken.token, base, "b", &base.to_string())
                .await
                .unwrap();
        }
        plain.release(&session, taken.token).await.unwrap();
        let next = servers.hybrid(behind()).await;
        let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
            unreachable!("it is free");
        };
        assert_eq!(
            taken.head.version,
            others + 1,
            "nothing is mixed into what MongoDB has"
        );
        assert_eq!(get(&next, &session, "a").await.as_deref(), Some("0"));
        let letters = next.dead_letters().await.unwrap();
        let versions: Vec<_> = letters.iter().map(|letter| letter.version).collect();
        assert_eq!(versions, [2, 3, 4], "after {others}: {letters:?}");
        put(&next, &session, taken.token, others + 1, "a", "next")
            .await
            .unwrap();
        everything_applied(&next).await;
    }
}

/// As after MongoDB was restored from a copy in which the session went on in another way.
#[tokio::test]
async fn an_entry_whose_place_another_commit_has_is_a_dead_letter() {
    let name = "an_entry_whose_place_another_commit_has_is_a_dead_letter";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "another".into();
    let (owner, _) = owner_ahead(&mut servers, &session, 3).await;
    killed(owner).await;
    servers.mongo.mend().await;
    let client = mongodb::Client::with_uri_str(&servers.mongo_url).await.unwrap();
    let sessions = client
        .database(&servers.database)
        .collection::<mongodb::bson::Document>("vault_sessions");
    let another = mongodb::bson::doc! { "$set": { "version": 2_i64, "commitId": 99_i64 } };
    let changed = sessions
        .update_one(mongodb::bson::doc! { "_id": &*session }, another)
        .await;
    assert_eq!(changed.unwrap().modified_count, 1);
    let next = servers.hybrid(behind()).await;
    let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
        unreachable!("it is free");
    };
    assert_eq!(taken.head.version, 2, "nothing is built on what is not known");
    let letters = next.dead_letters().await.unwrap();
    let versions: Vec<_> = letters.iter().map(|letter| letter.version).collect();
    assert_eq!(versions, [2, 3, 4], "{letters:?}");
}

/// The owner died when MongoDB had the commit and Redis had its entry still.
#[tokio::test]
async fn what_was_applied_before_an_outbox_was_passed_is_no_dead_letter() {
    let name = "what_was_applied_before_an_outbox_was_passed_is_no_dead_letter";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "applied".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 1).await;
    let outbox = servers.outbox_key(&session).await;
    servers
        .redis
        .run::<bool>(&format!("COPY {outbox} {outbox}:before"));
    servers.mongo.mend().await;
    everything_applied(&owner).await;
    servers.mongo.cut().await;
    put(&owner, &session, token, 2, "a", "2").await.unwrap();
    killed(owner).await;
    let untrimmed = format!(
        "EVAL return(redis.call('HSET',KEYS[2],'2',redis.call('HGET',KEYS[1],'2'))) 2 {outbox}:before {outbox}"
    );
    assert_eq!(servers.redis.run::<u64>(&untrimmed), 1, "it had been trimmed");
    servers.mongo.mend().await;

    let plain = servers.primary_without_outboxes().await;
    let taken = succeed(&plain, &session, token).await;
    assert_eq!(taken.head.version, 2);
    plain.release(&session, taken.token).await.unwrap();
    let next = servers.hybrid(behind()).await;
    let taken = granted(&next, &session).await;
    assert_eq!(taken.head.version, 2);
    let letters = next.dead_letters().await.unwrap();
    let versions: Vec<_> = letters.iter().map(|letter| letter.version).collect();
    assert_eq!(versions, [3], "{letters:?}");
}

#[tokio::test]
async fn who_tries_and_fails_to_take_over_destroys_nothing() {
    let name = "who_tries_and_fails_to_take_over_destroys_nothing";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "standby".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 3).await;
    servers.redis.run::<String>("FLUSHALL");
    let standby = servers.hybrid_with_mongo(&servers.mongo_url, behind()).await;
    let error = opened_when_free(&standby, &session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SessionLost, "{error:?}");
    let primary = servers.primary().await;
    let metadata = primary.metadata(&session).await.unwrap().unwrap();
    assert_eq!(metadata.token, token, "nobody is fenced by an attempt");

    servers.mongo.mend().await;
    everything_applied(&owner).await;
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("3"));
    put(&owner, &session, token, 4, "a", "4").await.unwrap();
    owner.release(&session, token).await.unwrap();
    assert_eq!(owner.outbox_stats().dead_letters, 0);
    granted(&standby, &session).await;
    assert_eq!(get(&standby, &session, "a").await.as_deref(), Some("4"));
}

/// Redis forgot the outbox after the standby had looked: the owner is fenced, and what it acknowledged is in its
/// memory alone.
#[tokio::test]
async fn an_owner_fenced_by_a_failed_takeover_hands_over_from_memory() {
    let name = "an_owner_fenced_by_a_failed_takeover_hands_over_from_memory";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "from-memory".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 3).await;
    servers.redis.run::<String>("FLUSHALL");
    let primary = servers.primary().await;
    // As far as a takeover gets that fails right after it raised the token.
    let request = Acquire {
        preempt: Some(token),
        ..acquire(&session)
    };
    let taken = primary
        .acquire_checking_outbox(request, Some(token))
        .await
        .unwrap();
    let AcquireOutcome::Granted(taken, _) = taken else {
        panic!("{taken:?}");
    };
    primary.release(&session, taken.token).await.unwrap();

    servers.mongo.mend().await;
    until("the owner has handed over", async || {
        owner.outbox_stats().pending == 0
    })
    .await;
    assert_eq!(owner.outbox_stats().dead_letters, 0);
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("3"));
    let error = put(&owner, &session, token, 4, "a", "4").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
    let next = servers.hybrid(behind()).await;
    let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
        unreachable!("it is free");
    };
    assert_eq!(taken.head.version, 4);
}

/// Another database, the same Redis, the same prefix and the same name of a session.
#[tokio::test]
async fn two_installations_on_one_redis_do_not_meet() {
    let name = "two_installations_on_one_redis_do_not_meet";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let Some(others) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "bot".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 3).await;
    killed(owner).await;
    servers.mongo.mend().await;
    let other = others.hybrid_by(&servers.redis.url(), behind(), None).await;
    let taken = granted(&other, &session).await;
    assert_eq!(taken.head.version, 0);
    put(&other, &session, taken.token, 0, "a", "other").await.unwrap();

    let next = servers.hybrid(behind()).await;
    let taken = succeed(&next, &session, token).await;
    assert_eq!(taken.head.version, 4);
    assert_eq!(get(&next, &session, "a").await.as_deref(), Some("3"));
    assert_eq!(get(&other, &session, "a").await.as_deref(), Some("other"));
    assert!(other.dead_letters().await.unwrap().is_empty());
}

/// Entries that MongoDB says nothing of are not thrown away.
#[tokio::test]
async fn an_outbox_nobody_was_told_of_becomes_dead_letters() {
    let name = "an_outbox_nobody_was_told_of_becomes_dead_letters";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "untold".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 2).await;
    killed(owner).await;
    servers.mongo.mend().await;
    // MongoDB was restored from a copy made before the outbox was announced.
    let primary = servers.primary().await;
    primary.close_outbox(&session, token, None).await.unwrap();
    primary.release(&session, token).await.unwrap();
    let next = servers.hybrid(behind()).await;
    let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
        unreachable!("it is free");
    };
    assert_eq!(taken.head.version, 1);
    let letters = next.dead_letters().await.unwrap();
    let versions: Vec<_> = letters.iter().map(|letter| letter.version).collect();
    assert_eq!(versions, [2, 3], "{letters:?}");
    put(&next, &session, taken.token, 1, "a", "next").await.unwrap();
    everything_applied(&next).await;
}

#[tokio::test]
async fn nobody_writes_beside_an_outbox() {
    let Some(servers) = Servers::start("nobody_writes_beside_an_outbox").await else {
        return;
    };
    let session: SessionId = "asked-before".into();
    let shared = |base, value| commit(&session, Fence::Shared, base, vec![change("session", "a", value)]);
    let (plain, hybrid) = (servers.primary().await, servers.hybrid(through()).await);
    // Both know the session from a commit of their own.
    commit_one(&plain, shared(0, "1")).await.unwrap();
    commit_one(&hybrid, shared(1, "2")).await.unwrap();
    let owner = servers.hybrid(behind()).await;
    let token = granted(&owner, &session).await.token;
    for other in [&plain as &dyn Backend, &hybrid] {
        for _ in 0..2 {
            let refused = commit_one(other, shared(2, "no")).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::SessionBusy, "{refused:?}");
        }
        let refused = other.delete(&session, Fence::Shared).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::SessionBusy, "{refused:?}");
    }
    put(&owner, &session, token, 2, "a", "3").await.unwrap();
    owner.release(&session, token).await.unwrap();
    assert_eq!(owner.outbox_stats().dead_letters, 0);
    for other in [&plain as &dyn Backend, &hybrid] {
        assert_eq!(get(other, &session, "a").await.as_deref(), Some("3"));
    }
    commit_one(&plain, shared(3, "4")).await.unwrap();
    assert!(hybrid.delete(&session, Fence::Shared).await.unwrap());
}

/// The owner in the same process was succeeded, which says nothing about who needs no lease.
#[tokio::test]
async fn calls_without_a_lease_are_not_answered_for_a_fenced_owner() {
    let name = "calls_without_a_lease_are_not_answered_for_a_fenced_owner";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    for call in ["commit", "touch", "delete", "scan", "list"] {
        let session: SessionId = call.into();
        let (owner, _) = owner_ahead(&mut servers, &session, 2).await;
        let next = servers.hybrid_with_mongo(&servers.mongo_url, behind()).await;
        let Acquired::Granted(taken) = opened_when_free(&next, &session).await.unwrap() else {
            unreachable!("it is free");
        };
        assert_eq!(taken.head.version, 3);
        next.release(&session, taken.token).await.unwrap();
        servers.mongo.mend().await;
        let shared = commit(&session, Fence::Shared, 3, vec![change("session", "a", "shared")]);
        let mut expected = Some("2");
        match call {
            "commit" => {
                expected = Some("shared");
                assert_eq!(commit_one(&owner, shared).await.unwrap().version, 4);
            }
            "touch" => assert!(owner.touch(&session, Fence::Shared, None).await.unwrap()),
            "delete" => {
                expected = None;
                assert!(owner.delete(&session, Fence::Shared).await.unwrap());
            }
            "scan" => {
                let page = owner.scan(&session, None, None, 10, Seen::NOTHING).await.unwrap();
                assert_eq!(page.items.len(), 1);
            }
            _ => assert!(owner.list(None, 10).await.unwrap().items.contains(&session)),
        }
        assert_eq!(get(&next, &session, "a").await.as_deref(), expected, "{call}");
        assert_eq!(owner.outbox_stats().dead_letters, 0, "{call}");
    }
}

/// Redis forgot, MongoDB is away, and the process must end.
#[tokio::test]
async fn what_neither_server_has_is_left_in_a_file() {
    let Some(mut servers) = Servers::start("what_neither_server_has_is_left_in_a_file").await else {
        return;
    };
    let session: SessionId = "last-words".into();
    let (owner, token) = owner_ahead(&mut servers, &session, 2).await;
    servers.redis.run::<String>("FLUSHALL");
    let error = owner.close().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    let named = serde_json::json!([
        { "session": "last-words", "version": 2 }, { "session": "last-words", "version": 3 },
    ]);
    assert_eq!(error.detail("commits"), Some(&named));
    let file = error.detail("file").and_then(|file| file.as_str()).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::remove_file(file).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[1]["token"].as_u64(), lines[1]["version"].as_u64()),
        (Some(token), Some(3))
    );
    let entry = lines[1]["entry"].as_str().unwrap();
    assert!(
        entry.starts_with("010000000000000002"),
        "an entry as in an outbox: {entry}"
    );
}

/// MongoDB's lease names one, Redis' reservation another, and both processes are gone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_dead_owners_are_succeeded_at_once() {
    let Some(mut servers) = Servers::start("two_dead_owners_are_succeeded_at_once").await else {
        return;
    };
    let session: SessionId = "two-dead".into();
    let [one, other] = [(); 2].map(|()| {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        owner
    });
    let first = servers.hybrid(behind()).await;
    let request = Acquire {
        owner: one,
        ..acquire(&session)
    };
    let token = grant(&first, request).await.token;
    servers.mongo.cut().await;
    put(&first, &session, token, 0, "a", "1").await.unwrap();
    let lease = seconds(600);
    let reserved = first
        .0
        .cache
        .call(|cache| cache.reserve(&session, 1, &other, lease, Some(token), 0))
        .await;
    assert!(matches!(reserved, Ok(Reserved::Yes(_))), "{reserved:?}");
    killed(first).await;
    servers.mongo.mend().await;
    let next = servers.hybrid(behind()).await;
    assert_eq!(succeed(&next, &session, token).await.head.version, 1);
}
