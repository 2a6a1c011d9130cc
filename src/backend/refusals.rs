//! Refusals that more than one module gives, each said once. A detail has the same name in all of them.

use super::Token;
use crate::error::{Error, Kind};

/// Somebody else owns the session, with the token `current` where the storage says which.
pub(crate) fn fenced(layer: &'static str, current: Option<Token>) -> Error {
    let error = Error::new(Kind::Fenced, layer, "somebody else owns the session now");
    match current {
        Some(token) => error.with("currentToken", token),
        None => error,
    }
}

/// The caller's own fencing token is below one that was accepted before.
pub(crate) fn client_token_refused(layer: &'static str, client_token: Token, accepted: Token) -> Error {
    let text = "a higher fencing token of the caller's own was accepted before";
    Error::new(Kind::Fenced, layer, text)
        .with("fencingToken", client_token)
        .with("acceptedToken", accepted)
}

/// A commit that builds on version `expected` of a session that is at `actual`.
pub(crate) fn version_mismatch(layer: &'static str, expected: u64, actual: u64) -> Error {
    let text = format!("expected version {expected}, the session is at {actual}");
    let error = Error::new(Kind::VersionMismatch, layer, text);
    with_versions(error, expected, actual)
}

/// The storage is at version `actual` of a session that had reached `expected`, where the caller knows what it had
/// reached; at 0 if the storage has nothing of it.
pub(crate) fn session_lost(
    layer: &'static str,
    text: &'static str,
    expected: Option<u64>,
    actual: u64,
) -> Error {
    let error = Error::new(Kind::SessionLost, layer, text);
    match expected {
        Some(expected) => with_versions(error, expected, actual),
        None => error.with("actualVersion", actual),
    }
}

fn with_versions(error: Error, expected: u64, actual: u64) -> Error {
    error
        .with("expectedVersion", expected)
        .with("actualVersion", actual)
}

/// The store was closed before the call.
pub(crate) fn store_closed(layer: &'static str) -> Error {
    Error::new(Kind::Closed, layer, "the store is closed")
}

/// The session was closed before the call.
pub(crate) fn session_closed() -> Error {
    Error::new(Kind::Closed, "session", "the session is closed")
}
