//! Owners that die, stop for a while, or leave half of their work.

use futures_util::future::join_all;

use super::*;
use crate::backend::DeadLetter;
use crate::hybrid::cache::Cache;

/// The way to MongoDB is cut before the commits, so that only Redis has them when the owner is gone.
async fn die_with_an_outbox(servers: &mut Servers, session: &SessionId, commits: u64) -> Token {
    let owner = servers.hybrid(behind()).await;
    let token = granted(&owner, session).await.token;
    put(&owner, session, token, 0, "a", "0").await.unwrap();
    owner.reconcile().await.unwrap();
    servers.mongo.cut().await;
    for base in 1..=commits {
        put(&owner, session, token, base, "a", &base.to_string())
            .await
            .unwrap();
    }
    killed(owner).await;
    servers.mongo.mend().await;
    token
}

#[tokio::test]
async fn the_next_owner_sees_what_only_redis_had() {
    let Some(mut servers) = Servers::start("the_next_owner_sees_what_only_redis_had").await else {
        return;
    };
    let session: SessionId = "crash".into();
    let token = die_with_an_outbox(&mut servers, &session, 7).await;
    assert_eq!(servers.primary().await.head(&session).await.unwrap().version, 1);
    // Also an owner that does not use an outbox itself.
    let next = servers.hybrid(through()).await;
    let request = Acquire {
        preempt: Some(token),
        read: vec![key("session", "a")],
        ..acquire(&session)
    };
    let taken = grant(&next, request).await;
    assert_eq!(taken.head.version, 8);
    assert_eq!(taken.records, [Some(Bytes::from_static(b"7"))]);
    assert_eq!(
        get(&servers.primary().await, &session, "a").await.as_deref(),
        Some("7")
    );
    put(&next, &session, taken.token, 8, "a", "8").await.unwrap();
}

#[tokio::test]
async fn a_held_lease_in_redis_is_held() {
    let Some(mut servers) = Servers::start("a_held_lease_in_redis_is_held").await else {
        return;
    };
    let session: SessionId = "held".into();
    let token = die_with_an_outbox(&mut servers, &session, 1).await;
    // MongoDB's lease ran out, as if its owner could not reach it.
    let primary = servers.primary().await;
    primary.release(&session, token).await.unwrap();
    let next = servers.hybrid(behind()).await;
    match next.acquire(acquire(&session)).await.unwrap() {
        Acquired::Held(holder) => assert_eq!(holder.token, token),
        Acquired::Granted(_) => panic!("Redis' lease stands"),
    }
    assert_eq!(succeed(&next, &session, token).await.head.version, 2);
}

#[tokio::test]
async fn an_outbox_that_was_lost_is_not_ignored() {
    let Some(mut servers) = Servers::start("an_outbox_that_was_lost_is_not_ignored").await else {
        return;
    };
    let session: SessionId = "lost".into();
    let token = die_with_an_outbox(&mut servers, &session, 3).await;

    servers.redis.kill();
    let next = servers.hybrid(behind()).await;
    let request = Acquire {
        preempt: Some(token),
        ..acquire(&session)
    };
    let error = next.acquire(request.clone()).await.unwrap_err();
    assert!(is_away(&error), "Redis may have something: {error:?}");

    servers.redis.start_again();
    servers.redis.run::<String>("FLUSHALL");
    until("Redis is found again", async || next.redis_is_reachable()).await;
    for _ in 0..2 {
        let error = next.acquire(request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SessionLost, "{error:?}");
    }
    let accepting = servers
        .hybrid(HybridConfig {
            accept_lost_outbox: true,
            ..behind()
        })
        .await;
    let taken = grant(&accepting, request).await;
    assert_eq!(taken.head.version, 1);
    put(&accepting, &session, taken.token, 1, "b", "1").await.unwrap();
    accepting.release(&session, taken.token).await.unwrap();
    granted(&next, &session).await;
}

#[tokio::test]
async fn an_owner_that_released_needs_no_redis() {
    let Some(mut servers) = Servers::start("an_owner_that_released_needs_no_redis").await else {
        return;
    };
    let session: SessionId = "released".into();
    let first = servers.hybrid(behind()).await;
    let token = granted(&first, &session).await.token;
    put(&first, &session, token, 0, "a", "1").await.unwrap();
    first.release(&session, token).await.unwrap();
    servers.redis.kill();
    let second = servers.hybrid(behind()).await;
    let token = granted(&second, &session).await.token;
    put(&second, &session, token, 1, "a", "2").await.unwrap();
    // Redis comes back with the copy that the first owner left, which is old.
    servers.redis.start_again();
    until("Redis is found again", async || second.redis_is_reachable()).await;
    assert_eq!(get(&second, &session, "a").await.as_deref(), Some("2"));
    put(&second, &session, token, 2, "b", "3").await.unwrap();
    assert_eq!(get(&second, &session, "a").await.as_deref(), Some("2"));
    second.release(&session, token).await.unwrap();
    let third = servers.hybrid(through()).await;
    granted(&third, &session).await;
    assert_eq!(get(&third, &session, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn an_old_copy_never_serves() {
    let Some(mut servers) = Servers::start("an_old_copy_never_serves").await else {
        return;
    };
    let session: SessionId = "old-copy".into();
    let backend = servers.hybrid(through()).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    servers.redis.kill();
    put(&backend, &session, token, 1, "a", "2").await.unwrap();
    backend.release(&session, token).await.unwrap();
    servers.redis.start_again();
    until("Redis is found again", async || backend.redis_is_reachable()).await;
    let other = servers.hybrid(through()).await;
    granted(&other, &session).await;
    assert_eq!(get(&other, &session, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_stale_owner_is_refused_by_both() {
    for config in [through(), through_with_outbox(), behind()] {
        let Some(servers) = Servers::start("a_stale_owner_is_refused_by_both").await else {
            return;
        };
        let session: SessionId = "stale".into();
        let old = servers.hybrid(config.clone()).await;
        let token = granted(&old, &session).await.token;
        put(&old, &session, token, 0, "a", "1").await.unwrap();
        let new = servers.hybrid(config).await;
        let taken = succeed(&new, &session, token).await;
        assert_eq!(taken.head.version, 1);
        let refusals = [
            put(&old, &session, token, 1, "a", "old").await.map(drop),
            old.delete(&session, Fence::Owner(token)).await.map(drop),
            old.touch(&session, Fence::Owner(token), Some(seconds(1)))
                .await
                .map(drop),
            old.renew(&renewals(&[(session.clone(), token)]), seconds(1))
                .await
                .remove(0),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap_err().kind(), Kind::Fenced);
        }
        old.release(&session, token).await.unwrap();
        assert_eq!(get(&new, &session, "a").await.as_deref(), Some("1"));
        put(&new, &session, taken.token, 1, "a", "new").await.unwrap();
        assert_eq!(get(&new, &session, "a").await.as_deref(), Some("new"));
        assert!(new.dead_letters().await.unwrap().is_empty());
    }
}

/// Redis loses the fence together with the data: a stale owner must not be let in by that.
#[tokio::test]
async fn a_stale_owner_is_refused_by_an_emptied_redis() {
    let name = "a_stale_owner_is_refused_by_an_emptied_redis";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "stale-empty".into();
    let old = servers.hybrid(behind()).await;
    let token = granted(&old, &session).await.token;
    put(&old, &session, token, 0, "a", "1").await.unwrap();
    old.reconcile().await.unwrap();
    let new = servers.hybrid(behind()).await;
    let taken = succeed(&new, &session, token).await;
    servers.redis.run::<String>("FLUSHALL");
    let refused = put(&old, &session, token, 1, "a", "old").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Fenced);
    put(&new, &session, taken.token, 1, "a", "new").await.unwrap();
    assert_eq!(get(&new, &session, "a").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn what_can_never_be_applied_is_a_dead_letter() {
    let Some(mut servers) = Servers::start("what_can_never_be_applied_is_a_dead_letter").await else {
        return;
    };
    let session: SessionId = "dead".into();
    let old = servers.hybrid(behind()).await;
    let token = granted(&old, &session).await.token;
    put(&old, &session, token, 0, "a", "1").await.unwrap();
    old.reconcile().await.unwrap();
    servers.mongo.cut().await;
    put(&old, &session, token, 1, "a", "2").await.unwrap();
    // Redis loses it, and the operator decides to go on without.
    servers.redis.run::<String>("FLUSHALL");
    let plain = servers.primary_without_outboxes().await;
    succeed(&plain, &session, token).await;
    servers.mongo.mend().await;
    until("it is found out", async || old.outbox_stats().dead_letters == 1).await;
    let letters = old.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&*letters[0].session, letters[0].version), ("dead", 2));
    assert!(letters[0].reason.contains("owns the session"), "{letters:?}");
    assert_eq!(old.outbox_stats().pending, 0);
    let error = put(&old, &session, token, 2, "a", "3").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
}

#[tokio::test]
async fn a_dead_letter_is_handed_over_once_whoever_does_it() {
    let Some(servers) = Servers::start("a_dead_letter_is_handed_over_once_whoever_does_it").await else {
        return;
    };
    let backend = servers.hybrid(behind()).await;
    let core = &backend.0;
    let letter = DeadLetter {
        session: "dead".into(),
        token: 1,
        version: 2,
        reason: "a test".to_owned(),
        at: 3,
        entry: Bytes::from_static(b"sealed"),
    };
    let in_redis = async || core.cache.call(Cache::dead_letters).await.unwrap();
    core.dead_letters.keep(vec![letter.clone()]);
    join_all((0..3).map(|_| core.dead_letters.send())).await;
    assert_eq!(in_redis().await, std::slice::from_ref(&letter));

    // Its answer was lost.
    core.dead_letters.keep(vec![letter.clone()]);
    core.dead_letters.send().await;
    assert_eq!(in_redis().await.len(), 2);
    assert_eq!(backend.dead_letters().await.unwrap().len(), 1);
}

/// The owner that finds out ends while Redis is away.
#[tokio::test]
async fn a_dead_letter_found_while_redis_is_away_outlives_its_finder() {
    let name = "a_dead_letter_found_while_redis_is_away_outlives_its_finder";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "unsent".into();
    let old = servers.hybrid(behind()).await;
    let token = granted(&old, &session).await.token;
    servers.mongo.cut().await;
    put(&old, &session, token, 0, "a", "1").await.unwrap();
    servers.redis.kill();
    let plain = servers.primary_without_outboxes().await;
    let taken = succeed(&plain, &session, token).await;
    put(&plain, &session, taken.token, 0, "a", "other").await.unwrap();
    servers.mongo.mend().await;
    until("it is found out", async || old.outbox_stats().dead_letters == 1).await;
    old.close().await.unwrap();
    drop(old);
    servers.redis.start_again();
    servers.redis.run::<String>("FLUSHALL");
    let next = servers.hybrid(behind()).await;
    let letters = next.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&*letters[0].session, letters[0].version), ("unsent", 1));
    assert!(letters[0].reason.contains("owns the session"), "{letters:?}");
}

/// The stale owner's commits were taken over by the next one: they are not dead.
#[tokio::test]
async fn what_the_next_owner_took_over_is_not_dead() {
    let Some(mut servers) = Servers::start("what_the_next_owner_took_over_is_not_dead").await else {
        return;
    };
    let session: SessionId = "taken-over".into();
    let old = servers.hybrid(behind()).await;
    let token = granted(&old, &session).await.token;
    servers.mongo.cut().await;
    put(&old, &session, token, 0, "a", "1").await.unwrap();
    let new = servers.hybrid_with_mongo(&servers.mongo_url, behind()).await;
    let taken = succeed(&new, &session, token).await;
    assert_eq!(taken.head.version, 1);
    servers.mongo.mend().await;
    until("the old owner knows", async || old.outbox_stats().pending == 0).await;
    assert_eq!(old.outbox_stats().dead_letters, 0);
    assert_eq!(get(&new, &session, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_half_deleted_session_does_not_come_back() {
    for config in [through(), behind()] {
        let Some(mut servers) = Servers::start("a_half_deleted_session_does_not_come_back").await else {
            return;
        };
        let session: SessionId = "half-deleted".into();
        let backend = servers.hybrid(config).await;
        let token = granted(&backend, &session).await.token;
        put(&backend, &session, token, 0, "a", "1").await.unwrap();
        servers.redis.kill();
        let error = backend.delete(&session, Fence::Owner(token)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert!(error.detail("deletedIn").is_some());
        assert_eq!(get(&backend, &session, "a").await, None);
        servers.redis.start_again();
        until("Redis is found again", async || backend.redis_is_reachable()).await;
        assert_eq!(get(&backend, &session, "a").await, None);
        assert_eq!(backend.head(&session).await.unwrap(), Head::default());
        let other = servers.hybrid(behind()).await;
        let taken = succeed(&other, &session, token).await;
        assert_eq!(taken.head, Head::default());
        assert_eq!(get(&other, &session, "a").await, None);
        put(&other, &session, taken.token, 0, "b", "1").await.unwrap();
        assert_eq!(get(&other, &session, "a").await, None);
    }
}

#[tokio::test]
async fn an_abandoned_outbox_is_adopted() {
    let Some(mut servers) = Servers::start("an_abandoned_outbox_is_adopted").await else {
        return;
    };
    let session: SessionId = "abandoned".into();
    let owner = servers.hybrid(behind()).await;
    let short = Acquire {
        lease: Duration::from_millis(500),
        ..acquire(&session)
    };
    let token = grant(&owner, short).await.token;
    servers.mongo.cut().await;
    put(&owner, &session, token, 0, "a", "1").await.unwrap();
    killed(owner).await;
    servers.mongo.mend().await;
    let keeper = servers.hybrid(behind()).await;
    let mut adopted = 0;
    until("its leases ran out", async || {
        adopted += keeper.reconcile().await.unwrap_or(0);
        adopted > 0
    })
    .await;
    assert_eq!(
        get(&servers.primary().await, &session, "a").await.as_deref(),
        Some("1")
    );
    assert_eq!(keeper.reconcile().await.unwrap(), 0);
}
