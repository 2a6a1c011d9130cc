//! The driver's errors as ours, mapped once.

use mongodb::error::{ErrorKind, WriteFailure};

use super::LAYER;
use crate::backend::tls;
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
        ErrorKind::Authentication { message, .. } => refused(message),
        ErrorKind::InvalidArgument { message, .. } | ErrorKind::InvalidTlsConfig { message, .. } => {
            Error::new(Kind::Config, LAYER, "the driver does not take these options").because(message)
        }
        ErrorKind::IncompatibleServer { message, .. } => {
            Error::new(Kind::Config, LAYER, "the server is too old or of another kind").because(message)
        }
        ErrorKind::Io(cause) if cause.kind() == std::io::ErrorKind::TimedOut => {
            Error::new(Kind::Timeout, LAYER, "the connection timed out").because(cause)
        }
        ErrorKind::Io(cause) => Error::new(Kind::Unavailable, LAYER, "the connection failed").because(cause),
        ErrorKind::DnsResolve { message, .. }
        | ErrorKind::ConnectionPoolCleared { message, .. }
        | ErrorKind::ServerSelection { message, .. } => {
            Error::new(Kind::Unavailable, LAYER, "no server can be reached").because(message)
        }
        ErrorKind::InvalidResponse { message, .. } => {
            Error::new(Kind::Unavailable, LAYER, "the server's answer was not understood").because(message)
        }
        ErrorKind::Shutdown => Error::new(Kind::Closed, LAYER, "the client is closed"),
        ErrorKind::Bson(cause) => {
            Error::new(Kind::Corrupt, LAYER, "a document could not be read or written").because(cause)
        }
        // What is left belongs to driver features that are not used here.
        other => Error::new(Kind::Internal, LAYER, "the driver failed").because(other),
    }
}

/// An error code of the server, with its text.
pub(super) fn from_code(code: i32, text: &str) -> Error {
    let error = |kind, message: &'static str| Error::new(kind, LAYER, message).because(&text);
    let error = match code {
        13 | 18 => refused(text),
        26 | 73 | 76 | 85 | 86 | 303 => {
            error(Kind::Config, "the server refuses this database, index or command")
        }
        50 | 64 | 202 | 262 => error(Kind::Timeout, "the server ran out of time"),
        14031 => error(Kind::StorageFull, "the server's disk is full"),
        10334 | 17280 | 17419 | 17420 => error(Kind::InvalidValue, "too large for one document"),
        2 | 9 | 14 | 40 | 52..=57 | DUPLICATE_KEY => {
            error(Kind::Internal, "the server did not take a command")
        }
        // No primary, shutting down, network between members, interrupted, and whatever else may pass by itself.
        _ => error(Kind::Unavailable, "the server could not carry out the command"),
    };
    error.with("mongoCode", code)
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

fn refused(text: &str) -> Error {
    Error::new(
        Kind::Config,
        LAYER,
        "the server refused these credentials: check user, password, authSource and the user's role (readWrite on \
         the database)",
    )
    .because(&text)
}

pub(super) fn timed_out() -> Error {
    Error::new(Kind::Timeout, LAYER, "no answer within operationTimeout")
}

pub(super) fn corrupt(what: &'static str) -> Error {
    Error::new(Kind::Corrupt, LAYER, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_kinds() {
        let expected = [
            (18, Kind::Config),
            (13, Kind::Config),
            (14031, Kind::StorageFull),
            (10334, Kind::InvalidValue),
            (50, Kind::Timeout),
            (10107, Kind::Unavailable),
            (91, Kind::Unavailable),
            (424_242, Kind::Unavailable),
        ];
        for (code, kind) in expected {
            assert_eq!(from_code(code, "text").kind(), kind, "code {code}");
        }
        assert_eq!(unacknowledged(64, "waiting").kind(), Kind::Timeout);
        assert_eq!(unacknowledged(100, "too few members").kind(), Kind::Unavailable);
    }
}
