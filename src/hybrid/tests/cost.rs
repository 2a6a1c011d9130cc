//! Opening a session costs no more round trips than these.

use super::*;

#[tokio::test]
async fn opening_a_session_takes_so_many_commands() {
    let Some(servers) = Servers::start("opening_a_session_takes_so_many_commands").await else {
        return;
    };
    // An outbox is announced in MongoDB by a command of its own.
    for (config, announced) in [(through(), 0), (behind(), 1)] {
        let redis_proxy = TcpProxy::to(&servers.redis.url()).await;
        let redis = RedisConfig::from_url(&format!("redis://{}", redis_proxy.address)).unwrap();
        let mongo = servers.mongo_config(&format!("mongodb://{}", servers.mongo.address));
        let backend = join(&redis, &mongo, config, breaker(seconds(30)), None).await;
        let session: SessionId = format!("opened-{announced}").into();
        granted(&backend, &format!("other-{announced}").into()).await;
        let take = async || {
            let mongo = servers.mongo.take_commands();
            (mongo, redis_proxy.take_commands())
        };
        take().await;
        let token = granted(&backend, &session).await.token;
        let (in_mongo, in_redis) = take().await;
        let announcing = |commands: &[&'static str]| {
            let announcement = std::iter::repeat_n("update", announced);
            commands.iter().copied().chain(announcement).collect::<Vec<_>>()
        };
        assert_eq!(in_mongo, announcing(&["find", "insert"]));
        assert_eq!(in_redis, ["EVALSHA"]);

        put(&backend, &session, token, 0, "a", "1").await.unwrap();
        backend.release(&session, token).await.unwrap();
        take().await;
        granted(&backend, &session).await;
        let (in_mongo, in_redis) = take().await;
        assert_eq!(in_mongo, announcing(&["find", "findAndModify"]));
        assert_eq!(in_redis, ["EVALSHA"]);
    }
}
