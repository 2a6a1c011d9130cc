//! Makes a backend of its options, with what protects it from outages.

use std::sync::Arc;
use std::time::Instant;

use super::queue::JobRelay;
use crate::backend::Backend;
use crate::backend::embedded::{Embedded, EmbeddedConfig};
use crate::backend::mongo::{MongoBackend, MongoConfig};
use crate::backend::postgres::{PostgresBackend, PostgresConfig};
use crate::backend::redis::{RedisBackend, RedisConfig, WaitReplicas};
use crate::config::{BackendKind, StoreConfig, ms};
use crate::error::{Error, Kind, Result};
use crate::hybrid::{HybridBackend, HybridConfig, Mode, PrimaryConfig, Queue};
use crate::resilience::{self, Breaker};

/// A backend ready for use.
pub(super) struct Connection {
    pub backend: Arc<dyn Backend>,
    pub breakers: Vec<Arc<Breaker>>,
    pub outbox: Option<HybridBackend>,
    pub relay: Option<Arc<JobRelay>>,
    /// What the operator should know about the storage's set-up.
    pub warnings: Vec<String>,
}

/// Connects, again and again until `deadline` while the server is away.
pub(super) async fn connect_by(
    deadline: Instant,
    config: &StoreConfig,
    tell: impl Fn(&Error) + Send,
) -> Result<Connection> {
    if config.backend == BackendKind::Embedded {
        return connect(config).await;
    }
    resilience::until_reachable(deadline, tell, || connect(config)).await
}

async fn connect(config: &StoreConfig) -> Result<Connection> {
    match config.backend {
        BackendKind::Embedded => {
            let section = section(config.embedded.as_ref(), "embedded")?;
            let backend = Embedded::open(EmbeddedConfig {
                folder: section.folder.clone(),
                durability: section.durability,
                exclusive: config.exclusive,
                open_timeout: ms(config.open_timeout),
            })
            .await?;
            Ok(Connection {
                backend: Arc::new(backend),
                breakers: Vec::new(),
                outbox: None,
                relay: None,
                warnings: Vec::new(),
            })
        }
        BackendKind::Redis => {
            let backend = RedisBackend::new(&redis_config(config)?)?;
            match backend.warnings().await {
                Ok(warnings) => Ok(guarded(Arc::new(backend), config, warnings)),
                Err(error) => {
                    // The connection is shared: it must be given back also when nothing comes of it.
                    let _ = backend.close().await;
                    Err(error)
                }
            }
        }
        BackendKind::Mongodb => {
            let backend = MongoBackend::connect(&mongo_config(config)?).await?;
            Ok(guarded(Arc::new(backend), config, Vec::new()))
        }
        BackendKind::Postgres => {
            let backend = PostgresBackend::connect(&postgres_config(config)?).await?;
            let warnings = backend.warnings().await?;
            Ok(guarded(Arc::new(backend), config, warnings))
        }
        BackendKind::Hybrid => hybrid(config).await,
    }
}

async fn hybrid(config: &StoreConfig) -> Result<Connection> {
    let options = section(config.hybrid.as_ref(), "hybrid")?;
    let mode = if options.write_behind {
        Mode::WriteBehind
    } else {
        Mode::WriteThrough
    };
    let primary = if config.postgres.is_some() {
        PrimaryConfig::Postgres(postgres_config(config)?)
    } else {
        PrimaryConfig::Mongo(mongo_config(config)?)
    };
    let breaker = resilience::breaker(primary.name(), &config.resilience);
    let relay = Arc::new(JobRelay::default());
    let queue: Option<Arc<dyn Queue>> = if options.queue { Some(relay.clone()) } else { None };
    let backend = HybridBackend::connect(
        &redis_config(config)?,
        &primary,
        HybridConfig {
            mode,
            outbox_when_mongo_down: options.outbox_when_mongo_down && config.exclusive,
            accept_lost_outbox: options.accept_lost_outbox,
            outbox_limit: options.outbox_limit,
            ..HybridConfig::default()
        },
        breaker.clone(),
        queue,
    )
    .await?;
    let warnings = match backend.warnings().await {
        Ok(warnings) => warnings,
        // Not there now; it is checked by every use.
        Err(error) if error.retryable() => {
            vec![format!("a server could not be asked for its settings: {error}")]
        }
        Err(error) => {
            let _ = backend.close().await;
            return Err(error);
        }
    };
    Ok(Connection {
        backend: resilience::bound(Arc::new(backend.clone()), &config.resilience),
        breakers: vec![breaker],
        outbox: Some(backend),
        relay: options.queue.then_some(relay),
        warnings,
    })
}

fn redis_config(config: &StoreConfig) -> Result<RedisConfig> {
    let section = section(config.redis.as_ref(), "redis")?;
    let limit = resilience::driver_limit(&config.resilience);
    let mut options = RedisConfig::from_url(&section.url)?;
    options.prefix.clone_from(&section.prefix);
    if let Some(tls) = &section.tls {
        options.tls = Some(tls.into());
    }
    options.operation_timeout = limit;
    options.wait_replicas = section.wait_replicas.map(|wait| WaitReplicas {
        count: wait.count,
        // The answer must come before the time of the operation is over.
        timeout: ms(wait.timeout).min(limit / 10 * 9),
    });
    options.connect_timeout = options.connect_timeout.min(limit);
    Ok(options)
}

fn mongo_config(config: &StoreConfig) -> Result<MongoConfig> {
    let section = section(config.mongodb.as_ref(), "mongodb")?;
    Ok(MongoConfig {
        database: Some(section.database.clone()),
        tls: section.tls.as_ref().map(Into::into),
        collection_prefix: format!("{}_", section.collection),
        operation_timeout: resilience::driver_limit(&config.resilience),
        accept_lost_outbox: section.accept_lost_outbox,
        ..MongoConfig::new(&section.url)
    })
}

fn postgres_config(config: &StoreConfig) -> Result<PostgresConfig> {
    let section = section(config.postgres.as_ref(), "postgres")?;
    Ok(PostgresConfig {
        schema: section.schema.clone(),
        tls: section.tls.as_ref().map(Into::into),
        max_connections: section.max_connections,
        operation_timeout: resilience::driver_limit(&config.resilience),
        accept_lost_outbox: section.accept_lost_outbox,
        ..PostgresConfig::new(&section.url)
    })
}

fn guarded(backend: Arc<dyn Backend>, config: &StoreConfig, warnings: Vec<String>) -> Connection {
    let breaker = resilience::breaker(backend.name(), &config.resilience);
    let backend = resilience::wrap(backend, breaker.clone(), &config.resilience);
    Connection {
        backend,
        breakers: vec![breaker],
        outbox: None,
        relay: None,
        warnings,
    }
}

/// The options of a backend, which must be there if that backend is asked for.
pub(super) fn section<'a, T>(section: Option<&'a T>, field: &'static str) -> Result<&'a T> {
    section.ok_or_else(|| {
        Error::new(
            Kind::Config,
            "config",
            format!("`{field}` is needed for this backend"),
        )
        .with("field", field)
    })
}
