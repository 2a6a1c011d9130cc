//! The server asked, as its errors name it.

use redis::{ErrorKind, RedisError};

use super::config::{Address, RedisConfig, Topology};
use super::errors::{NO_PASSWORD, PASSWORD_AS_USER, REFUSED, WRONG_PASSWORD, by_code, by_text, code, error};
use crate::error::{Error, Kind};

/// See the module.
#[derive(Debug)]
pub(crate) struct ServerContext {
    /// `host:port`, of every node that was named.
    name: String,
    is_cluster: bool,
    /// One node of a cluster.
    is_part: bool,
    /// `redis://secret@host` has a user name and no password.
    lacks_password: bool,
}

impl ServerContext {
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

/// A server repeats the beginning of the arguments of a command that it does not know: keys, and perhaps more.
fn without_arguments(cause: &RedisError) -> String {
    let text = cause.to_string();
    match text.split_once(", with args beginning with") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::wants_reconnect;
    use super::*;

    fn server_error(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .unwrap()
            .extract_error()
            .unwrap_err()
    }

    fn context(url: &str) -> ServerContext {
        ServerContext::new(&RedisConfig::from_url(url).unwrap())
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
        let context = context("redis://127.0.0.1:6380");
        for (line, kind, retryable, says) in TABLE {
            let error = context.map(&server_error(line));
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
        let error = context("redis+cluster://127.0.0.1:6380").map(&server_error("MOVED 1 127.0.0.1:6381"));
        assert_eq!((error.kind(), error.retryable()), (Kind::Unavailable, true));
    }

    #[test]
    fn a_password_in_the_users_place_is_named_and_not_shown() {
        for line in ["NOAUTH Authentication required.", "ERR Authentication required."] {
            let error = context("redis://hunter2@127.0.0.1").map(&server_error(line));
            let text = error.to_string();
            assert_eq!(error.kind(), Kind::Config);
            assert!(
                text.contains("only a user name") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }
}
