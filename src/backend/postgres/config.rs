//! What users set.

use std::fmt;
use std::time::Duration;

use super::LAYER;
use super::url::Target;
use crate::backend::Tls;
use crate::error::{Error, Kind, Result};

/// Where the sessions are and how long to wait for them.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// A `postgres://` or `postgresql://` URL, with the parameters of libpq.
    pub url: String,
    /// The schema that has the tables; made if it is missing and the user may.
    pub schema: String,
    /// Certificates; the server must then prove its name, unless they say otherwise.
    pub tls: Option<Tls>,
    /// Most connections, however many sessions there are.
    pub max_connections: usize,
    /// Longest wait for one statement, and for a connection.
    pub operation_timeout: Duration,
    /// Open a session although its last owner used an outbox in Redis, which this backend cannot see: patches that
    /// owner acknowledged may be missing. Off, that is `SessionBusy`.
    pub accept_lost_outbox: bool,
}

impl PostgresConfig {
    /// The schema used when none is named.
    pub const DEFAULT_SCHEMA: &str = "baileys_vault";
    /// Connections unless the options say otherwise: one for commits, one for all else.
    pub const DEFAULT_CONNECTIONS: usize = 2;
    /// Longest name of a schema; the server would cut off the rest.
    const MAX_NAME: usize = 63;

    /// The defaults for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: Self::DEFAULT_SCHEMA.to_owned(),
            tls: None,
            max_connections: Self::DEFAULT_CONNECTIONS,
            operation_timeout: Duration::from_secs(10),
            accept_lost_outbox: false,
        }
    }

    /// Where the URL leads, if the options are in order.
    pub(super) fn target(&self) -> Result<Target> {
        let refuse = |message: &'static str| Err(Error::new(Kind::Config, LAYER, message));
        if self.operation_timeout.is_zero() {
            return refuse("operationTimeout must be above 0");
        }
        if self.max_connections == 0 {
            return refuse("maxConnections must be at least 1");
        }
        let named = !self.schema.is_empty() && self.schema.len() <= Self::MAX_NAME;
        if !named || self.schema.contains('\0') || self.schema.starts_with("pg_") {
            return refuse(
                "the schema's name must have 1 to 63 bytes without NUL, and must not begin with `pg_`",
            );
        }
        Target::parse(&self.url)
    }
}

/// The URL is left out: it may hold a password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("url", &"(hidden)")
            .field("schema", &self.schema)
            .field("tls", &self.tls)
            .field("max_connections", &self.max_connections)
            .field("operation_timeout", &self.operation_timeout)
            .field("accept_lost_outbox", &self.accept_lost_outbox)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let config = PostgresConfig::new("postgres://bot:s3cr3t@example.net/db");
        assert!(!format!("{config:?}").contains("s3cr3t"));
        assert!(!format!("{:?}", config.target().unwrap()).contains("s3cr3t"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = PostgresConfig::new("postgres://localhost");
        assert!(good.target().is_ok());
        let bad = [
            PostgresConfig::new("redis://localhost"),
            PostgresConfig {
                operation_timeout: Duration::ZERO,
                ..good.clone()
            },
            PostgresConfig {
                max_connections: 0,
                ..good.clone()
            },
            PostgresConfig {
                schema: "pg_mine".into(),
                ..good.clone()
            },
            PostgresConfig {
                schema: "x".repeat(64),
                ..good
            },
        ];
        for config in bad {
            assert_eq!(config.target().unwrap_err().kind(), Kind::Config);
        }
    }
}
