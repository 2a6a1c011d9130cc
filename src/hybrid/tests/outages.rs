//! One server away, or both.

use super::*;

#[tokio::test]
async fn redis_killed_and_empty_loses_nothing() {
    let name = "redis_killed_and_empty_loses_nothing";
    for config in [through(), through_with_outbox(), behind()] {
        let Some(mut servers) = Servers::start(name).await else {
            return;
        };
        let session: SessionId = "emptied".into();
        let backend = servers.hybrid(config).await;
        let token = granted(&backend, &session).await.token;
        put(&backend, &session, token, 0, "a", "1").await.unwrap();
        servers.redis.kill();
        put(&backend, &session, token, 1, "b", "2").await.unwrap();
        assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("1"));
        servers.redis.start_again();
        servers.redis.run::<String>("FLUSHALL");
        until("Redis is found again", async || backend.redis_is_reachable()).await;
        put(&backend, &session, token, 2, "a", "3").await.unwrap();
        put(&backend, &session, token, 3, "c", "4").await.unwrap();
        for (id, value) in [("a", "3"), ("b", "2"), ("c", "4")] {
            assert_eq!(get(&backend, &session, id).await.as_deref(), Some(value));
        }
        backend.release(&session, token).await.unwrap();
        let primary = servers.primary().await;
        assert_eq!(primary.head(&session).await.unwrap().version, 4);
        assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("3"));
    }
}

/// What was acknowledged behind is replayed from memory when Redis lost it before MongoDB got it.
#[tokio::test]
async fn an_emptied_outbox_is_replayed_from_memory() {
    let name = "an_emptied_outbox_is_replayed_from_memory";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "replay".into();
    let backend = servers.hybrid(behind()).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    backend.reconcile().await.unwrap();
    servers.mongo.cut().await;
    for base in 1..6 {
        put(&backend, &session, token, base, "a", &base.to_string())
            .await
            .unwrap();
    }
    assert_eq!(backend.outbox_stats().pending, 5);
    servers.redis.run::<String>("FLUSHALL");
    // Neither server can vouch for this owner now.
    let error = put(&backend, &session, token, 6, "a", "6").await.unwrap_err();
    assert!(is_away(&error), "{error:?}");
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("5"));
    servers.mongo.mend().await;
    until("MongoDB has everything", async || {
        backend.reconcile().await.is_ok()
    })
    .await;
    let head = backend.head(&session).await.unwrap();
    put(&backend, &session, token, head.version, "b", "7")
        .await
        .unwrap();
    backend.release(&session, token).await.unwrap();
    let primary = servers.primary().await;
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("5"));
    assert_eq!(get(&primary, &session, "b").await.as_deref(), Some("7"));
}

#[tokio::test]
async fn redis_restarted_with_its_data_goes_on() {
    let Some(mut servers) = Servers::start("redis_restarted_with_its_data_goes_on").await else {
        return;
    };
    let session: SessionId = "restarted".into();
    let backend = servers.hybrid(behind()).await;
    let token = granted(&backend, &session).await.token;
    servers.mongo.cut().await;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    servers.redis.kill();
    let away = put(&backend, &session, token, 1, "a", "2").await.unwrap_err();
    assert!(is_away(&away), "both are away: {away:?}");
    servers.redis.start_again();
    until("Redis is found again", async || backend.redis_is_reachable()).await;
    // MongoDB is away still, but Redis stands where it stood.
    let head = backend.head(&session).await.unwrap();
    put(&backend, &session, token, head.version, "b", "2")
        .await
        .unwrap();
    servers.mongo.mend().await;
    until("MongoDB has everything", async || {
        backend.reconcile().await.is_ok()
    })
    .await;
    assert_eq!(backend.outbox_stats().pending, 0);
    assert_eq!(
        get(&servers.primary().await, &session, "b").await.as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn mongodb_away_is_bridged_by_the_outbox() {
    for config in [through_with_outbox(), behind()] {
        let Some(mut servers) = Servers::start("mongodb_away_is_bridged_by_the_outbox").await else {
            return;
        };
        let session: SessionId = "bridged".into();
        let backend = servers.hybrid(config).await;
        let token = granted(&backend, &session).await.token;
        put(&backend, &session, token, 0, "a", "1").await.unwrap();
        put(&backend, &session, token, 1, "gone", "1").await.unwrap();
        backend.reconcile().await.unwrap();
        servers.mongo.cut().await;
        put(&backend, &session, token, 2, "gone", "").await.unwrap();
        for base in 3..40 {
            put(&backend, &session, token, base, "a", &base.to_string())
                .await
                .unwrap();
        }
        assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("39"));
        assert_eq!(
            get(&backend, &session, "gone").await,
            None,
            "MongoDB has it still"
        );
        assert_eq!(backend.head(&session).await.unwrap().version, 40);
        let lease = backend
            .renew(&renewals(&[(session.clone(), token)]), seconds(600))
            .await;
        assert!(lease[0].is_ok(), "Redis confirms the lease: {lease:?}");
        until("it was tried more than once", async || {
            backend.outbox_stats().total_retried > 1
        })
        .await;
        assert_eq!(backend.outbox_stats().pending, 38);
        servers.mongo.mend().await;
        until("MongoDB has everything", async || {
            backend.outbox_stats().pending == 0
        })
        .await;
        let primary = servers.primary().await;
        assert_eq!(primary.head(&session).await.unwrap().version, 40);
        assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("39"));
        assert_eq!(get(&primary, &session, "gone").await, None);
        put(&backend, &session, token, 40, "a", "done").await.unwrap();
        assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("done"));
        let stats = backend.outbox_stats();
        assert_eq!((stats.total_failed, stats.dead_letters), (0, 0));
        assert!(stats.total_completed >= 38 && stats.last_run_at > 0);
        let outbox = servers.outbox_key(&session).await;
        until("Redis' outbox is trimmed", async || {
            backend.reconcile().await.is_ok() && servers.redis.run::<i64>(&format!("HLEN {outbox}")) == 1
        })
        .await;
    }
}

#[tokio::test]
async fn without_an_outbox_mongodb_away_is_an_error() {
    let Some(mut servers) = Servers::start("without_an_outbox_mongodb_away_is_an_error").await else {
        return;
    };
    let session: SessionId = "no-outbox".into();
    let backend = servers.hybrid_behind(breaker(seconds(1)), through()).await;
    let token = granted(&backend, &session).await.token;
    servers.mongo.cut().await;
    let mut kinds = Vec::new();
    until("the breaker opens", async || {
        let error = put(&backend, &session, token, 0, "a", "1").await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        kinds.push(error.kind());
        error.kind() == Kind::CircuitOpen
    })
    .await;
    assert_ne!(kinds[0], Kind::CircuitOpen, "it was closed at first");
    servers.mongo.mend().await;
    until("it closes again", async || {
        put(&backend, &session, token, 0, "a", "1").await.is_ok() || {
            let head = backend.head(&session).await;
            head.is_ok_and(|head| head.version > 0)
        }
    })
    .await;
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn both_away_is_an_error_in_bounded_time() {
    for config in [through(), through_with_outbox(), behind()] {
        let Some(mut servers) = Servers::start("both_away_is_an_error_in_bounded_time").await else {
            return;
        };
        let session: SessionId = "nobody".into();
        let backend = servers.hybrid(config).await;
        let token = granted(&backend, &session).await.token;
        servers.mongo.cut().await;
        servers.redis.kill();
        let start = Instant::now();
        let error = put(&backend, &session, token, 0, "a", "1").await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        let error = try_get(&backend, &session, "a").await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        let error = backend.head(&session).await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        let error = backend.acquire(acquire(&session)).await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        let error = backend.delete(&session, Fence::Owner(token)).await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
        assert!(
            start.elapsed() < seconds(45),
            "a few waits of 2 s each, and slack"
        );
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_once() {
    let Some(servers) = Servers::start("a_redis_that_hangs_is_waited_for_once").await else {
        return;
    };
    let session: SessionId = "hangs".into();
    let backend = servers.hybrid(behind()).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "0").await.unwrap();
    servers.redis.freeze(true);
    let start = Instant::now();
    for base in 1..30 {
        put(&backend, &session, token, base, "a", &base.to_string())
            .await
            .unwrap();
    }
    assert!(start.elapsed() < seconds(20), "2 s once, not 29 times");
    servers.redis.freeze(false);
    until("Redis is found again", async || backend.redis_is_reachable()).await;
    put(&backend, &session, token, 30, "b", "1").await.unwrap();
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("29"));
    backend.release(&session, token).await.unwrap();
    let primary = servers.primary().await;
    assert_eq!(primary.head(&session).await.unwrap().version, 31);
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("29"));
}

#[tokio::test]
async fn the_outbox_has_a_limit() {
    let Some(mut servers) = Servers::start("the_outbox_has_a_limit").await else {
        return;
    };
    let session: SessionId = "limit".into();
    let backend = servers
        .hybrid(HybridConfig {
            outbox_limit: 10_000,
            ..behind()
        })
        .await;
    let token = granted(&backend, &session).await.token;
    servers.mongo.cut().await;
    let value = "x".repeat(4000);
    put(&backend, &session, token, 0, "a", &value).await.unwrap();
    put(&backend, &session, token, 1, "b", &value).await.unwrap();
    let error = put(&backend, &session, token, 2, "c", &value).await.unwrap_err();
    assert!(error.retryable(), "{error:?}");
    assert!(error.detail("outbox").is_some());
    servers.mongo.mend().await;
    until("there is room again", async || backend.reconcile().await.is_ok()).await;
    let head = backend.head(&session).await.unwrap();
    put(&backend, &session, token, head.version, "d", &value)
        .await
        .unwrap();
    assert_eq!(
        get(&backend, &session, "a").await.as_deref(),
        Some(value.as_str())
    );
}
