//! The same rules over PostgreSQL. What does not depend on the primary is tested over MongoDB.

use super::*;
use crate::backend::postgres::{PostgresBackend, PostgresConfig};
use crate::backend::servers::postgres_for;

/// Both servers; PostgreSQL is reached by a way that can be cut.
struct Both {
    redis: Server,
    way: TcpProxy,
    url: String,
    schema: String,
}

impl Both {
    async fn start(test: &str) -> Option<Self> {
        redis_server_found(test).then_some(())?;
        let url = postgres_for(test)?;
        Some(Self {
            redis: Server::start(&["--appendonly", "yes", "--appendfsync", "always"]),
            way: TcpProxy::to(&url).await,
            url,
            schema: format!("hybrid_test_{:016x}", getrandom::u64().unwrap()),
        })
    }

    fn config(&self, url: String) -> PostgresConfig {
        PostgresConfig {
            schema: self.schema.clone(),
            operation_timeout: seconds(2),
            ..PostgresConfig::new(url)
        }
    }

    async fn hybrid(&self, config: HybridConfig) -> HybridBackend {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (login, place) = rest.split_once('@').unwrap();
        let database = place.split_once('/').unwrap().1;
        let by_way = format!("{scheme}://{login}@{}/{database}", self.way.address);
        let primary = PrimaryConfig::Postgres(self.config(by_way));
        let redis = RedisConfig {
            operation_timeout: seconds(2),
            ..RedisConfig::from_url(&self.redis.url()).unwrap()
        };
        let breaker = Breaker::new(
            "postgres",
            BreakerConfig {
                minimum: 1_000_000,
                ..breaker(seconds(30))
            },
            observe::of("postgres"),
        );
        let breaker = Arc::new(breaker);
        connected(async || {
            HybridBackend::connect(&redis, &primary, config.clone(), breaker.clone(), None).await
        })
        .await
    }

    /// PostgreSQL itself, by a way that is never cut.
    async fn primary(&self) -> PostgresBackend {
        let config = self.config(self.url.clone());
        connected(async || PostgresBackend::connect(&config).await).await
    }
}

#[tokio::test]
async fn every_mode_keeps_the_contract_over_postgres() {
    let Some(servers) = Both::start("every_mode_keeps_the_contract_over_postgres").await else {
        return;
    };
    for mode in [through(), through_with_outbox(), behind()] {
        let backend = servers.hybrid(mode).await;
        contract::run(&backend).await;
        contract::closed(&backend).await;
    }
}

#[tokio::test]
async fn the_next_owner_sees_what_only_redis_had_over_postgres() {
    let Some(mut servers) = Both::start("the_next_owner_sees_what_only_redis_had_over_postgres").await else {
        return;
    };
    let session: SessionId = "crash".into();
    let owner = servers.hybrid(behind()).await;
    let token = granted(&owner, &session).await.token;
    put(&owner, &session, token, 0, "a", "0").await.unwrap();
    owner.reconcile().await.unwrap();
    servers.way.cut().await;
    for base in 1..=7 {
        put(&owner, &session, token, base, "a", &base.to_string())
            .await
            .unwrap();
    }
    killed(owner).await;
    servers.way.mend().await;

    let primary = servers.primary().await;
    assert_eq!(primary.head(&session).await.unwrap().version, 1);
    // Who cannot see the outbox neither opens the session nor writes beside it.
    let preempting = Acquire {
        preempt: Some(token),
        read: vec![key("session", "a")],
        ..acquire(&session)
    };
    let refused = primary.acquire(preempting.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::SessionBusy);
    let shared = commit(&session, Fence::Shared, 1, vec![change("session", "a", "x")]);
    let refused = commit_one(&primary, shared).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::SessionBusy);

    let next = servers.hybrid(through()).await;
    let taken = grant(&next, preempting).await;
    assert_eq!(taken.head.version, 8);
    assert_eq!(taken.records, [Some(Bytes::from_static(b"7"))]);
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("7"));
    put(&next, &session, taken.token, 8, "a", "8").await.unwrap();
    let inherited = primary.metadata(&session).await.unwrap().unwrap().inherited;
    assert_eq!(inherited.version_of(token), Some(8));
}

#[tokio::test]
async fn an_outbox_that_was_given_up_comes_too_late_over_postgres() {
    let Some(mut servers) = Both::start("an_outbox_that_was_given_up_comes_too_late_over_postgres").await
    else {
        return;
    };
    let session: SessionId = "given up".into();
    let owner = servers.hybrid(behind()).await;
    let token = granted(&owner, &session).await.token;
    put(&owner, &session, token, 0, "a", "0").await.unwrap();
    owner.reconcile().await.unwrap();
    servers.way.cut().await;
    put(&owner, &session, token, 1, "a", "late").await.unwrap();
    killed(owner).await;
    servers.way.mend().await;
    let accepting = PostgresConfig {
        accept_lost_outbox: true,
        ..servers.config(servers.url.clone())
    };
    let accepting = PostgresBackend::connect(&accepting).await.unwrap();
    let taken = succeed(&accepting, &session, token).await;
    assert_eq!(taken.head.version, 1);
    put(&accepting, &session, taken.token, 1, "b", "1").await.unwrap();
    accepting.release(&session, taken.token).await.unwrap();

    let hybrid = servers.hybrid(behind()).await;
    hybrid.reconcile().await.unwrap();
    assert_eq!(granted(&hybrid, &session).await.head.version, 2);
    assert_eq!(get(&hybrid, &session, "a").await.as_deref(), Some("0"));
    until("the late commit is a dead letter", async || {
        let letters = hybrid.dead_letters().await.unwrap();
        letters
            .iter()
            .any(|letter| (letter.token, letter.version) == (token, 2))
    })
    .await;
}
