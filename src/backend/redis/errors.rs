//! What a driver error means: mapped once, here.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{Error, Kind};

/// The `layer` of this backend's errors.
pub(super) const LAYER: &str = "redis";

/// An error of this backend.
pub(super) fn error(kind: Kind, message: &'static str) -> Error {
    Error::new(kind, LAYER, message)
}

/// The one mapping of driver errors.
pub(super) fn map(cause: &RedisError) -> Error {
    let (kind, message) = meaning(cause);
    error(kind, message).because(cause)
}

/// An error that a script caught and handed back as text.
pub(super) fn from_script(text: &str) -> Error {
    let code = text.split(' ').next().unwrap_or_default();
    let (kind, message) = by_code(code).unwrap_or((Kind::Unavailable, "the server refused the command"));
    error(kind, message).because(&text)
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

fn meaning(cause: &RedisError) -> (Kind, &'static str) {
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
            by_code(code(cause)).unwrap_or((Kind::Unavailable, "the server refused the command"))
        }
        // The driver may grow kinds. One that is not known says nothing about the data.
        _ => (Kind::Unavailable, "the command failed"),
    }
}

const WRONG_PASSWORD: &str = "the server refused the user name or password; check the URL or the ACL user";
const NO_PERMISSION: &str =
    "the ACL user may not run a needed command or touch the keys; the documentation lists what it needs";

fn by_code(code: &str) -> Option<(Kind, &'static str)> {
    Some(match code {
        "NOAUTH" | "WRONGPASS" => (Kind::Config, WRONG_PASSWORD),
        "NOPERM" => (Kind::Config, NO_PERMISSION),
        "WRONGTYPE" => (
            Kind::Corrupt,
            "a key of the session holds something else than a session",
        ),
        "CROSSSLOT" => (
            Kind::Config,
            "the server is part of a cluster; connect to it as one",
        ),
        "MOVED" | "ASK" => (
            Kind::Unavailable,
            "the slot is moving, or the server is part of a cluster",
        ),
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
    let code = cause.code().unwrap_or_default();
    let detail = cause.detail().unwrap_or_default();
    if code != "ERR" || !detail.contains("script") {
        return code;
    }
    let inner = INNER
        .into_iter()
        .find(|inner| detail.split([' ', '-', ':']).any(|word| word == *inner));
    inner.unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(line: &str) -> RedisError {
        redis::parse_redis_value(line.as_bytes())
            .unwrap()
            .extract_error()
            .unwrap_err()
    }

    #[test]
    fn server_codes_have_kinds() {
        for (line, kind, retryable) in [
            ("-NOAUTH Authentication required.\r\n", Kind::Config, false),
            (
                "-WRONGPASS invalid username-password pair\r\n",
                Kind::Config,
                false,
            ),
            ("-NOPERM this user has no permissions\r\n", Kind::Config, false),
            ("-OOM command not allowed\r\n", Kind::StorageFull, true),
            (
                "-MISCONF Redis is configured to save\r\n",
                Kind::StorageFull,
                true,
            ),
            (
                "-READONLY You can't write against a read only replica.\r\n",
                Kind::Unavailable,
                true,
            ),
            (
                "-LOADING Redis is loading the dataset in memory\r\n",
                Kind::Unavailable,
                true,
            ),
            ("-WRONGTYPE Operation against a key\r\n", Kind::Corrupt, false),
            ("-CLUSTERDOWN Hash slot not served\r\n", Kind::Unavailable, true),
            (
                "-ERR Error running script (call to f_1): @user_script:3: -READONLY You can't write\r\n",
                Kind::Unavailable,
                true,
            ),
            (
                "-ERR Error running script (call to f_1): @user_script:3: WRONGTYPE Operation\r\n",
                Kind::Corrupt,
                false,
            ),
        ] {
            let error = map(&server_error(line));
            assert_eq!((error.kind(), error.retryable()), (kind, retryable), "{line}");
        }
        assert!(wants_reconnect(&server_error(
            "-ERR Error running script: -READONLY You can't write\r\n"
        )));
    }
}
