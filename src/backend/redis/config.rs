//! What users set: where Redis is, who we are there, how keys begin, how long to wait.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::errors::error;
use crate::backend::Tls;
use crate::error::{Kind, Result};

/// A TCP address.
pub type Address = (String, u16);

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26_379;

/// Where the server is, or the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single(Address),
    /// One server behind a Unix socket.
    Socket(PathBuf),
    /// The master that the sentinels name.
    Sentinel {
        /// The sentinels; one that answers is enough.
        sentinels: Vec<Address>,
        /// What the sentinels call the master.
        master: String,
        /// Who we are to the sentinels.
        login: Login,
    },
    /// A cluster, found through any of these nodes.
    Cluster(Vec<Address>),
}

/// User name and password; both may be absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user; the default user if absent.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Zeroizing<String>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<redacted>"))
            .finish()
    }
}

/// Options of the Redis backend.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where the server is.
    pub topology: Topology,
    /// Who we are to it.
    pub login: Login,
    /// Number of the database; 0 in a cluster.
    pub database: i64,
    /// TLS, if it is used.
    pub tls: Option<Tls>,
    /// What every key begins with; without braces. Default `bv`.
    pub prefix: String,
    /// The longest that one operation may take. Default 5 s.
    pub operation_timeout: Duration,
    /// The longest that connecting may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How many replicas must have a commit before it is acknowledged. Default none.
    pub wait_replicas: Option<WaitReplicas>,
}

/// How many replicas must have a commit, and how long they are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitReplicas {
    /// At least 1.
    pub count: u32,
    /// Then the commit is in doubt.
    pub timeout: Duration,
}

impl RedisConfig {
    /// Options for the server at `topology`, without a login.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            login: Login::default(),
            database: 0,
            tls: None,
            prefix: "bv".to_owned(),
            operation_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            wait_replicas: None,
        }
    }

    /// Reads a URL:
    /// - `redis://[user[:password]@]host[:6379][/database]`, one server; `redis:///run/redis.sock?db=0`, its socket;
    /// - `redis+sentinel://[user[:password]@]host[:26379],…/master[/database][?sentinelUsername=…&sentinelPassword=…]`;
    /// - `redis+cluster://[user[:password]@]host[:6379],…`;
    /// - `rediss` in place of `redis` is TLS, `valkey` and `valkeys` mean the same.
    ///
    /// User name and password are percent-encoded. What is wrong is `Config`; the error never repeats the URL.
    pub fn from_url(url: &str) -> Result<Self> {
        let url = Url::split(url)?;
        let (scheme, kind) = url.scheme.split_once('+').unwrap_or((url.scheme, ""));
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => {
                return Err(error(
                    Kind::Config,
                    "the URL's scheme must be redis, rediss, valkey or valkeys",
                ));
            }
        };
        // The path of a socket is no list of parts.
        let parts = if url.hosts.is_empty() { "" } else { url.path };
        let mut path = parts.split('/').filter(|part| !part.is_empty());
        let mut config = match kind {
            "" if url.hosts.is_empty() => {
                if url.path.is_empty() || tls {
                    return Err(error(Kind::Config, "the URL names no host"));
                }
                Self::new(Topology::Socket(PathBuf::from(decode(url.path)?)))
            }
            "" => {
                let mut addresses = addresses(url.hosts, DEFAULT_PORT)?;
                if addresses.len() > 1 {
                    return Err(error(
                        Kind::Config,
                        "several hosts need the scheme redis+sentinel or redis+cluster",
                    ));
                }
                Self::new(Topology::Single(addresses.remove(0)))
            }
            "sentinel" => {
                let master = path.next().map(decode).transpose()?;
                Self::new(Topology::Sentinel {
                    sentinels: addresses(url.hosts, DEFAULT_SENTINEL_PORT)?,
                    master: master.ok_or_else(|| {
                        error(
                            Kind::Config,
                            "a sentinel URL must name the master: redis+sentinel://host/name",
                        )
                    })?,
                    login: Login::default(),
                })
            }
            "cluster" => Self::new(Topology::Cluster(addresses(url.hosts, DEFAULT_PORT)?)),
            _ => {
                return Err(error(
                    Kind::Config,
                    "the URL's scheme must end in +sentinel, +cluster or neither",
                ));
            }
        };
        config.tls = tls.then(Tls::default);
        config.login = url.login;
        if let Some(database) = path.next() {
            config.set_database(database)?;
        }
        if path.next().is_some() {
            return Err(error(Kind::Config, "the URL's path is too long"));
        }
        for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, &mut config.topology) {
                ("sentinelUsername", Topology::Sentinel { login, .. }) => {
                    login.username = Some(decode(value)?);
                }
                ("sentinelPassword", Topology::Sentinel { login, .. }) => {
                    login.password = Some(decode(value)?.into());
                }
                ("db", Topology::Socket(_)) => config.set_database(value)?,
                _ => return Err(error(Kind::Config, "the URL's query holds an unknown option")),
            }
        }
        config.validate()?;
        Ok(config)
    }

    fn set_database(&mut self, text: &str) -> Result<()> {
        self.database = text
            .parse()
            .ok()
            .filter(|database| (0..=i64::from(u16::MAX)).contains(database))
            .ok_or_else(|| error(Kind::Config, "the URL's database must be a number"))?;
        Ok(())
    }

    /// Checks what the types leave open.
    pub fn validate(&self) -> Result<()> {
        let bad = |message| Err(error(Kind::Config, message));
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return bad("prefix must not be empty nor hold braces");
        }
        if self.operation_timeout.is_zero() || self.connect_timeout.is_zero() {
            return bad("timeouts must be longer than 0");
        }
        if self
            .wait_replicas
            .is_some_and(|wait| wait.count == 0 || wait.timeout.is_zero())
        {
            return bad("waitReplicas needs at least one replica and a timeout above 0");
        }
        match &self.topology {
            Topology::Cluster(_) if self.database != 0 => bad("a cluster has database 0 only"),
            Topology::Cluster(nodes) if nodes.is_empty() => bad("a cluster needs at least one node"),
            Topology::Sentinel { sentinels, .. } if sentinels.is_empty() => {
                bad("at least one sentinel is needed")
            }
            Topology::Socket(_) if self.tls.is_some() => bad("TLS over a Unix socket is not supported"),
            _ => Ok(()),
        }
    }

    /// The same for all options that can share a connection; does not give the password away.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(format!(
            "{:?} {:?} {:?} {:?}",
            self.topology, self.database, self.connect_timeout, self.wait_replicas
        )
        .as_bytes());
        let sentinel = match &self.topology {
            Topology::Sentinel { login, .. } => Some(login),
            _ => None,
        };
        for login in [Some(&self.login), sentinel].into_iter().flatten() {
            add(format!("{:?}", login.username).as_bytes());
            add(login
                .password
                .as_ref()
                .map_or(b"", |password| password.as_bytes()));
        }
        if let Some(tls) = &self.tls {
            add(&tls.fingerprint());
        }
        hash.finalize().into()
    }
}

/// The parts of a URL. Written here because a list of hosts is no URL to the usual parsers.
struct Url<'a> {
    scheme: &'a str,
    login: Login,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn split(url: &'a str) -> Result<Self> {
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .ok_or_else(|| error(Kind::Config, "the URL has no scheme"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, hosts) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(l, h)| (Some(l), h));
        let login = match login {
            None => Login::default(),
            Some(login) => {
                let (username, password) = login.split_once(':').unwrap_or((login, ""));
                let some = |text: &str| (!text.is_empty()).then(|| decode(text)).transpose();
                Login {
                    username: some(username)?,
                    password: some(password)?.map(Zeroizing::new),
                }
            }
        };
        Ok(Self {
            scheme,
            login,
            hosts,
            path,
            query,
        })
    }
}

/// Reads `host:port`; the host may be an IPv6 address, with or without brackets.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some((
        host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port.parse().ok()?,
    ))
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>> {
    let bad = || {
        error(
            Kind::Config,
            "the URL's hosts must be host[:port], separated by commas",
        )
    };
    hosts
        .split(',')
        .map(|host| {
            // An IPv6 address stands in brackets.
            let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((name, "")) => (name, None),
                Some((name, port)) => (name, Some(port.strip_prefix(':').ok_or_else(bad)?)),
                None => host
                    .split_once(':')
                    .map_or((host, None), |(name, port)| (name, Some(port))),
            };
            if name.is_empty() {
                return Err(bad());
            }
            let port = port.map_or(Ok(default_port), str::parse).map_err(|_| bad())?;
            Ok((name.to_owned(), port))
        })
        .collect()
}

fn decode(text: &str) -> Result<String> {
    let bad = || error(Kind::Config, "the URL holds a percent sign that encodes nothing");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let config = RedisConfig::from_url("rediss://bot:p%40ss%3A@[::1]:7000/3").unwrap();
        assert_eq!(config.topology, Topology::Single(("::1".into(), 7000)));
        assert_eq!(config.login.username.as_deref(), Some("bot"));
        assert_eq!(config.login.password.as_ref().map(|p| p.as_str()), Some("p@ss:"));
        assert_eq!((config.database, config.tls.is_some()), (3, true));

        let config = RedisConfig::from_url(
            "redis+sentinel://:secret@a,b:1234/mymaster/2?sentinelUsername=s&sentinelPassword=t",
        )
        .unwrap();
        let Topology::Sentinel {
            sentinels,
            master,
            login,
        } = &config.topology
        else {
            panic!("{:?}", config.topology)
        };
        assert_eq!(sentinels, &[("a".into(), 26_379), ("b".into(), 1234)]);
        assert_eq!((master.as_str(), config.database), ("mymaster", 2));
        assert_eq!(login.username.as_deref(), Some("s"));

        let config = RedisConfig::from_url("valkeys+cluster://a:1,b:2").unwrap();
        assert_eq!(
            config.topology,
            Topology::Cluster(vec![("a".into(), 1), ("b".into(), 2)])
        );
        let config = RedisConfig::from_url("redis:///run/redis.sock?db=1").unwrap();
        assert_eq!(
            (config.topology, config.database),
            (Topology::Socket("/run/redis.sock".into()), 1)
        );
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        for url in [
            "redis.example:6379",
            "http://u:hunter2@host",
            "redis://u:hunter2@a,b",
            "redis://u:hunter2@host:port",
            "redis://u:hunter2%@host",
            "redis://u:hunter2@host/x",
            "redis://u:hunter2@host/1/2",
            "redis://u:hunter2@host?password=hunter2",
            "redis+sentinel://u:hunter2@host",
            "redis+cluster://u:hunter2@host/1",
            "redis+magic://u:hunter2@host",
            "redis://",
        ] {
            let error = RedisConfig::from_url(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_hides_passwords() {
        let config =
            RedisConfig::from_url("redis+sentinel://u:hunter2@a/m?sentinelPassword=hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn different_logins_do_not_share_a_connection() {
        let of = |url| RedisConfig::from_url(url).unwrap().fingerprint();
        assert_eq!(of("redis://u:a@h"), of("redis://u:a@h:6379/0"));
        assert_ne!(of("redis://u:a@h"), of("redis://u:b@h"));
        assert_ne!(of("redis://h"), of("rediss://h"));
    }
}
