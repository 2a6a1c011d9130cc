//! What a driver error means: mapped once, here. `docs/guides/redis.md` has the table.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::config::{Address, RedisConfig, Topology};
use crate::error::{Error, Kind};

/// The `layer` of this backend's errors.
pub(super) const LAYER: &str = "redis";

/// An error of this backend.
pub(crate) fn error(kind: Kind, message: &'static str) -> Error {
    Error::new(kind, LAYER, message)
}

/// The server asked, as its errors name it.
#[derive(Debug)]
pub(crate) struct Place {
    /// `host:port`, of every node that was named.
    name: String,
    is_cluster: bool,
    /// One node of a cluster.
    is_part: bool,
    /// `redis://secret@host` has a user name and no password.
    lacks_password: bool,
}

impl Place {
    pub fn new(config: &RedisConfig) -> Self {
        let list = |addresses: &[(String, u16)]| {
            let names: Vec<_> = addresses
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect();
            names.join(", ")
        };
        let name = match &config.topology {
            Topology::Single(address) => list(std::slice::from_ref(address)),
            Topology::Socket(path) => path.display().to_string(),
            Topology::Sentinel {
                sentinels, master, ..
            } => {
                format!("{master} behind the sentinels {}", list(sentinels))
            }
            Topology::Cluster(nodes) => list(nodes),
        };
        Self {
            name,
            is_cluster: matches!(config.topology, Topology::Cluster(_)),
            is_part: false,
            lacks_password: config.login.username.is_some() && config.login.password.is_none(),
        }
    }

    /// A node of a cluster.
    pub fn of_node(config: &RedisConfig, (host, port): &Address) -> Self {
        Self {
            name: format!("{host}:{port}"),
            is_part: true,
            ..Self::new(config)
        }
    }

    /// The one mapping of driver errors.
    pub fn map(&self, cause: &RedisError) -> Error {
        let (kind, message) = self.meaning(cause);
        self.refused(kind, message).because(&without_arguments(cause))
    }

    /// An error of that server.
    pub fn refused(&self, kind: Kind, message: &'static str) -> Error {
        self.named(error(kind, message))
    }

    /// `error`, with the name of that server.
    pub fn named(&self, error: Error) -> Error {
        let error = error.at_server(&self.name);
        if self.is_part { error.of_part() } else { error }
    }

    fn meaning(&self, cause: &RedisError) -> (Kind, &'static str) {
        match cause.kind() {
            ErrorKind::Io => (Kind::Unavailable, "the connection failed"),
            ErrorKind::Parse => (Kind::Unavailable, "the server's answer could not be read"),
            ErrorKind::ClusterConnectionNotFound => {
                (Kind::Unavailable, "no node of the cluster answers for this slot")
            }
            ErrorKind::MasterNameNotFoundBySentinel => (Kind::Unavailable, "no sentinel knows the master"),
            ErrorKind::NoValidReplicasFoundBySentinel => (Kind::Unavailable, "no sentinel knows a replica"),
            ErrorKind::AuthenticationFailed => (Kind::Config, WRONG_PASSWORD),
            ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => {
                (Kind::Config, "the connection options are not valid")
            }
            ErrorKind::RESP3NotSupported => (Kind::Config, "the server is older than Redis 6"),
            ErrorKind::Client => (Kind::Config, "the connection could not be set up"),
            ErrorKind::UnexpectedReturnType => (Kind::Corrupt, "the server's answer has an unexpected type"),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let text = cause.detail().unwrap_or_default();
                match by_text(text).or_else(|| by_code(code(cause), self.is_cluster)) {
                    Some((Kind::Config, WRONG_PASSWORD | NO_PASSWORD)) if self.lacks_password => {
                        (Kind::Config, PASSWORD_AS_USER)
                    }
                    meaning => meaning.unwrap_or((Kind::Unavailable, REFUSED)),
                }
            }
            // The driver may grow kinds. One that is not known says nothing about the data.
            _ => (Kind::Unavailable, "the command failed"),
        }
    }
}

/// An error that a script caught and handed back as text.
pub(crate) fn from_script(text: &str) -> Error {
    let code = inner_code(text).unwrap_or_else(|| text.split(' ').next().unwrap_or_default());
    let (kind, message) = by_text(text)
        .or_else(|| by_code(code, true))
        .unwrap_or((Kind::Unavailable, REFUSED));
    error(kind, message).because(&text)
}

/// Names the keys that an error is about, if it is about one that holds something foreign.
pub(crate) fn at_keys(found: Error, keys: &[String]) -> Error {
    if found.kind() != Kind::Corrupt || !found.message().ends_with(FOREIGN) {
        return found;
    }
    let keys = keys.join(" or ");
    let text = format!("{keys}: {FOREIGN}");
    Error::new(Kind::Corrupt, LAYER, text)
        .because(&found.cause().unwrap_or_default())
        .with("key", keys)
}

/// Whether the connection is of no more use: lost, or to a server that is not the master.
pub(super) fn wants_reconnect(cause: &RedisError) -> bool {
    match cause.kind() {
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::ClusterConnectionNotFound => true,
        _ => matches!(code(cause), "READONLY" | "MASTERDOWN" | "NOAUTH"),
    }
}

/// Whether the server does not have the script (any more).
pub(super) fn is_unknown_script(cause: &RedisError) -> bool {
    cause.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// A server repeats the beginning of the arguments of a command that it does not know: keys, and perhaps more.
fn without_arguments(cause: &RedisError) -> String {
    let text = cause.to_string();
    match text.split_once(", with args beginning with") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

const WRONG_PASSWORD: &str = "the server refused the user name or password; check the URL or the ACL user";
const NO_PASSWORD: &str = "the server asks for a password, and none was given";
const PASSWORD_AS_USER: &str = "the server asks for a password, and the URL has only a user name: write \
                                redis://:password@host or redis://user:password@host";
pub(super) const NO_PERMISSION: &str =
    "the ACL user may not run a needed command or touch the keys; the documentation lists what it needs";
const UNKNOWN_COMMAND: &str = "the server does not know a command that is needed";
pub(super) const CLUSTER: &str =
    "the server is part of a cluster: write redis+cluster:// in place of redis://";
pub(super) const SENTINEL: &str =
    "the server is a Sentinel: write redis+sentinel://host:port/name-of-the-master";
const FOREIGN: &str = "a key of the session holds something else than a session";
const REFUSED: &str = "the server refused the command";

/// What servers say by their text alone.
fn by_text(text: &str) -> Option<(Kind, &'static str)> {
    let unknown = |name: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("unknown command") && text.contains(name)
    };
    Some(match text {
        text if text.contains("max number of clients") => (
            Kind::Unavailable,
            "the server has as many clients as it takes (maxclients)",
        ),
        text if text.contains("protected mode") => (
            Kind::Config,
            "the server is in protected mode and takes no connections from other machines; set a password",
        ),
        text if text.contains("Authentication required") => (Kind::Config, NO_PASSWORD),
        text if text.contains("DB index") || text.contains("invalid DB") => {
            (Kind::Config, "the server has no database of that number")
        }
        text if text.contains("SELECT is not allowed") => (Kind::Config, CLUSTER),
        text if text.contains("cluster support disabled") => (
            Kind::Config,
            "the server is not part of a cluster: write redis:// in place of redis+cluster://",
        ),
        // Inside a script: Redis 7, then 6.2.
        text if text.contains("ACL failure in script")
            || text.contains("user executing the script can't") =>
        {
            (Kind::Config, NO_PERMISSION)
        }
        text if text.contains("Unknown Redis command called from") => (Kind::Config, UNKNOWN_COMMAND),
        _ if unknown("'sentinel'") || unknown("`sentinel`") => (
            Kind::Config,
            "the server is no Sentinel: write redis:// in place of redis+sentinel://",
        ),
        _ if unknown("'cluster'") || unknown("`cluster`") => (
            Kind::Config,
            "the server knows no clusters: write redis:// in place of redis+cluster://",
        ),
        _ if unknown("eval") => (
            Kind::Config,
            "scripts are disabled on the server (EVAL and EVALSHA), and every commit is one",
        ),
        _ if unknown("") => (Kind::Config, UNKNOWN_COMMAND),
        _ => return None,
    })
}

fn by_code(code: &str, is_cluster: bool) -> Option<(Kind, &'static str)> {
    Some(match code {
        "NOAUTH" => (Kind::Config, NO_PASSWORD),
        "WRONGPASS" => (Kind::Config, WRONG_PASSWORD),
        "NOPERM" => (Kind::Config, NO_PERMISSION),
        "DENIED" => (Kind::Config, "the server takes no connections from here"),
        "NOPROTO" => (Kind::Config, "the server is older than Redis 6"),
        "WRONGTYPE" => (Kind::Corrupt, FOREIGN),
        "CROSSSLOT" => (Kind::Config, CLUSTER),
        "MOVED" | "ASK" if !is_cluster => (Kind::Config, CLUSTER),
        "MOVED" | "ASK" => (Kind::Unavailable, "the slot is moving to another node"),
        "OOM" => (
            Kind::StorageFull,
            "the server has reached maxmemory and evicts nothing",
        ),
        "MISCONF" => (
            Kind::StorageFull,
            "the server cannot write its data to disk and refuses writes",
        ),
        "READONLY" => (Kind::Unavailable, "the server is a replica now"),
        "LOADING" => (Kind::Unavailable, "the server is loading its data"),
        "MASTERDOWN" => (Kind::Unavailable, "the replica has lost its master"),
        "NOREPLICAS" => (
            Kind::Unavailable,
            "the master has too few replicas to accept writes",
        ),
        "TRYAGAIN" | "CLUSTERDOWN" => (
            Kind::Unavailable,
            "the cluster cannot serve this slot at the moment",
        ),
        "BUSY" => (Kind::Unavailable, "the server is busy with a script"),
        _ => return None,
    })
}

/// The server's error code. Redis 6.2 reports errors inside scripts as `ERR Error running script …: -CODE …`.
fn code(cause: &RedisError) -> &str {
    let code = cause.code().unwrap_or_default();
    let detail = cause.detail().unwrap_or_default();
    if code != "ERR" || !detail.contains("script") {
        return code;
    }
    inner_code(detail).unwrap_or(code)
}

/// The code of an error that a script met, somewhere in the text.
fn inner_code(text: &str) -> Option<&'static str> {
    const INNER: [&str; 8] = [
        "WRONGTYPE",
        "OOM",
        "MISCONF",
        "READONLY",
        "NOPERM",
        "NOREPLICAS",
        "MASTERDOWN",
        "CROSSSLOT",
    ];
    let named = |inner: &&str| text.split([' ', '-', ':']).any(|word| word == *inner);
    INNER.into_iter().find(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .unwrap()
            .extract_error()
            .unwrap_err()
    }

    fn place(url: &str) -> Place {
        Place::new(&RedisConfig::from_url(url).unwrap())
    }

    #[rustfmt::skip]
    const TABLE: [(&str, Kind, bool, &str); 34] = [
        ("NOAUTH Authentication required.", Kind::Config, false, "asks for a password"),
        ("WRONGPASS invalid username-password pair", Kind::Config, false, "user name or password"),
        ("NOPERM this user has no permissions", Kind::Config, false, "ACL user"),
        ("NOPROTO unsupported protocol version", Kind::Config, false, "older than Redis 6"),
        ("DENIED Redis is running in protected mode because", Kind::Config, false, "protected mode"),
        ("ERR DB index is out of range", Kind::Config, false, "no database of that number"),
        ("ERR invalid DB index", Kind::Config, false, "no database of that number"),
        ("ERR SELECT is not allowed in cluster mode", Kind::Config, false, "redis+cluster://"),
        ("ERR This instance has cluster support disabled", Kind::Config, false, "not part of a cluster"),
        ("ERR unknown command 'SENTINEL', with args beginning with: 'x' ", Kind::Config, false, "no Sentinel"),
        ("ERR unknown command `CLUSTER`, with args beginning with: `SLOTS`, ", Kind::Config, false, "no clusters"),
        ("ERR unknown command 'EVALSHA', with args beginning with: 'secret' ", Kind::Config, false, "scripts are disabled"),
        ("ERR unknown command `EVAL`, with args beginning with: `secret`, ", Kind::Config, false, "scripts are disabled"),
        ("ERR unknown command 'HGET', with args beginning with: 'secret' ", Kind::Config, false, "does not know a command"),
        ("CROSSSLOT Keys in request don't hash to the same slot", Kind::Config, false, "redis+cluster://"),
        ("MOVED 3999 127.0.0.1:6381", Kind::Config, false, "redis+cluster://"),
        ("ASK 3999 127.0.0.1:6381", Kind::Config, false, "redis+cluster://"),
        ("ERR max number of clients reached", Kind::Unavailable, true, "maxclients"),
        ("READONLY You can't write against a read only replica.", Kind::Unavailable, true, "replica"),
        ("LOADING Redis is loading the dataset in memory", Kind::Unavailable, true, "loading"),
        ("MASTERDOWN Link with MASTER is down", Kind::Unavailable, true, "lost its master"),
        ("NOREPLICAS Not enough good replicas to write.", Kind::Unavailable, true, "too few replicas"),
        ("TRYAGAIN Multiple keys request during rehashing", Kind::Unavailable, true, "at the moment"),
        ("CLUSTERDOWN Hash slot not served", Kind::Unavailable, true, "at the moment"),
        ("BUSY Redis is busy running a script.", Kind::Unavailable, true, "busy with a script"),
        ("ERR something new", Kind::Unavailable, true, "refused the command"),
        ("OOM command not allowed when used memory > 'maxmemory'.", Kind::StorageFull, true, "maxmemory"),
        ("MISCONF Redis is configured to save RDB snapshots", Kind::StorageFull, true, "to disk"),
        ("WRONGTYPE Operation against a key", Kind::Corrupt, false, "something else"),
        ("ERR Error running script (call to f_1): @user_script:3: -READONLY You can't write", Kind::Unavailable, true, "replica"),
        ("ERR Error running script (call to f_1): @user_script:3: WRONGTYPE Operation", Kind::Corrupt, false, "something else"),
        ("ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed", Kind::StorageFull, true, "maxmemory"),
        ("ERR Error running script (call to f_1): @user_script: 3: -MISCONF Redis is", Kind::StorageFull, true, "to disk"),
        ("ERR Error running script (call to f_1): @user_script: 3: -NOPERM this user", Kind::Config, false, "ACL user"),
    ];

    #[test]
    fn every_answer_of_a_server_has_its_meaning() {
        let place = place("redis://127.0.0.1:6380");
        for (line, kind, retryable, says) in TABLE {
            let error = place.map(&server_error(line));
            let text = error.to_string();
            assert_eq!((error.kind(), error.retryable()), (kind, retryable), "{line}");
            assert!(text.contains(says), "{line}: {text}");
            assert!(!text.contains("secret"), "{line}: {text}");
            assert_eq!(error.detail("server"), Some(&"127.0.0.1:6380".into()));
            assert!(text.contains("127.0.0.1:6380"), "{line}: {text}");
        }
        assert!(wants_reconnect(&server_error(
            "ERR Error running script: -READONLY You can't write"
        )));
    }

    #[test]
    fn a_moving_slot_passes_in_a_cluster() {
        let error = place("redis+cluster://127.0.0.1:6380").map(&server_error("MOVED 1 127.0.0.1:6381"));
        assert_eq!((error.kind(), error.retryable()), (Kind::Unavailable, true));
    }

    #[test]
    fn a_password_in_the_users_place_is_named_and_not_shown() {
        for line in ["NOAUTH Authentication required.", "ERR Authentication required."] {
            let error = place("redis://hunter2@127.0.0.1").map(&server_error(line));
            let text = error.to_string();
            assert_eq!(error.kind(), Kind::Config);
            assert!(
                text.contains("only a user name") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_foreign_key_is_named() {
        let keys = ["bv:{s}".to_owned()];
        let error = at_keys(from_script("WRONGTYPE Operation against a key"), &keys);
        assert_eq!(error.detail("key"), Some(&"bv:{s}".into()));
        assert!(error.message().contains("bv:{s}"), "{error}");
        assert_eq!(at_keys(from_script("OOM full"), &keys).kind(), Kind::StorageFull);
    }
}
