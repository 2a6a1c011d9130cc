//! Neither server delays the renewal of what the other one confirms.

use super::*;

const LEASE: Duration = Duration::from_secs(8);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LEASE, work)
        .await
        .expect("it waits for nothing else")
}

#[tokio::test]
async fn a_server_that_hangs_does_not_delay_what_the_other_one_renews() {
    let Some(servers) = Servers::start("a_server_that_hangs_does_not_delay_what_the_other_one_renews").await
    else {
        return;
    };
    for hangs in ["redis", "mongodb"] {
        let redis_proxy = TcpProxy::to(&servers.redis.url()).await;
        let mongo_proxy = TcpProxy::to(&servers.mongo_url).await;
        let redis = RedisConfig {
            operation_timeout: seconds(120),
            ..RedisConfig::from_url(&format!("redis://{}", redis_proxy.address)).unwrap()
        };
        let mongo = MongoConfig {
            operation_timeout: seconds(120),
            ..servers.mongo_config(&format!("mongodb://{}", mongo_proxy.address))
        };
        let owner = join(&redis, &mongo, behind(), breaker(seconds(30)), None).await;
        let session: SessionId = hangs.into();
        let token = granted(&owner, &session).await.token;
        let leases = [(session.clone(), token)];
        assert!(owner.renew(&contract::renewals(&leases), LEASE).await[0].is_ok());
        if hangs == "redis" {
            redis_proxy.leave_unanswered("EVAL");
            redis_proxy.freeze();
        } else {
            mongo_proxy.leave_unanswered("update");
            mongo_proxy.freeze();
        }
        let renewed = soon(owner.renew(&contract::renewals(&leases), LEASE)).await;
        assert!(renewed[0].is_ok(), "{hangs} hangs: {renewed:?}");
    }
}

/// What the last owner left may be more than can be brought to MongoDB within one lease.
#[tokio::test]
async fn a_takeover_that_takes_long_keeps_its_lease() {
    let Some(mut servers) = Servers::start("a_takeover_that_takes_long_keeps_its_lease").await else {
        return;
    };
    let session: SessionId = "long".into();
    let first = servers.hybrid(behind()).await;
    let token = granted(&first, &session).await.token;
    servers.mongo.cut().await;
    put(&first, &session, token, 0, "a", "1").await.unwrap();
    let other: SessionId = "other".into();
    // From here on Redis knows the script that reserves, in whose text the command stands that is held back.
    let reserved = first
        .0
        .cache
        .call(|cache| cache.reserve(&other, 1, crate::backend::Owner::current(), LEASE, None, 0))
        .await;
    reserved.unwrap();
    killed(first).await;
    servers.mongo.mend().await;

    let proxy = TcpProxy::to(&servers.redis.url()).await;
    let redis = RedisConfig {
        operation_timeout: seconds(60),
        ..RedisConfig::from_url(&format!("redis://{}", proxy.address)).unwrap()
    };
    let mongo = servers.mongo_config(&servers.mongo_url);
    let next = join(&redis, &mongo, behind(), breaker(seconds(30)), None).await;
    let primary = servers.primary().await;
    let short = Duration::from_millis(1500);
    let request = Acquire {
        preempt: Some(token),
        lease: short,
        ..acquire(&session)
    };
    proxy.hold_back("HKEYS");
    let taking = tokio::spawn(async move { next.acquire(request).await });
    proxy.holds_back().await;
    let start = Instant::now();
    while start.elapsed() < 5 * short / 2 {
        match primary.acquire(acquire(&session)).await.unwrap() {
            Acquired::Held(holder) => assert!(holder.token > token, "{holder:?}"),
            Acquired::Granted(_) => panic!("taken from an owner that was at work"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.let_through();
    let Acquired::Granted(taken) = taking.await.unwrap().unwrap() else {
        unreachable!("it was taken over");
    };
    assert_eq!(taken.head.version, 1);
}

/// A lease that is not renewed is a session lost.
#[tokio::test]
async fn an_open_breaker_holds_up_no_renewal() {
    let Some(mut servers) = Servers::start("an_open_breaker_holds_up_no_renewal").await else {
        return;
    };
    let owner = servers.hybrid_behind(breaker(seconds(600)), through()).await;
    let session: SessionId = "s".into();
    let leases = [(session.clone(), granted(&owner, &session).await.token)];
    servers.mongo.cut().await;
    until("the breaker is open", async || {
        let away = owner.touch(&"nobody".into(), Fence::Shared, None).await;
        away.is_err_and(|error| error.kind() == Kind::CircuitOpen)
    })
    .await;
    // What it asks by itself gets no answer.
    servers.mongo.leave_unanswered("ping");
    servers.mongo.mend().await;
    until("the lease is renewed", async || {
        owner.renew(&contract::renewals(&leases), LEASE).await[0].is_ok()
    })
    .await;
}
