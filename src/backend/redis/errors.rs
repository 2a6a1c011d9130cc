//! What a server's error means: mapped once, here. `docs/guides/redis.md` has the table.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{Error, Kind};

/// The `layer` of this backend's errors.
pub(super) const LAYER: &str = "redis";

/// An error of this backend.
pub(crate) fn error(kind: Kind, message: &'static str) -> Error {
    Error::new(kind, LAYER, message)
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

pub(super) const WRONG_PASSWORD: &str =
    "the server refused the user name or password; check the URL or the ACL user";
pub(super) const NO_PASSWORD: &str = "the server asks for a password, and none was given";
pub(super) const PASSWORD_AS_USER: &str = "the server asks for a password, and the URL has only a user name: write \
                                redis://:password@host or redis://user:password@host";
pub(super) const NO_PERMISSION: &str =
    "the ACL user may not run a needed command or touch the keys; the documentation lists what it needs";
const UNKNOWN_COMMAND: &str = "the server does not know a command that is needed";
pub(super) const CLUSTER: &str =
    "the server is part of a cluster: write redis+cluster:// in place of redis://";
pub(super) const SENTINEL: &str =
    "the server is a Sentinel: write redis+sentinel://host:port/name-of-the-master";
const FOREIGN: &str = "a key of the session holds something else than a session";
pub(super) const REFUSED: &str = "the server refused the command";

/// What servers say by their text alone.
pub(super) fn by_text(text: &str) -> Option<(Kind, &'static str)> {
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

pub(super) fn by_code(code: &str, is_cluster: bool) -> Option<(Kind, &'static str)> {
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
pub(super) fn code(cause: &RedisError) -> &str {
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

    #[test]
    fn a_foreign_key_is_named() {
        let keys = ["bv:{s}".to_owned()];
        let error = at_keys(from_script("WRONGTYPE Operation against a key"), &keys);
        assert_eq!(error.detail("key"), Some(&"bv:{s}".into()));
        assert!(error.message().contains("bv:{s}"), "{error}");
        assert_eq!(at_keys(from_script("OOM full"), &keys).kind(), Kind::StorageFull);
    }
}
