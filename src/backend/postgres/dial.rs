//! Makes connections: to the first server of the URL that takes writes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::{Client, Config, Row};

use super::errors::from_driver;
use super::tls::Encrypted;
use super::url::{Encryption, Host, Target};
use super::{LAYER, PostgresConfig};
use crate::error::{Error, Kind, Result};
use crate::runtime;

/// The longest that setting a connection up may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is silent before the system asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a server says of itself, in one round trip.
const GREETING: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), \
     current_setting('server_version_num')::int4, current_setting('synchronous_commit'), \
     current_setting('fsync', true), current_setting('full_page_writes', true), \
     current_setting('synchronous_standby_names', true), \
     (SELECT count(*) FROM pg_stat_replication)";
/// The oldest server that knows what is asked of it.
const OLDEST: i32 = 130_000;

/// What a server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    standby: bool,
    read_only: bool,
    version: i32,
    pub synchronous_commit: String,
    pub fsync: String,
    pub full_page_writes: String,
    pub synchronous_standbys: String,
    pub standbys: i64,
}

/// A connection, and the task that carries it.
pub(super) struct Wire {
    pub client: Client,
    pub server: Arc<str>,
    pub greeting: Greeting,
    /// What the connection ended with, said by its own task.
    pub last_words: Arc<Mutex<Option<Error>>>,
    task: AbortHandle,
}

impl Wire {
    /// Ends the connection without a word: nothing may come of it any more.
    pub fn abort(&self) {
        self.task.abort();
    }
}

/// Makes connections with the options that users set.
pub(super) struct Dialer {
    pub target: Target,
    pub encrypted: Encrypted,
    pub timeout: Duration,
}

impl Dialer {
    pub fn new(config: &PostgresConfig) -> Result<Self> {
        let target = config.target()?;
        let limit = target.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        Ok(Self {
            encrypted: Encrypted::new(&target, config.tls.as_ref())?,
            timeout: limit.min(config.operation_timeout),
            target,
        })
    }

    /// Connects to the first of the servers that takes writes.
    pub async fn dial(&self) -> Result<Wire> {
        let mut last = Error::new(Kind::Config, LAYER, "the URL names no host");
        for (host, port) in &self.target.hosts {
            let name = match host {
                Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            };
            let found = match tokio::time::timeout(self.timeout, self.try_one(host, *port, &name)).await {
                Ok(found) => found,
                Err(_) => Err(Error::new(
                    Kind::Unavailable,
                    LAYER,
                    "the server did not accept a connection in time",
                )),
            };
            match found {
                Ok(wire) => return Ok(wire),
                Err(error) => last = error.at_server(&name),
            }
        }
        Err(last)
    }

    async fn try_one(&self, host: &Host, port: u16, name: &str) -> Result<Wire> {
        let config = self.config_for(host, port);
        // Large: the driver's futures are.
        let connecting = Box::pin(config.connect(self.encrypted.connector.clone()));
        let (client, connection) = connecting.await.map_err(|cause| from_driver(&cause))?;
        let last_words = Arc::new(Mutex::new(None));
        let words = last_words.clone();
        let task = runtime::spawn(async move {
            if let Err(cause) = connection.await {
                *words.lock() = Some(from_driver(&cause));
            }
        });
        let wire = Wire {
            greeting: Greeting::ask(&client).await?,
            client,
            server: name.into(),
            last_words,
            task: task.abort_handle(),
        };
        wire.greeting.check()?;
        Ok(wire)
    }

    fn config_for(&self, host: &Host, port: u16) -> Config {
        let target = &self.target;
        let mut config = Config::new();
        match host {
            Host::Tcp(host) => config.host(host),
            #[cfg(unix)]
            Host::Unix(folder) => config.host_path(folder),
            #[cfg(not(unix))]
            Host::Unix(folder) => config.host(folder.display().to_string()),
        };
        config
            .port(port)
            .application_name(
                target
                    .application_name
                    .as_deref()
                    .unwrap_or(env!("CARGO_PKG_NAME")),
            )
            .keepalives_idle(target.keepalive.unwrap_or(KEEPALIVE));
        config.ssl_mode(match (host, self.encrypted.encryption) {
            // Nobody listens in between.
            (Host::Unix(_), _) | (_, Encryption::Disable) => SslMode::Disable,
            (_, Encryption::Prefer) => SslMode::Prefer,
            (_, Encryption::Require) => SslMode::Require,
        });
        if target.binds_channel {
            config.channel_binding(ChannelBinding::Require);
        }
        if let Some(user) = &target.user {
            config.user(user);
        }
        if let Some(password) = &target.password {
            config.password(password.as_bytes());
        }
        if let Some(database) = &target.database {
            config.dbname(database);
        }
        if let Some(options) = &target.options {
            config.options(options);
        }
        config
    }
}

impl Greeting {
    async fn ask(client: &Client) -> Result<Self> {
        let rows = client.query_typed(GREETING, &[]).await;
        let rows = rows.map_err(|cause| from_driver(&cause))?;
        let row = rows
            .first()
            .ok_or_else(|| Error::new(Kind::Config, LAYER, "the server says nothing of itself"))?;
        let text = |at: usize| column::<Option<String>>(row, at).map(Option::unwrap_or_default);
        Ok(Self {
            standby: column(row, 0)?,
            read_only: text(1)? == "on",
            version: column(row, 2)?,
            synchronous_commit: text(3)?,
            fsync: text(4)?,
            full_page_writes: text(5)?,
            synchronous_standbys: text(6)?,
            standbys: column(row, 7)?,
        })
    }

    fn check(&self) -> Result<()> {
        if self.version < OLDEST {
            let text = "the server is older than PostgreSQL 13";
            return Err(Error::new(Kind::Config, LAYER, text).with("serverVersion", self.version));
        }
        if self.standby {
            let text = "the server is a standby, which takes no writes";
            return Err(Error::new(Kind::Unavailable, LAYER, text));
        }
        if self.read_only {
            let text =
                "the server, the database or the user is set to be read-only (default_transaction_read_only)";
            return Err(Error::new(Kind::Unavailable, LAYER, text));
        }
        Ok(())
    }
}

/// A column of an answer.
pub(super) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T> {
    row.try_get(at)
        .map_err(|_| super::errors::corrupt("the server's answer has another shape"))
}
