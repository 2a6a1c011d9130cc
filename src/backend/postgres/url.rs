//! Reads connection URLs as libpq does, and takes those of clouds, poolers and ORMs as pasted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::LAYER;
use crate::error::{Error, Kind, Result};

const PORT: u16 = 5432;

/// What other clients write into a URL for themselves. None of it changes what is stored or whom to trust.
const OF_OTHERS: [&str; 24] = [
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "schema",
    "supa",
    "uselibpqcompat",
    "workaround",
    "pool_mode",
    "max_idle_connection_lifetime",
    "single_use_connections",
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "sslcompression",
    "sslsni",
    "load_balance_hosts",
    "passfile",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// Whether what is sent can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Disable,
    /// If the server offers it.
    Prefer,
    Require,
}

/// What the server must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Nothing,
    /// That somebody who is trusted signed its certificate.
    Authority,
    /// That the certificate is for its name as well.
    Name,
}

/// Who is trusted by the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// Not said.
    Trusted,
    /// `sslrootcert=system`.
    System,
    File(PathBuf),
}

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub hosts: Vec<(Host, u16)>,
    pub user: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub database: Option<String>,
    /// `None` if the URL does not say.
    pub tls: Option<(Encryption, Proof)>,
    pub root: Root,
    /// Our own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// Idle time before the system probes a connection.
    pub keepalive: Option<Duration>,
    pub binds_channel: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

fn refused(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Config, LAYER, text)
}

fn of_parameter(name: &str, expected: &str) -> Error {
    refused(format!("the URL's parameter `{name}` must be {expected}"))
}

fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| refused("the URL has %-codes that are not UTF-8"))
}

impl Target {
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| refused("the URL must begin with postgres:// or postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have an unescaped `/`, but what follows its `@` may not.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let mut target = Self {
            hosts: Vec::new(),
            user: None,
            password: None,
            database: (!database.is_empty()).then(|| decode(database)).transpose()?,
            tls: None,
            root: Root::Trusted,
            client: None,
            options: None,
            application_name: None,
            connect_timeout: None,
            keepalive: None,
            binds_channel: false,
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            target.user = (!user.is_empty()).then(|| decode(user)).transpose()?;
            target.password = password.map(decode).transpose()?.map(Zeroizing::new);
        }
        let mut places = Places::of(hosts)?;
        let mut files = Files::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            target.set(&name, value, &mut places, &mut files)?;
        }
        target.hosts = places.finish()?;
        files.give_to(&mut target)?;
        Ok(target)
    }

    fn set(&mut self, name: &str, value: String, places: &mut Places, files: &mut Files) -> Result<()> {
        let seconds = |text: &str| {
            let seconds: u64 = text
                .parse()
                .map_err(|_| of_parameter(name, "a number of seconds"))?;
            Ok::<_, Error>(Some(Duration::from_secs(seconds)).filter(|limit| !limit.is_zero()))
        };
        match name {
            "host" | "hostaddr" => places.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => places.ports = value.split(',').map(str::to_owned).collect(),
            "user" => self.user = Some(value),
            "password" => self.password = Some(Zeroizing::new(value)),
            "dbname" => self.database = Some(value),
            "options" => self.options = Some(value),
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => self.connect_timeout = seconds(&value)?,
            "keepalives_idle" => self.keepalive = seconds(&value)?,
            "sslmode" => {
                self.tls = Some(match value.as_str() {
                    "disable" => (Encryption::Disable, Proof::Nothing),
                    // libpq asks for TLS second and first; neither is proof of anything.
                    "allow" | "prefer" => (Encryption::Prefer, Proof::Nothing),
                    "require" | "no-verify" => (Encryption::Require, Proof::Nothing),
                    "verify-ca" => (Encryption::Require, Proof::Authority),
                    "verify-full" => (Encryption::Require, Proof::Name),
                    _ => {
                        let modes = "disable, allow, prefer, require, verify-ca or verify-full";
                        return Err(of_parameter(name, modes));
                    }
                });
            }
            // What other clients call it.
            "ssl" => {
                self.tls = Some(match value.as_str() {
                    "true" | "1" | "no-verify" => (Encryption::Require, Proof::Nothing),
                    "false" | "0" => (Encryption::Disable, Proof::Nothing),
                    _ => return Err(of_parameter(name, "true or false; sslmode says more")),
                });
            }
            "sslaccept" if value == "strict" => self.tls = Some((Encryption::Require, Proof::Name)),
            "sslaccept" => self.tls = Some((Encryption::Require, Proof::Nothing)),
            "sslrootcert" if value == "system" => self.root = Root::System,
            "sslrootcert" | "sslcert" | "sslkey" => files.set(name, value),
            "channel_binding" => match value.as_str() {
                "require" => self.binds_channel = true,
                "prefer" | "disable" => {}
                _ => return Err(of_parameter(name, "require, prefer or disable")),
            },
            "target_session_attrs" => match value.as_str() {
                // Sessions are written, so the primary is looked for in any case.
                "any" | "read-write" | "primary" => {}
                _ => return Err(of_parameter(name, "read-write: sessions are written")),
            },
            "keepalives" if value == "0" => self.keepalive = None,
            "keepalives" => {}
            "sslnegotiation" if value == "postgres" => {}
            name if OF_OTHERS.contains(&name) => {}
            _ => return Err(refused(format!("the URL has an unknown parameter, `{name}`"))),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Files {
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    fn set(&mut self, name: &str, path: String) {
        let file = match name {
            "sslrootcert" => &mut self.root,
            "sslcert" => &mut self.certificate,
            _ => &mut self.key,
        };
        *file = Some(path.into());
    }

    fn give_to(self, target: &mut Target) -> Result<()> {
        if let Some(root) = self.root {
            target.root = Root::File(root);
            // As libpq does: whoever names an authority wants it asked.
            if let Some((Encryption::Require, proof @ Proof::Nothing)) = &mut target.tls {
                *proof = Proof::Authority;
            }
        }
        if target.root == Root::System && target.tls != Some((Encryption::Require, Proof::Name)) {
            return Err(refused("sslrootcert=system needs sslmode=verify-full"));
        }
        target.client = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(refused("the URL must have both sslcert and sslkey, or neither")),
        };
        Ok(())
    }
}

/// Hosts and ports, which the URL may name in two places.
struct Places {
    hosts: Vec<String>,
    ports: Vec<String>,
}

impl Places {
    fn of(authority: &str) -> Result<Self> {
        let mut places = Self {
            hosts: Vec::new(),
            ports: Vec::new(),
        };
        for host in authority.split(',').filter(|host| !host.is_empty()) {
            let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
                Some((address, port)) => (address, port.strip_prefix(':')),
                None => match host.rsplit_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (host, None),
                },
            };
            places.hosts.push(decode(host)?);
            places.ports.push(port.unwrap_or_default().to_owned());
        }
        Ok(places)
    }

    fn finish(self) -> Result<Vec<(Host, u16)>> {
        if self.hosts.iter().all(String::is_empty) {
            return Err(refused("the URL names no host"));
        }
        let one = self.ports.len() == 1;
        let port = |at: usize| match self.ports.get(if one { 0 } else { at }).map(String::as_str) {
            None | Some("") => Ok(PORT),
            Some(text) => text
                .parse()
                .map_err(|_| refused("a port must be a number from 1 to 65535")),
        };
        let host = |(at, host): (usize, &String)| {
            let place = if host.starts_with('/') {
                Host::Unix(host.into())
            } else {
                Host::Tcp(host.clone())
            };
            Ok((place, port(at)?))
        };
        self.hosts.iter().enumerate().map(host).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn tcp(host: &str, port: u16) -> (Host, u16) {
        (Host::Tcp(host.to_owned()), port)
    }

    #[test]
    fn urls_of_clouds_work_as_pasted() {
        let neon = of(
            "postgresql://me:npg_x@ep-a-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        );
        assert_eq!(neon.tls, Some((Encryption::Require, Proof::Nothing)));
        assert!(neon.binds_channel);
        let supabase = of(
            "postgres://postgres.abc:p%40ss@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1&supa=base-pooler.x",
        );
        assert_eq!(
            supabase.hosts,
            [tcp("aws-0-eu-central-1.pooler.supabase.com", 6543)]
        );
        assert_eq!(supabase.user.as_deref(), Some("postgres.abc"));
        assert_eq!(supabase.password.as_ref().map(|text| text.as_str()), Some("p@ss"));
        assert_eq!(supabase.tls, None);
        let prisma = of("postgres://u:p@db:5432/app?schema=public&sslaccept=strict");
        assert_eq!(prisma.tls, Some((Encryption::Require, Proof::Name)));
        let heroku = of("postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1");
        assert_eq!(heroku.database.as_deref(), Some("d1"));
        let old_neon = of("postgres://u:p@ep-a.neon.tech/db?options=endpoint%3Dep-a&sslmode=require");
        assert_eq!(old_neon.options.as_deref(), Some("endpoint=ep-a"));
    }

    #[test]
    fn sslmode_means_what_libpq_says() {
        for (parameters, tls) in [
            ("sslmode=disable", Some((Encryption::Disable, Proof::Nothing))),
            ("sslmode=allow", Some((Encryption::Prefer, Proof::Nothing))),
            ("sslmode=prefer", Some((Encryption::Prefer, Proof::Nothing))),
            ("sslmode=require", Some((Encryption::Require, Proof::Nothing))),
            (
                "sslmode=require&sslrootcert=/ca.pem",
                Some((Encryption::Require, Proof::Authority)),
            ),
            (
                "sslrootcert=/ca.pem&sslmode=require",
                Some((Encryption::Require, Proof::Authority)),
            ),
            ("sslmode=verify-ca", Some((Encryption::Require, Proof::Authority))),
            (
                "sslmode=verify-full&sslrootcert=system",
                Some((Encryption::Require, Proof::Name)),
            ),
            ("", None),
        ] {
            assert_eq!(
                of(&format!("postgres://h/d?{parameters}")).tls,
                tls,
                "{parameters}"
            );
        }
    }

    #[test]
    fn hosts_may_be_many_and_sockets() {
        assert_eq!(
            of("postgres://u@a:1,b,[::1]:3/d?target_session_attrs=read-write").hosts,
            [tcp("a", 1), tcp("b", 5432), tcp("::1", 3)]
        );
        let socket = vec![(Host::Unix("/run/postgresql".into()), 5433)];
        assert_eq!(of("postgres:///d?host=/run/postgresql&port=5433").hosts, socket);
        assert_eq!(of("postgres://u@%2Frun%2Fpostgresql:5433/d").hosts, socket);
        assert_eq!(
            of("postgresql:///d?host=a,b&port=1,2").hosts,
            [tcp("a", 1), tcp("b", 2)]
        );
        assert_eq!(
            of("postgresql:///d?host=a,b&port=7").hosts,
            [tcp("a", 7), tcp("b", 7)]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (url, named) in [
            ("mysql://h", "postgres://"),
            ("postgres:///d", "no host"),
            ("postgres://h:x/d", "port"),
            ("postgres://h/d?sslmode=on", "sslmode"),
            (
                "postgres://h/d?target_session_attrs=standby",
                "target_session_attrs",
            ),
            ("postgres://h/d?colour=red", "colour"),
            ("postgres://h/d?sslcert=/c", "sslkey"),
            ("postgres://h/d?sslrootcert=system", "verify-full"),
            ("postgres://h/d?connect_timeout=soon", "connect_timeout"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{url}");
            assert!(error.message().contains(named), "{url}: {error}");
        }
    }
}
