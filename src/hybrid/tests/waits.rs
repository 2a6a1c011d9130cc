//! Whose leases stand, asked of two servers.

use super::*;

#[tokio::test]
async fn redis_lost_or_away_is_no_sign_of_a_lease_that_ended() {
    let name = "redis_lost_or_away_is_no_sign_of_a_lease_that_ended";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "stands".into();
    let backend = servers.hybrid(through()).await;
    let lease = [(session.clone(), granted(&backend, &session).await.token)];
    // Asked twice, for the first time MongoDB is asked anyway.
    for _ in 0..2 {
        assert_eq!(backend.check_leases(&lease).await.unwrap(), [true]);
    }
    servers.redis.run::<String>("FLUSHALL");
    for _ in 0..2 {
        assert_eq!(backend.check_leases(&lease).await.unwrap(), [true]);
    }
    servers.redis.kill();
    for _ in 0..2 {
        assert_eq!(backend.check_leases(&lease).await.unwrap(), [true]);
    }
    servers.mongo.cut().await;
    let error = backend.check_leases(&lease).await.unwrap_err();
    assert!(is_away(&error), "{error:?}");
}

#[tokio::test]
async fn a_lease_that_stands_in_redis_alone_is_found_out() {
    let name = "a_lease_that_stands_in_redis_alone_is_found_out";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "redis-alone".into();
    let backend = servers.hybrid(through()).await;
    let token = granted(&backend, &session).await.token;
    let lease = [(session.clone(), token)];
    assert_eq!(backend.check_leases(&lease).await.unwrap(), [true]);
    servers.primary().await.release(&session, token).await.unwrap();
    until("MongoDB is asked", async || {
        backend.check_leases(&lease).await.unwrap() == [false]
    })
    .await;
}

#[tokio::test]
async fn a_lease_given_back_is_free_at_once() {
    let name = "a_lease_given_back_is_free_at_once";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    for (at, config) in [through(), through_with_outbox(), behind()]
        .into_iter()
        .enumerate()
    {
        let session: SessionId = format!("free-{at}").into();
        let (one, two) = (servers.hybrid(config.clone()).await, servers.hybrid(config).await);
        let token = granted(&one, &session).await.token;
        put(&one, &session, token, 0, "a", "1").await.unwrap();
        let lease = [(session.clone(), token)];
        assert_eq!(two.check_leases(&lease).await.unwrap(), [true]);
        one.release(&session, token).await.unwrap();
        assert_eq!(two.check_leases(&lease).await.unwrap(), [false]);
        assert_eq!(granted(&two, &session).await.head.version, 1);
    }
}
