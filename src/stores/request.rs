//! What a store is to be opened with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::connect::section;
use super::rules;
use super::settings::SharedSettings;
use crate::config::{self, BackendKind, StoreConfig, ms};
use crate::error::Result;
use crate::record::{KeyRing, MasterKey, SealOptions};
use crate::runtime::WorkerThread;
use crate::session::OpenOptions;

/// A store that somebody wants to use, with options that were checked.
pub struct OpenRequest {
    pub(super) config: StoreConfig,
    pub(super) settings: SharedSettings,
    /// How its user opens sessions.
    pub(super) options: OpenOptions,
    pub(super) worker: WorkerThread,
    /// The name by which this process knows the store.
    pub(super) location: String,
}

impl OpenRequest {
    /// Reads the options that TypeScript hands over as JSON, and the keys beside them.
    pub fn parse(json: &str, master_key: Option<&[u8]>, previous: &[&[u8]]) -> Result<Self> {
        let config: StoreConfig = config::parse(json)?;
        rules::check(&config)?;
        let active = master_key
            .map(|key| MasterKey::from_bytes("masterKey", key))
            .transpose()?;
        let previous: Result<Vec<_>> = previous
            .iter()
            .map(|key| MasterKey::from_bytes("previousMasterKeys", key))
            .collect();
        let options = OpenOptions {
            ring: Arc::new(KeyRing::new(active, previous?)),
            seal: SealOptions::from(&config.security),
            exclusive: config.exclusive,
            open_timeout: ms(config.open_timeout),
            client_token: None,
            ttl: config.ttl.map(Duration::from_secs),
        };
        let (worker, location) = locate(&config)?;
        Ok(Self {
            settings: SharedSettings::of(json),
            config,
            options,
            worker,
            location,
        })
    }

    /// Where the store's work runs.
    pub fn worker(&self) -> &WorkerThread {
        &self.worker
    }

    /// Whether its user has a queue that wants every write.
    pub fn wants_jobs(&self) -> bool {
        self.config.hybrid.as_ref().is_some_and(|hybrid| hybrid.queue)
    }
}

fn locate(config: &StoreConfig) -> Result<(WorkerThread, String)> {
    match config.backend {
        BackendKind::Embedded => {
            let folder = &section(config.embedded.as_ref(), "embedded")?.folder;
            let location = format!("embedded {}", canonical(folder));
            Ok((WorkerThread::disk(&location), location))
        }
        BackendKind::Redis => {
            let section = section(config.redis.as_ref(), "redis")?;
            let location = format!("redis {} {}", digest(&[&section.url]), section.prefix);
            Ok((WorkerThread::network(), location))
        }
        BackendKind::Mongodb => {
            let section = section(config.mongodb.as_ref(), "mongodb")?;
            let location = format!(
                "mongodb {} {} {}",
                digest(&[&section.url]),
                section.database,
                section.collection
            );
            Ok((WorkerThread::network(), location))
        }
        BackendKind::Postgres => {
            let section = section(config.postgres.as_ref(), "postgres")?;
            let location = format!("postgres {} {}", digest(&[&section.url]), section.schema);
            Ok((WorkerThread::network(), location))
        }
        BackendKind::Hybrid => {
            let redis = section(config.redis.as_ref(), "redis")?;
            if let Some(postgres) = &config.postgres {
                let urls = digest(&[&redis.url, &postgres.url]);
                let location = format!("hybrid {urls} {} postgres {}", redis.prefix, postgres.schema);
                return Ok((WorkerThread::network(), location));
            }
            let mongo = section(config.mongodb.as_ref(), "mongodb")?;
            let location = format!(
                "hybrid {} {} {} {}",
                digest(&[&redis.url, &mongo.url]),
                redis.prefix,
                mongo.database,
                mongo.collection
            );
            Ok((WorkerThread::network(), location))
        }
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
