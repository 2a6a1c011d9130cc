//! What TypeScript hands over as JSON. It validates for people and knows the defaults; here only the shape is checked, and
//! every option that has a default must be given.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::backend::Tls;
use crate::error::{Error, Kind, Result};
use crate::record::{Algorithm, Compression, SealOptions};

/// Options of a store.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreConfig {
    /// Which backend.
    pub backend: BackendKind,
    /// For the embedded store.
    pub embedded: Option<EmbeddedSection>,
    /// For Redis and hybrid.
    pub redis: Option<RedisSection>,
    /// For MongoDB and hybrid.
    pub mongodb: Option<MongoSection>,
    /// For PostgreSQL, and for hybrid in the place of MongoDB.
    pub postgres: Option<PostgresSection>,
    /// For hybrid.
    pub hybrid: Option<HybridSection>,
    /// Time limits and retries.
    pub resilience: ResilienceSection,
    /// Sealing.
    pub security: SecuritySection,
    /// Seconds a session lives without a write or touch; none is for ever.
    pub ttl: Option<u64>,
    /// Milliseconds a lease lasts when it is not renewed.
    pub lease: u64,
    /// Whether this process is to be the only writer of its sessions.
    pub exclusive: bool,
    /// Bytes of memory for records of all sessions of the process.
    pub cache_bytes: Option<usize>,
    /// Milliseconds to wait for an embedded folder that another process holds.
    pub open_timeout: u64,
}

/// Which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum BackendKind {
    Embedded,
    Redis,
    Mongodb,
    Postgres,
    Hybrid,
}

/// Options of the embedded store.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmbeddedSection {
    /// Absolute path of the folder.
    pub folder: PathBuf,
    /// `process` or `full`.
    pub durability: crate::backend::embedded::Durability,
}

/// Options of Redis.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSection {
    /// `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`.
    pub url: String,
    /// Begins every key.
    pub prefix: String,
    /// How many replicas must have a write before it is acknowledged.
    pub wait_replicas: Option<WaitReplicasSection>,
    /// Certificates, with a URL that asks for TLS.
    pub tls: Option<TlsSection>,
}

/// How many replicas must have a write before it is acknowledged.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitReplicasSection {
    /// At least 1.
    pub count: u32,
    /// Milliseconds they are waited for.
    pub timeout: u64,
}

/// Whom to trust over TLS, and who we are there. Certificates and the key are PEM.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSection {
    /// Sign the server's certificate, in place of the authorities trusted here.
    pub ca: Option<String>,
    /// Our own certificate …
    pub cert: Option<String>,
    /// … and its key.
    pub key: Option<String>,
    /// Take any certificate.
    #[serde(default)]
    pub insecure: bool,
}

impl From<&TlsSection> for Tls {
    fn from(section: &TlsSection) -> Self {
        let client = section.cert.as_ref().zip(section.key.as_ref());
        Self {
            authority: section.ca.as_ref().map(|pem| pem.clone().into_bytes()),
            client: client
                .map(|(cert, key)| (cert.clone().into_bytes(), Zeroizing::new(key.as_bytes().to_vec()))),
            insecure: section.insecure,
        }
    }
}

/// Options of MongoDB.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MongoSection {
    /// `mongodb://` or `mongodb+srv://`.
    pub url: String,
    /// Name of the database.
    pub database: String,
    /// What the names of the collections begin with: `<collection>_sessions`, `<collection>_records` …
    pub collection: String,
    /// Certificates, with a URL that asks for TLS.
    pub tls: Option<TlsSection>,
    /// Open a session although its last owner used an outbox in Redis, which this store cannot see.
    #[serde(default)]
    pub accept_lost_outbox: bool,
}

/// Options of PostgreSQL.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresSection {
    /// `postgres://` or `postgresql://`.
    pub url: String,
    /// Name of the schema that has the tables.
    pub schema: String,
    /// Most connections.
    pub max_connections: usize,
    /// Certificates; the server must then prove its name.
    pub tls: Option<TlsSection>,
    /// Open a session although its last owner used an outbox in Redis, which this store cannot see.
    #[serde(default)]
    pub accept_lost_outbox: bool,
}

/// Options of the hybrid store.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, named where it is set"
)]
pub struct HybridSection {
    /// Answer once Redis has a write, and bring it to MongoDB behind.
    pub write_behind: bool,
    /// Take writes through the outbox while MongoDB is down.
    pub outbox_when_mongo_down: bool,
    /// Whether a queue adapter wants every write.
    pub queue: bool,
    /// Open a session although Redis has lost the outbox of an owner that crashed.
    pub accept_lost_outbox: bool,
    /// Most bytes acknowledged and not yet in MongoDB.
    pub outbox_limit: usize,
}

/// Time limits and retries.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResilienceSection {
    /// Milliseconds one operation may take, retries included.
    pub operation_timeout: u64,
    /// How often an operation is tried again.
    pub max_retries: u32,
    /// Milliseconds before the first retry.
    pub retry_base_delay: u64,
    /// By how much the delay grows with each retry.
    pub retry_multiplier: f64,
    /// When the circuit breaker opens.
    pub breaker: BreakerSection,
}

/// For tests of what does not depend on them.
#[cfg(test)]
impl Default for ResilienceSection {
    fn default() -> Self {
        Self {
            operation_timeout: 5000,
            max_retries: 3,
            retry_base_delay: 50,
            retry_multiplier: 2.0,
            breaker: BreakerSection::default(),
        }
    }
}

/// When the circuit breaker opens, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakerSection {
    /// Share of failures, 0 to 1, that opens the breaker.
    pub error_threshold: f64,
    /// Milliseconds over which failures are counted.
    pub window: u64,
    /// Milliseconds before it is tried again.
    pub cool_down: u64,
}

/// For tests of what does not depend on them.
#[cfg(test)]
impl Default for BreakerSection {
    fn default() -> Self {
        Self {
            error_threshold: 0.5,
            window: 10_000,
            cool_down: 30_000,
        }
    }
}

/// How records are sealed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecuritySection {
    /// How records are sealed; none stores them readable.
    pub encryption: Option<Encryption>,
    /// How records are compressed where that makes them smaller.
    pub compression: Option<Compress>,
    /// Take records that are not sealed, written before encryption was switched on.
    pub accept_plain: bool,
}

/// How records are sealed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Encryption {
    #[serde(rename = "secretbox")]
    Secretbox,
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compress {
    Snappy,
    Gzip,
}

impl From<&SecuritySection> for SealOptions {
    fn from(section: &SecuritySection) -> Self {
        Self {
            encryption: section.encryption.map(|encryption| match encryption {
                Encryption::Secretbox => Algorithm::SecretBox,
                Encryption::Aes256Gcm => Algorithm::Aes256Gcm,
            }),
            compression: section.compression.map(|compression| match compression {
                Compress::Snappy => Compression::Snappy,
                Compress::Gzip => Compression::Gzip,
            }),
            accept_plain: section.accept_plain,
        }
    }
}

/// A server with another library's data, to be read.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForeignSection {
    /// As for a store of ours.
    pub url: String,
    /// Of MongoDB; the one in the URL, if none is named.
    pub database: Option<String>,
    /// Certificates, with a URL that asks for TLS.
    pub tls: Option<TlsSection>,
    /// Milliseconds one call to the server may take.
    pub operation_timeout: u64,
    /// Milliseconds to wait for a server that is not up.
    pub open_timeout: u64,
}

/// Options of opening a session.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionConfig {
    /// Its name.
    pub session_id: String,
    /// Milliseconds to wait for a live owner.
    pub open_timeout: u64,
    /// The caller's own fencing token.
    pub fencing_token: Option<u64>,
}

/// Parses JSON from TypeScript.
pub fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(Kind::Config, "config", "options do not have the expected shape").because(&error)
    })
}

/// Milliseconds as a duration.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, Value};

    use super::*;

    /// What TypeScript sends for the least that a program can say; a test there keeps it so.
    const SENT: &str = include_str!("../__test__/api/options/sent-to-core.json");

    /// All of `value` but one field that is not null, for each such field, with the field's path.
    fn without_each(value: &Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
        let mut found = Vec::new();
        for (name, field) in value.iter().filter(|(_, field)| !field.is_null()) {
            let mut rest = value.clone();
            rest.remove(name);
            found.push((name.clone(), rest));
            if let Value::Object(fields) = field {
                for (path, inner) in without_each(fields) {
                    let mut changed = value.clone();
                    changed.insert(name.clone(), Value::Object(inner));
                    found.push((format!("{name}.{path}"), changed));
                }
            }
        }
        found
    }

    #[test]
    fn every_option_must_be_given() {
        let sent: BTreeMap<String, Map<String, Value>> = serde_json::from_str(SENT).unwrap();
        assert_eq!(sent.len(), 5);
        for (backend, config) in sent {
            let whole = Value::Object(config.clone()).to_string();
            parse::<StoreConfig>(&whole).map(drop).unwrap();
            for (path, rest) in without_each(&config) {
                // Where the data is: connecting says what is missing, since only it knows which are needed.
                let section = ["embedded", "redis", "mongodb", "postgres", "hybrid"].contains(&path.as_str());
                let rest = Value::Object(rest).to_string();
                assert_eq!(
                    parse::<StoreConfig>(&rest).is_ok(),
                    section,
                    "{backend} without {path}"
                );
            }
        }
    }
}
