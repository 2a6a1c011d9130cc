//! Redis' copies: what is lost of them, or old, is read from MongoDB, and keeping one alive costs a command.

use super::*;
use crate::backend::redis::testing::Monitor;

#[tokio::test]
async fn a_copy_that_is_lost_or_old_is_read_from_mongodb() {
    let test = "a_copy_that_is_lost_or_old_is_read_from_mongodb";
    let Some(servers) = Servers::start(test).await else {
        return;
    };
    for (name, config) in [("through", through()), ("behind", behind())] {
        let backend = servers.hybrid(config).await;
        let session: SessionId = name.into();
        let token = granted(&backend, &session).await.token;
        put(&backend, &session, token, 0, "a", "1").await.unwrap();
        backend.reconcile().await.unwrap();
        let hot = servers.copy_key(&session).await;
        until("the copy is there", async || {
            servers.redis.run::<bool>(&format!("EXISTS {hot}"))
        })
        .await;
        let old: Vec<u8> = servers.redis.run(&format!("DUMP {hot}"));
        put(&backend, &session, token, 1, "a", "2").await.unwrap();
        put(&backend, &session, token, 2, "b", "2").await.unwrap();
        backend.reconcile().await.unwrap();
        let both = async |why: &str| {
            assert_eq!(
                get(&backend, &session, "a").await.as_deref(),
                Some("2"),
                "{name}: {why}"
            );
            assert_eq!(
                get(&backend, &session, "b").await.as_deref(),
                Some("2"),
                "{name}: {why}"
            );
        };
        both("as it is").await;
        servers.redis.run::<u32>(&format!("UNLINK {hot}"));
        both("evicted").await;
        // Restored as it was before, complete and of this very owner.
        let mut restore = redis::cmd("RESTORE");
        restore.arg(&hot).arg(0).arg(old).arg("REPLACE");
        restore.query::<()>(&mut servers.redis.connect()).unwrap();
        both("restored").await;
        servers.redis.run::<()>("FLUSHALL");
        both("flushed").await;
        put(&backend, &session, token, 3, "c", "3").await.unwrap();
        both("after the next write").await;
        backend.release(&session, token).await.unwrap();
    }
}

#[tokio::test]
async fn touching_an_idle_session_is_one_command_to_redis() {
    let test = "touching_an_idle_session_is_one_command_to_redis";
    let Some(servers) = Servers::start(test).await else {
        return;
    };
    for (name, config) in [("through", through()), ("behind", behind())] {
        let backend = servers.hybrid(config).await;
        let session: SessionId = name.into();
        let token = granted(&backend, &session).await.token;
        let fence = Fence::Owner(token);
        let records = (0..500).map(|id| change("session", &id.to_string(), &"v".repeat(1_000)));
        commit_one(&backend, commit(&session, fence, 0, records.collect()))
            .await
            .unwrap();
        backend.reconcile().await.unwrap();
        let hot = servers.copy_key(&session).await;
        let copied = || servers.redis.run::<u32>(&format!("HLEN {hot}"));
        until("the copy is whole", async || copied() > 500).await;
        let mut monitor = Monitor::of(&servers.redis);
        for ttl in [3_600, 7_200, 3_600] {
            assert!(backend.touch(&session, fence, Some(seconds(ttl))).await.unwrap());
            // What would be done in the background has begun by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let sent = monitor.commands();
            assert_eq!(sent.len(), 1, "{name}: {sent:?}");
            let lives: u64 = servers.redis.run(&format!("PTTL {hot}"));
            monitor.commands();
            assert!(lives > (ttl - 60) * 1_000 && lives <= ttl * 1_000, "{lives}");
        }
        assert!(backend.touch(&session, fence, None).await.unwrap());
        // For ever, but for what any copy lives.
        let lives: u64 = servers.redis.run(&format!("PTTL {hot}"));
        assert!(lives > 80_000_000, "{lives}");
        assert_eq!(get(&backend, &session, "7").await.unwrap().len(), 1_000);
        backend.release(&session, token).await.unwrap();
    }
}

#[tokio::test]
async fn what_no_replica_confirms_goes_to_mongodb_before_it_is_acknowledged() {
    let test = "what_no_replica_confirms_goes_to_mongodb_before_it_is_acknowledged";
    let Some(mut servers) = Servers::start(test).await else {
        return;
    };
    let redis = RedisConfig {
        wait_replicas: Some(crate::backend::redis::WaitReplicas {
            count: 1,
            timeout: Duration::from_millis(200),
        }),
        operation_timeout: seconds(2),
        ..RedisConfig::from_url(&servers.redis.url()).unwrap()
    };
    let backend = join(
        &redis,
        &servers.mongo_config(&format!("mongodb://{}", servers.mongo.address)),
        behind(),
        breaker(seconds(1)),
        None,
    )
    .await;
    let session: SessionId = "s".into();
    let token = granted(&backend, &session).await.token;
    // There is no replica at all: MongoDB has it when it is acknowledged.
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    let primary = servers.primary().await;
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("1"));
    assert!(backend.redis_is_reachable(), "a replica is not the server");
    // Without MongoDB nobody has it for sure.
    servers.mongo.cut().await;
    let error = put(&backend, &session, token, 1, "a", "2").await.unwrap_err();
    assert!(is_away(&error) && error.kind() != Kind::CircuitOpen, "{error}");
    servers.mongo.mend().await;
    until("it goes on", async || {
        let version = backend.head(&session).await.map_or(0, |head| head.version);
        version > 0 && put(&backend, &session, token, version, "a", "3").await.is_ok()
    })
    .await;
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("3"));
}
