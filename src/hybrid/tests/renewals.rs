//! Neither server delays the renewal of what the other one confirms.

use super::*;

const LEASE: Duration = Duration::from_secs(8);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(seconds(20), work)
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
        let redis_way = Way::to(&servers.redis.url()).await;
        let mongo_way = Way::to(&servers.mongo_url).await;
        let redis = RedisConfig {
            operation_timeout: seconds(120),
            ..RedisConfig::from_url(&format!("redis://{}", redis_way.address)).unwrap()
        };
        let mongo = MongoConfig {
            operation_timeout: seconds(120),
            ..servers.mongo_config(&format!("mongodb://{}", mongo_way.address))
        };
        let owner = join(&redis, &mongo, behind(), breaker(seconds(30)), None).await;
        let session: SessionId = hangs.into();
        let token = granted(&owner, &session).await.token;
        let leases = [(session.clone(), token)];
        assert!(owner.renew(&contract::renewals(&leases), LEASE).await[0].is_ok());
        if hangs == "redis" {
            redis_way.leave_unanswered("EVAL");
            redis_way.freeze();
        } else {
            mongo_way.leave_unanswered("update");
            mongo_way.freeze();
        }
        let renewed = soon(owner.renew(&contract::renewals(&leases), LEASE)).await;
        assert!(renewed[0].is_ok(), "{hangs} hangs: {renewed:?}");
    }
}
