//! Stores in use in this process.
//!
//! Whoever opens the same location shares one [`Vault`], from whichever thread: one connection, one owner, one
//! actor per session. The vault is closed with its last user.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::agreed::Agreed;
use super::queue::Relay;
use crate::backend::Backend;
use crate::backend::embedded::{Embedded, EmbeddedConfig};
use crate::backend::mongo::{MongoBackend, MongoConfig};
use crate::backend::redis::{RedisBackend, RedisConfig, WaitReplicas};
use crate::config::{BackendKind, StoreConfig, ms};
use crate::error::{Error, Kind, Result};
use crate::hybrid::{HybridBackend, HybridConfig, Mode, Queue};
use crate::resilience::{self, Breaker};
use crate::runtime::Lane;
use crate::session::{Event, LostSessions, Settings, Vault};

/// First and longest pause before a server that is not up yet is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A location's vault; empty while nobody uses it.
#[derive(Default)]
struct Place {
    open: tokio::sync::Mutex<Option<InUse>>,
    /// How the last attempt to open it failed, and when.
    failed: Mutex<Option<(Instant, Error)>>,
}

struct InUse {
    vault: Arc<Vault>,
    extras: Arc<Extras>,
    agreed: Agreed,
    users: usize,
}

/// A share of a vault, to be given back by [`Share::close`].
pub struct Share {
    place: Arc<Place>,
    location: String,
    /// The vault.
    pub vault: Arc<Vault>,
    /// What it offers beside its sessions.
    pub extras: Arc<Extras>,
    /// What the operator should know about the storage's set-up.
    pub warnings: Vec<String>,
}

/// What a store offers beside its sessions.
#[derive(Default)]
pub struct Extras {
    /// Its circuit breakers.
    pub breakers: Vec<Arc<Breaker>>,
    /// Its outbox, if it has one.
    pub outbox: Option<Arc<dyn Outbox>>,
    /// Hands jobs to the queues of its users, if any have one.
    pub queue: Option<Arc<Relay>>,
}

impl Extras {
    /// Figures of each breaker, by the storage behind it.
    pub fn breakers(&self) -> Value {
        self.breakers
            .iter()
            .map(|breaker| (breaker.layer().to_owned(), json!(breaker.stats())))
            .collect()
    }
}

/// Writes on their way from one storage to another.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// How far it is, as JSON; null where it is not used. Costs no call to a storage.
    fn stats(&self) -> Value;

    /// Figures of the read and write path, as JSON; costs no call to a storage.
    fn figures(&self) -> Value;

    /// Entries that can never be applied, as a JSON array.
    async fn dead_letters(&self) -> Result<Value>;

    /// Applies what waits now.
    async fn reconcile(&self) -> Result<()>;
}

/// A backend ready for use.
struct Connected {
    backend: Arc<dyn Backend>,
    extras: Extras,
    warnings: Vec<String>,
}

fn places() -> &'static Mutex<HashMap<String, Arc<Place>>> {
    static PLACES: OnceLock<Mutex<HashMap<String, Arc<Place>>>> = OnceLock::new();
    PLACES.get_or_init(Mutex::default)
}

/// What this process knows to be lost of each location, for as long as it lives.
fn lost_at(location: &str) -> Arc<LostSessions> {
    static LOST: OnceLock<Mutex<HashMap<String, Arc<LostSessions>>>> = OnceLock::new();
    let mut lost = LOST.get_or_init(Mutex::default).lock();
    // Nobody has a store open there, nor lost anything.
    lost.retain(|_, sessions| !sessions.is_empty() || Arc::strong_count(sessions) > 1);
    lost.entry(location.to_owned()).or_default().clone()
}

/// Where a store's work runs and by which name the process knows it.
pub fn locate(config: &StoreConfig) -> Result<(Lane, String)> {
    match config.backend {
        BackendKind::Embedded => {
            let folder = &section(config.embedded.as_ref(), "embedded")?.folder;
            let location = format!("embedded {}", canonical(folder));
            Ok((Lane::disk(&location), location))
        }
        BackendKind::Redis => {
            let section = section(config.redis.as_ref(), "redis")?;
            let location = format!("redis {} {}", digest(&[&section.url]), section.prefix);
            Ok((Lane::network(), location))
        }
        BackendKind::Mongodb => {
            let section = section(config.mongodb.as_ref(), "mongodb")?;
            let location = format!(
                "mongodb {} {} {}",
                digest(&[&section.url]),
                section.database,
                section.collection
            );
            Ok((Lane::network(), location))
        }
        BackendKind::Hybrid => {
            let redis = section(config.redis.as_ref(), "redis")?;
            let mongo = section(config.mongodb.as_ref(), "mongodb")?;
            let location = format!(
                "hybrid {} {} {} {}",
                digest(&[&redis.url, &mongo.url]),
                redis.prefix,
                mongo.database,
                mongo.collection
            );
            Ok((Lane::network(), location))
        }
    }
}

/// Opens the store, or shares it if it is open with the same settings. Must run in its lane. A server that is not up
/// yet, or loads its data, is waited for up to `openTimeout`, and `tell` hears why.
pub(super) async fn open(
    config: &StoreConfig,
    agreed: Agreed,
    lane: Lane,
    location: String,
    tell: impl Fn(&Error) + Send,
) -> Result<Share> {
    let begun = Instant::now();
    let place = places().lock().entry(location.clone()).or_default().clone();
    let mut open = place.open.lock().await;
    if let Some(in_use) = open.take_if(|in_use| !in_use.vault.backend().is_in_place()) {
        // Its folder was removed: its handles fail from here on, and what is there now is opened.
        let _ = in_use.vault.close().await;
    }
    if let Some(in_use) = &mut *open {
        in_use.vault.ensure_open()?;
        in_use.agreed.check(&agreed)?;
        in_use.users += 1;
        let (vault, extras) = (in_use.vault.clone(), in_use.extras.clone());
        drop(open);
        return Ok(Share {
            place,
            location,
            vault,
            extras,
            warnings: Vec::new(),
        });
    }
    let Connected {
        backend,
        extras,
        warnings,
    } = place.connect(begun, config, tell).await?;
    let settings = Settings {
        lost: lost_at(&location),
        lease: ms(config.lease),
        operation_timeout: ms(config.resilience.operation_timeout),
    };
    let vault = Vault::new(backend, lane, settings);
    for breaker in &extras.breakers {
        let (listening, layer) = (Arc::downgrade(&vault), breaker.layer());
        breaker.watch(Box::new(move |position, last| {
            if let Some(vault) = listening.upgrade() {
                vault.announce(&Event::Breaker(layer, position, last.cloned()));
            }
        }));
    }
    let extras = Arc::new(extras);
    *open = Some(InUse {
        vault: vault.clone(),
        extras: extras.clone(),
        agreed,
        users: 1,
    });
    drop(open);
    Ok(Share {
        place,
        location,
        vault,
        extras,
        warnings,
    })
}

impl Share {
    /// Gives the share back; the last one closes the vault.
    pub async fn close(self) -> Result<()> {
        let mut open = self.place.open.lock().await;
        let Some(in_use) = &mut *open else { return Ok(()) };
        if !Arc::ptr_eq(&in_use.vault, &self.vault) {
            return Ok(());
        }
        in_use.users -= 1;
        if in_use.users > 0 {
            return Ok(());
        }
        *open = None;
        let outcome = self.vault.close().await;
        drop(open);
        let mut places = places().lock();
        // Two strong references are the map's and ours: nobody is waiting to open it again.
        if places
            .get(&self.location)
            .is_some_and(|place| Arc::strong_count(place) == 2)
        {
            places.remove(&self.location);
        }
        outcome
    }
}

impl Place {
    /// Connects for an opener that began to wait at `begun`.
    async fn connect(
        &self,
        begun: Instant,
        config: &StoreConfig,
        tell: impl Fn(&Error) + Send,
    ) -> Result<Connected> {
        let deadline = begun + ms(config.open_timeout);
        let failed = self.failed.lock().clone();
        if let Some((at, error)) = failed
            && at >= begun
            && Instant::now() >= deadline
        {
            // Who stood behind an opener that waited in vain has waited as long itself.
            return Err(error);
        }
        let connected = connect_by(deadline, config, tell).await;
        let failure = connected.as_ref().err().filter(|error| away(error));
        *self.failed.lock() = failure.map(|error| (Instant::now(), error.clone()));
        connected
    }
}

/// Connects, again and again until `deadline` while the server is away.
async fn connect_by(
    deadline: Instant,
    config: &StoreConfig,
    tell: impl Fn(&Error) + Send,
) -> Result<Connected> {
    let mut pause = AGAIN.0;
    let mut told = String::new();
    loop {
        match connect(config).await {
            Err(error) if away(&error) && config.backend != BackendKind::Embedded => {
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                let text = error.to_string();
                if text != told {
                    tell(&error);
                    told = text;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN.1);
            }
            answer => return answer,
        }
    }
}

fn away(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

async fn connect(config: &StoreConfig) -> Result<Connected> {
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
            Ok(Connected {
                backend: Arc::new(backend),
                extras: Extras::default(),
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
        BackendKind::Hybrid => hybrid(config).await,
    }
}

async fn hybrid(config: &StoreConfig) -> Result<Connected> {
    let options = section(config.hybrid.as_ref(), "hybrid")?;
    if options.write_behind && !config.exclusive {
        let text = "write-behind needs an owner: `exclusive: false` goes with write-through only";
        return Err(Error::new(Kind::Config, "config", text).with("field", "exclusive"));
    }
    let mode = if options.write_behind {
        Mode::WriteBehind
    } else {
        Mode::WriteThrough
    };
    let breaker = resilience::breaker("mongodb", &config.resilience);
    let relay = Arc::new(Relay::default());
    let queue: Option<Arc<dyn Queue>> = if options.queue { Some(relay.clone()) } else { None };
    let backend = HybridBackend::connect(
        &redis_config(config)?,
        &mongo_config(config)?,
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
            vec![format!("Redis could not be asked for its settings: {error}")]
        }
        Err(error) => {
            let _ = backend.close().await;
            return Err(error);
        }
    };
    Ok(Connected {
        backend: resilience::bound(Arc::new(backend.clone()), &config.resilience),
        extras: Extras {
            breakers: vec![breaker],
            outbox: Some(Arc::new(backend)),
            queue: options.queue.then_some(relay),
        },
        warnings,
    })
}

#[async_trait]
impl Outbox for HybridBackend {
    fn stats(&self) -> Value {
        if !self.has_outbox() {
            return Value::Null;
        }
        let stats = self.outbox_stats();
        json!({
            "pending": stats.pending,
            "pendingBytes": stats.pending_bytes,
            "totalProcessed": stats.total_processed,
            "totalCompleted": stats.total_completed,
            "totalFailed": stats.total_failed,
            "totalRetried": stats.total_retried,
            "avgLatency": stats.average_latency.as_secs_f64() * 1000.0,
            "lastRunAt": stats.last_run_at,
            "deadLetters": stats.dead_letters,
        })
    }

    fn figures(&self) -> Value {
        let figures = HybridBackend::figures(self);
        json!({
            "redisHits": figures.redis_hits,
            "redisMisses": figures.redis_misses,
            "mongoFallbacks": figures.mongo_fallbacks,
            "queuePublishes": figures.queue_publishes,
            "queueFailures": figures.queue_failures,
            "directWrites": figures.direct_writes,
        })
    }

    async fn dead_letters(&self) -> Result<Value> {
        let letters = HybridBackend::dead_letters(self).await?;
        let json = letters.iter().map(|letter| {
            json!({
                "sessionId": *letter.session,
                "version": letter.version,
                "reason": letter.reason,
                "at": letter.at,
            })
        });
        Ok(json.collect())
    }

    async fn reconcile(&self) -> Result<()> {
        HybridBackend::reconcile(self).await.map(drop)
    }
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

fn guarded(backend: Arc<dyn Backend>, config: &StoreConfig, warnings: Vec<String>) -> Connected {
    let breaker = resilience::breaker(backend.name(), &config.resilience);
    let backend = resilience::wrap(backend, breaker.clone(), &config.resilience);
    Connected {
        backend,
        extras: Extras {
            breakers: vec![breaker],
            outbox: None,
            queue: None,
        },
        warnings,
    }
}

/// Stands for texts that may hold a password.
fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

fn section<'a, T>(section: Option<&'a T>, field: &'static str) -> Result<&'a T> {
    section.ok_or_else(|| {
        Error::new(
            Kind::Config,
            "config",
            format!("`{field}` is needed for this backend"),
        )
        .with("field", field)
    })
}

/// The folder may not exist yet: then its nearest existing parent is made canonical.
fn canonical(folder: &Path) -> String {
    let mut rest = Vec::new();
    for parent in folder.ancestors() {
        if let Ok(found) = parent.canonicalize() {
            let whole = rest.iter().rev().fold(found, |path, name| path.join(name));
            return whole.display().to_string();
        }
        rest.extend(parent.file_name());
    }
    folder.display().to_string()
}
