//! The driver's errors as ours, mapped once.

use mongodb::error::{ErrorKind, WriteFailure};

use super::LAYER;
use crate::backend::{store_closed, tls};
use crate::error::{Error, Kind};

/// A document with this `_id` exists.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// A driver error. Only its own text is kept: the server's response may name records.
pub(super) fn from_driver(error: &mongodb::error::Error) -> Error {
    if let ErrorKind::Io(_) | ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. } =
        error.kind.as_ref()
        && let Some(refusal) = tls::refusal(LAYER, &error.kind.to_string())
    {
        return refusal.because(&error.kind);
    }
    match error.kind.as_ref() {
        ErrorKind::Command(command) => from_code(command.code, &command.message),
        ErrorKind::Write(WriteFailure::WriteError(write)) => from_code(write.code, &write.message),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            unacknowledged(concern.code, &concern.message)
        }
        ErrorKind::Authentication { message, .. } => {
            Error::new(Kind::Config, LAYER, CREDENTIALS).because(message)
        }
        ErrorKind::InvalidArgument { message, .. } | ErrorKind::InvalidTlsConfig { message, .. } => {
            Error::new(Kind::Config, LAYER, "the driver does not take these options").because(message)
        }
        ErrorKind::IncompatibleServer { message, .. } => {
            Error::new(Kind::Config, LAYER, "the server is too old or of another kind").because(message)
        }
        ErrorKind::Io(cause) if cause.kind() == std::io::ErrorKind::TimedOut => {
            Error::new(Kind::Timeout, LAYER, "the connection timed out").because(cause)
        }
        ErrorKind::Io(cause) => {
            let error = Error::new(Kind::Unavailable, LAYER, "the connection failed").because(cause);
            if ended(cause.kind()) {
                error.of_ended_connection()
            } else {
                error
            }
        }
        ErrorKind::ConnectionPoolCleared { message, .. } => {
            Error::new(Kind::Unavailable, LAYER, "another command's connection failed")
                .because(message)
                .of_ended_connection()
        }
        ErrorKind::DnsResolve { message, .. } | ErrorKind::ServerSelection { message, .. } => {
            Error::new(Kind::Unavailable, LAYER, "no server can be reached").because(message)
        }
        ErrorKind::InvalidResponse { message, .. } => {
            Error::new(Kind::Unavailable, LAYER, "the server's answer was not understood").because(message)
        }
        ErrorKind::Shutdown => store_closed(LAYER),
        ErrorKind::Bson(cause) => {
            Error::new(Kind::Corrupt, LAYER, "a document could not be read or written").because(cause)
        }
        // What is left belongs to driver features that are not used here.
        other => Error::new(Kind::Internal, LAYER, "the driver failed").because(other),
    }
}

/// Whether a document with this `_id` exists.
pub(super) fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == DUPLICATE_KEY)
}

/// An error code of the server, with its text. `docs/guides/mongodb.md` has the table.
pub(super) fn from_code(code: i32, text: &str) -> Error {
    let (kind, message) = meaning(code, text);
    Error::new(kind, LAYER, message)
        .because(&text)
        .with("mongoCode", code)
}

const CREDENTIALS: &str = "the server refused these credentials: check user, password, authSource and the user's role \
                           (readWrite on the database)";
const PASSING: &str = "the server could not carry out the command";

fn meaning(code: i32, text: &str) -> (Kind, &'static str) {
    match code {
        11 | 13 | 18 | 31 => (Kind::Config, CREDENTIALS),
        8000 => of_atlas(text),
        115 | 166 => (
            Kind::Config,
            "the server does not allow a needed command here: the collection is a view, or the server is of another kind",
        ),
        121 => (
            Kind::Config,
            "a validator on the collection refuses the documents: remove it, or use other collections",
        ),
        59 | 238 | 303 | 322 | 323 => (
            Kind::Config,
            "the server does not know a needed command or option",
        ),
        61 => (
            Kind::Config,
            "the collection is sharded by another key than `_id`",
        ),
        10003 => (
            Kind::Config,
            "the collection is capped, so documents cannot change their size",
        ),
        20 | 26 | 67 | 72 | 73 | 76 | 85 | 86 => {
            (Kind::Config, "the server refuses this database, index or command")
        }
        24 | 50 | 64 | 202 | 262 => (Kind::Timeout, "the server ran out of time"),
        12501 | 14031 => (Kind::StorageFull, "the server's disk, or its quota, is full"),
        10334 | 17280 | 17419 | 17420 => (Kind::InvalidValue, "too large for one document"),
        2 | 9 | 14 | 40 | 52..=57 | 168 | DUPLICATE_KEY => {
            (Kind::Internal, "the server did not take a command")
        }
        16500 => (
            Kind::Unavailable,
            "the server is given more than it is paid for (request rate too large)",
        ),
        10107 | 13435 | 13436 | 189 => (Kind::Unavailable, "the server is not the primary any more"),
        91 | 11600 | 11602 => (
            Kind::Unavailable,
            "the server is shutting down or was interrupted",
        ),
        // Network between members, interrupted, and whatever else may pass by itself.
        _ => (Kind::Unavailable, PASSING),
    }
}

/// Atlas has one code for everything that its proxy refuses.
fn of_atlas(text: &str) -> (Kind, &'static str) {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["space quota", "storage quota", "over your quota"]) {
        (Kind::StorageFull, "the cluster's space quota is used up")
    } else if says(&[
        "not allowed to do action",
        "not authorized",
        "bad auth",
        "authentication failed",
        "no such user",
    ]) {
        (Kind::Config, CREDENTIALS)
    } else if says(&["cmd_not_allowed", "not allowed in this atlas tier", "unsupported"]) {
        (
            Kind::Config,
            "this kind of cluster does not allow a needed command",
        )
    } else {
        (Kind::Unavailable, PASSING)
    }
}

/// The write was done on the primary, but not acknowledged by as many members as asked for.
pub(super) fn unacknowledged(code: i32, text: &str) -> Error {
    let kind = if matches!(code, 50 | 64 | 262) {
        Kind::Timeout
    } else {
        Kind::Unavailable
    };
    Error::new(kind, LAYER, "the write was not acknowledged by enough members")
        .because(&text)
        .with("mongoCode", code)
}

pub(super) fn timed_out() -> Error {
    Error::new(Kind::Timeout, LAYER, "no answer within operationTimeout")
}

/// Names the server where an error is of the server and not of the data.
pub(super) fn about(error: Error, hosts: &str) -> Error {
    match error.kind() {
        Kind::Config | Kind::Unavailable | Kind::Timeout | Kind::StorageFull => error.at_server(hosts),
        _ => error,
    }
}

pub(super) fn corrupt(what: &'static str) -> Error {
    Error::new(Kind::Corrupt, LAYER, what)
}

/// How a connection looks that worked before; one that cannot be made fails in other ways.
fn ended(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const TABLE: [(i32, &str, Kind, bool); 45] = [
        (11, "User not found", Kind::Config, false),
        (13, "not authorized on db to execute command", Kind::Config, false),
        (18, "Authentication failed.", Kind::Config, false),
        (20, "Transaction numbers are only allowed on a replica set", Kind::Config, false),
        (26, "ns not found", Kind::Config, false),
        (59, "no such command", Kind::Config, false),
        (61, "shard key not found", Kind::Config, false),
        (67, "cannot create index", Kind::Config, false),
        (72, "invalid options", Kind::Config, false),
        (73, "invalid namespace", Kind::Config, false),
        (85, "an equivalent index already exists with other options", Kind::Config, false),
        (86, "an existing index has the same name", Kind::Config, false),
        (115, "command not supported", Kind::Config, false),
        (121, "Document failed validation", Kind::Config, false),
        (166, "Command not supported on view", Kind::Config, false),
        (238, "not implemented", Kind::Config, false),
        (303, "feature not supported", Kind::Config, false),
        (323, "API version 1 does not allow this", Kind::Config, false),
        (10003, "Cannot change the size of a document in a capped collection", Kind::Config, false),
        (8000, "user is not allowed to do action [insert] on [db.vault_records]", Kind::Config, false),
        (8000, "bad auth : authentication failed", Kind::Config, false),
        (8000, "CMD_NOT_ALLOWED: createIndexes", Kind::Config, false),
        (8000, "you are over your space quota, using 513 MB of 512 MB", Kind::StorageFull, true),
        (8000, "connection limit reached", Kind::Unavailable, true),
        (12501, "quota exceeded", Kind::StorageFull, true),
        (14031, "available disk space is less than required", Kind::StorageFull, true),
        (10334, "BSONObj size is invalid", Kind::InvalidValue, false),
        (17419, "Resulting document after update is larger", Kind::InvalidValue, false),
        (24, "lock timeout", Kind::Timeout, true),
        (50, "operation exceeded time limit", Kind::Timeout, true),
        (64, "waiting for replication timed out", Kind::Timeout, true),
        (202, "network interface exceeded time limit", Kind::Timeout, true),
        (262, "exceeded time limit", Kind::Timeout, true),
        (9, "failed to parse", Kind::Internal, false),
        (DUPLICATE_KEY, "E11000", Kind::Internal, false),
        (6, "host unreachable", Kind::Unavailable, true),
        (7, "host not found", Kind::Unavailable, true),
        (89, "network timeout", Kind::Unavailable, true),
        (91, "shutdown in progress", Kind::Unavailable, true),
        (112, "write conflict", Kind::Unavailable, true),
        (189, "primary stepped down", Kind::Unavailable, true),
        (10107, "not primary", Kind::Unavailable, true),
        (11600, "interrupted at shutdown", Kind::Unavailable, true),
        (16500, "request rate is large", Kind::Unavailable, true),
        (424_242, "something new", Kind::Unavailable, true),
    ];

    #[test]
    fn every_answer_of_a_server_has_its_meaning() {
        for (code, text, kind, retryable) in TABLE {
            let error = from_code(code, text);
            assert_eq!(
                (error.kind(), error.retryable()),
                (kind, retryable),
                "code {code}: {text}"
            );
            assert_eq!(error.cause(), Some(text));
            assert_eq!(error.detail("mongoCode"), Some(&code.into()));
        }
        assert_eq!(unacknowledged(64, "waiting").kind(), Kind::Timeout);
        assert_eq!(unacknowledged(100, "too few members").kind(), Kind::Unavailable);
    }

    #[test]
    fn a_connection_that_ended_is_told_from_one_that_cannot_be_made() {
        use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, UnexpectedEof};
        let of = |kind: std::io::ErrorKind| from_driver(&std::io::Error::from(kind).into());
        assert!(of(ConnectionReset).is_of_ended_connection());
        assert!(of(UnexpectedEof).is_of_ended_connection());
        assert!(!of(ConnectionRefused).is_of_ended_connection());
    }
}
