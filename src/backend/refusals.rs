//! Refusals that every backend gives, said once.

use crate::error::{Error, Kind};

/// A commit that builds on version `expected` of a session that is at `actual`.
pub(crate) fn version_mismatch(layer: &'static str, expected: u64, actual: u64) -> Error {
    let text = format!("expected version {expected}, the session is at {actual}");
    Error::new(Kind::VersionMismatch, layer, text)
        .with("expectedVersion", expected)
        .with("actualVersion", actual)
}
