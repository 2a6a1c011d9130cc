//! Tests against real servers: Redis servers of their own, and the MongoDB server that
//! `BAILEYS_VAULT_TEST_MONGO` names, without a database.

mod copies;
mod cost;
mod crashes;
mod doubts;
mod outages;
mod postgres;
mod queues;
mod renewals;
mod takeovers;
mod waits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{HybridBackend, HybridConfig, Mode, PrimaryConfig, Queue};
use crate::backend::Seen;
use crate::backend::contract::renewals;
use crate::backend::contract::{self, acquire, change, commit, commit_one, key};
use crate::backend::mongo::{MongoBackend, MongoConfig};
use crate::backend::redis::RedisConfig;
use crate::backend::redis::testing::{Server, redis_server_found};
use crate::backend::servers::{connected, mongo_for};
use crate::backend::tcp_proxy::TcpProxy;
use crate::backend::{Acquire, Acquired, Backend, Fence, Grant, Head, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::observe;
use crate::resilience::{Breaker, BreakerConfig};

/// How long something that must come to pass is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both servers, each reached by a way that can be cut.
struct Servers {
    redis: Server,
    mongo: TcpProxy,
    mongo_url: String,
    database: String,
}

impl Servers {
    /// `None` where one of them is missing.
    async fn start(test: &str) -> Option<Self> {
        redis_server_found(test).then_some(())?;
        let mongo_url = mongo_for(test)?;
        let mongo = TcpProxy::to(&mongo_url).await;
        Some(Self {
            redis: Server::start(&["--appendonly", "yes", "--appendfsync", "always"]),
            mongo,
            mongo_url,
            database: format!("hybrid_test_{:016x}", getrandom::u64().unwrap()),
        })
    }

    fn mongo_config(&self, url: &str) -> MongoConfig {
        MongoConfig {
            database: Some(self.database.clone()),
            operation_timeout: seconds(2),
            ..MongoConfig::new(url)
        }
    }

    async fn hybrid(&self, config: HybridConfig) -> HybridBackend {
        self.hybrid_by(&self.redis.url(), config, None).await
    }

    async fn hybrid_behind(&self, breaker: BreakerConfig, config: HybridConfig) -> HybridBackend {
        self.connect(&self.redis.url(), config, breaker, None).await
    }

    async fn hybrid_by(
        &self,
        redis: &str,
        config: HybridConfig,
        queue: Option<Arc<dyn Queue>>,
    ) -> HybridBackend {
        // A breaker that stays out of the proxy.
        let breaker = BreakerConfig {
            minimum: 1_000_000,
            ..breaker(seconds(30))
        };
        self.connect(redis, config, breaker, queue).await
    }

    /// By a way to MongoDB of its own.
    async fn hybrid_with_mongo(&self, mongo_url: &str, config: HybridConfig) -> HybridBackend {
        let redis = RedisConfig::from_url(&self.redis.url()).unwrap();
        join(
            &redis,
            &self.mongo_config(mongo_url),
            config,
            breaker(seconds(30)),
            None,
        )
        .await
    }

    async fn connect(
        &self,
        redis: &str,
        config: HybridConfig,
        breaker: BreakerConfig,
        queue: Option<Arc<dyn Queue>>,
    ) -> HybridBackend {
        let redis = RedisConfig {
            operation_timeout: seconds(2),
            ..RedisConfig::from_url(redis).unwrap()
        };
        let mongo = self.mongo_config(&format!("mongodb://{}", self.mongo.address));
        join(&redis, &mongo, config, breaker, queue).await
    }

    /// Where Redis has the copy of a session.
    async fn copy_key(&self, session: &str) -> String {
        let installation = self.primary().await.installation().await.unwrap();
        format!("bv:{{{session}}}:{installation}:hot")
    }

    /// Where its outbox is.
    async fn outbox_key(&self, session: &str) -> String {
        let installation = self.primary().await.installation().await.unwrap();
        format!("bv:{{{session}}}:{installation}:outbox")
    }

    /// MongoDB itself, by a way that is never cut.
    async fn primary(&self) -> MongoBackend {
        let config = self.mongo_config(&self.mongo_url);
        connected(async || MongoBackend::connect(&config).await).await
    }

    /// The same, for an operator who goes on without what outboxes may hold.
    async fn primary_without_outboxes(&self) -> MongoBackend {
        let config = MongoConfig {
            accept_lost_outbox: true,
            ..self.mongo_config(&self.mongo_url)
        };
        connected(async || MongoBackend::connect(&config).await).await
    }
}

/// Removes the test's database.
impl Drop for Servers {
    fn drop(&mut self) {
        let (url, database) = (self.mongo_url.clone(), self.database.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = mongodb::Client::with_uri_str(url).await?;
                client.database(&database).drop().await
            })
        });
        let dropped = dropped.join();
        assert!(
            std::thread::panicking() || matches!(dropped, Ok(Ok(()))),
            "the test's database is dropped"
        );
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn join(
    redis: &RedisConfig,
    mongo: &MongoConfig,
    config: HybridConfig,
    breaker: BreakerConfig,
    queue: Option<Arc<dyn Queue>>,
) -> HybridBackend {
    let breaker = Breaker::new("mongodb", breaker, observe::of("mongodb"));
    let breaker = Arc::new(breaker);
    connected(async || {
        let primary = PrimaryConfig::Mongo(mongo.clone());
        HybridBackend::connect(redis, &primary, config.clone(), breaker.clone(), queue.clone()).await
    })
    .await
}

fn breaker(cool_down: Duration) -> BreakerConfig {
    BreakerConfig {
        error_threshold: 0.5,
        window: seconds(10),
        cool_down,
        minimum: 2,
    }
}

fn through() -> HybridConfig {
    HybridConfig::default()
}

fn through_with_outbox() -> HybridConfig {
    HybridConfig {
        outbox_when_mongo_down: true,
        ..through()
    }
}

fn behind() -> HybridConfig {
    HybridConfig {
        mode: Mode::WriteBehind,
        ..through()
    }
}

async fn granted(backend: &dyn Backend, session: &SessionId) -> Grant {
    grant(backend, acquire(session)).await
}

/// As a process that knows the holder dead.
async fn succeed(backend: &dyn Backend, session: &SessionId, token: Token) -> Grant {
    grant(
        backend,
        Acquire {
            preempt: Some(token),
            ..acquire(session)
        },
    )
    .await
}

async fn grant(backend: &dyn Backend, request: Acquire) -> Grant {
    match backend.acquire(request).await.expect("acquire works") {
        Acquired::Granted(grant) => grant,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

async fn put(
    backend: &dyn Backend,
    session: &SessionId,
    token: Token,
    base: u64,
    id: &str,
    value: &str,
) -> Result<Head> {
    commit_one(
        backend,
        commit(
            session,
            Fence::Owner(token),
            base,
            vec![change("session", id, value)],
        ),
    )
    .await
}

async fn get(backend: &dyn Backend, session: &SessionId, id: &str) -> Option<String> {
    try_get(backend, session, id).await.unwrap()
}

async fn try_get(backend: &dyn Backend, session: &SessionId, id: &str) -> Result<Option<String>> {
    let found: Vec<Option<Bytes>> = backend
        .read(session, &[key("session", id)], Seen::NOTHING)
        .await?;
    Ok(found[0]
        .as_ref()
        .map(|value| String::from_utf8(value.to_vec()).unwrap()))
}

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends an owner as a kill does; what it is doing in the background ends before this answers.
async fn killed(owner: HybridBackend) {
    let core = Arc::downgrade(&owner.0);
    drop(owner);
    until("nothing works for it any more", async || core.strong_count() == 0).await;
}

fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Unavailable | Kind::Timeout | Kind::CircuitOpen
    )
}

#[tokio::test]
async fn write_through_keeps_the_contract() {
    let Some(servers) = Servers::start("write_through_keeps_the_contract").await else {
        return;
    };
    let backend = servers.hybrid(through()).await;
    contract::run(&backend).await;
    contract::closed(&backend).await;
}

#[tokio::test]
async fn write_through_with_outbox_keeps_the_contract() {
    let Some(servers) = Servers::start("write_through_with_outbox_keeps_the_contract").await else {
        return;
    };
    let backend = servers.hybrid(through_with_outbox()).await;
    contract::run(&backend).await;
    contract::closed(&backend).await;
}

#[tokio::test]
async fn write_behind_keeps_the_contract() {
    let Some(servers) = Servers::start("write_behind_keeps_the_contract").await else {
        return;
    };
    let backend = servers.hybrid(behind()).await;
    contract::run(&backend).await;
    contract::closed(&backend).await;
}

#[tokio::test]
async fn an_open_session_is_read_from_redis() {
    let Some(servers) = Servers::start("an_open_session_is_read_from_redis").await else {
        return;
    };
    let session: SessionId = "hot".into();
    let first = servers.hybrid(through()).await;
    let token = granted(&first, &session).await.token;
    put(&first, &session, token, 0, "a", "1").await.unwrap();
    first.release(&session, token).await.unwrap();

    let mut servers = servers;
    let second = servers.hybrid(through()).await;
    granted(&second, &session).await;
    servers.mongo.cut().await;
    assert_eq!(get(&second, &session, "a").await.as_deref(), Some("1"));
    assert_eq!(get(&second, &session, "b").await, None, "the copy is complete");
    // Without its copy, what is not in Redis is not known.
    let copy = servers.copy_key(&session).await;
    servers.redis.run::<i64>(&format!("DEL {copy}"));
    for id in ["a", "b"] {
        let error = try_get(&second, &session, id).await.unwrap_err();
        assert!(is_away(&error), "{error:?}");
    }
}

#[tokio::test]
async fn a_copy_is_made_anew_from_mongodb() {
    let Some(servers) = Servers::start("a_copy_is_made_anew_from_mongodb").await else {
        return;
    };
    let session: SessionId = "warm".into();
    let backend = servers.hybrid(through()).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    backend.release(&session, token).await.unwrap();
    servers.redis.run::<String>("FLUSHALL");
    let token = granted(&backend, &session).await.token;
    let copy = servers.copy_key(&session).await;
    until("the copy is complete", async || {
        let full = servers.redis.run::<Option<String>>(&format!("HGET {copy} @full"));
        full.is_some()
    })
    .await;
    // Evicted under its owner: reads go on, and the next commit begins a new copy.
    servers.redis.run::<i64>(&format!("DEL {copy}"));
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("1"));
    put(&backend, &session, token, 1, "b", "2").await.unwrap();
    servers.redis.run::<String>("FLUSHALL");
    put(&backend, &session, token, 2, "c", "3").await.unwrap();
    for (id, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(get(&backend, &session, id).await.as_deref(), Some(value));
    }
    assert_eq!(get(&backend, &session, "d").await, None);
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let bad = [
        HybridConfig {
            outbox_limit: 0,
            ..HybridConfig::default()
        },
        HybridConfig {
            queue_timeout: Duration::ZERO,
            ..HybridConfig::default()
        },
    ];
    for config in bad {
        assert_eq!(config.validate().unwrap_err().kind(), Kind::Config);
    }
}

#[tokio::test]
async fn an_outbox_needs_a_majority_behind_it() {
    let Some(servers) = Servers::start("an_outbox_needs_a_majority_behind_it").await else {
        return;
    };
    let redis = RedisConfig::from_url(&servers.redis.url()).unwrap();
    let mongo = servers.mongo_config(&format!("{}/?w=1", servers.mongo_url));
    for (config, refused) in [
        (through(), false),
        (through_with_outbox(), true),
        (behind(), true),
    ] {
        let of = Breaker::new("mongodb", breaker(seconds(30)), observe::of("mongodb"));
        let answer = HybridBackend::connect(
            &redis,
            &PrimaryConfig::Mongo(mongo.clone()),
            config,
            Arc::new(of),
            None,
        )
        .await;
        let kind = answer.map(drop).map_err(|error| error.kind());
        assert_eq!(kind, if refused { Err(Kind::Config) } else { Ok(()) });
    }
}
