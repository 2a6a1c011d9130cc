//! What users set.

use std::fmt;
use std::time::Duration;

use super::LAYER;
use crate::backend::Tls;
use crate::error::{Error, Kind, Result};

/// Where the sessions are and how long to wait for them.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoConfig {
    /// A `mongodb://` or `mongodb+srv://` URL. Its options are the driver's; `w` and `journal` replace the
    /// defaults (majority, journalled); `readConcernLevel` must not be below majority, and the read preference is always
    /// the primary.
    pub url: String,
    /// The database; `None` is the one in the URL, or `baileys_vault`.
    pub database: Option<String>,
    /// What the names of the collections (`sessions`, `records`, `staged`, `leases`) begin with.
    pub collection_prefix: String,
    /// Certificates, where the URL or the server asks for TLS; `None` leaves them to the URL.
    pub tls: Option<Tls>,
    /// Longest wait for one command, and for finding a server to send it to.
    pub operation_timeout: Duration,
    /// Open a session although its last owner used an outbox in Redis, which this backend cannot see: patches that
    /// owner acknowledged may be missing. Off, that is `SessionBusy`.
    pub accept_lost_outbox: bool,
}

impl MongoConfig {
    /// The database used when neither the option nor the URL names one.
    pub const DEFAULT_DATABASE: &str = "baileys_vault";

    /// The defaults for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            database: None,
            collection_prefix: "vault_".to_owned(),
            tls: None,
            operation_timeout: Duration::from_secs(10),
            accept_lost_outbox: false,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |message: &'static str| Err(Error::new(Kind::Config, LAYER, message));
        if !self.url.starts_with("mongodb://") && !self.url.starts_with("mongodb+srv://") {
            return refuse("the URL must begin with mongodb:// or mongodb+srv://");
        }
        if self.operation_timeout.is_zero() {
            return refuse("operationTimeout must be above 0");
        }
        if self.collection_prefix.contains(['$', '\0']) || self.collection_prefix.starts_with("system.") {
            return refuse("the collection prefix must not contain `$` or NUL, nor begin with `system.`");
        }
        Ok(())
    }

    /// `text` without the URL and what stands before its `@`.
    pub(super) fn redact(&self, text: &str) -> String {
        let text = text.replace(&self.url, "(URL)");
        let after_scheme = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let Some((credentials, _)) = after_scheme.rsplit_once('@') else {
            return text;
        };
        let password = credentials.split_once(':').map_or("", |(_, password)| password);
        [credentials, password]
            .into_iter()
            .filter(|secret| !secret.is_empty())
            .fold(text, |text, secret| text.replace(secret, "(hidden)"))
    }
}

/// The URL is left out: it may hold a password.
impl fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConfig")
            .field("url", &"(hidden)")
            .field("database", &self.database)
            .field("collection_prefix", &self.collection_prefix)
            .field("tls", &self.tls)
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
        let config = MongoConfig::new("mongodb://bot:s3cr3t@example.net/db");
        assert!(!format!("{config:?}").contains("s3cr3t"));
        let text = config.redact("bad url mongodb://bot:s3cr3t@example.net/db near s3cr3t");
        assert_eq!(text, "bad url (URL) near (hidden)");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = MongoConfig::new("mongodb://localhost");
        assert!(good.validate().is_ok());
        let bad = [
            MongoConfig::new("redis://localhost"),
            MongoConfig {
                operation_timeout: Duration::ZERO,
                ..good.clone()
            },
            MongoConfig {
                collection_prefix: "a$".into(),
                ..good
            },
        ];
        for config in bad {
            assert_eq!(config.validate().unwrap_err().kind(), Kind::Config);
        }
    }
}
