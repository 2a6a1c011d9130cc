//! Patches that were acknowledged and can never be applied.

use bytes::Bytes;

use super::{SessionId, Token};

/// A patch that can never be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose it was.
    pub session: SessionId,
    /// The owner that acknowledged it.
    pub token: Token,
    /// The version after it.
    pub version: u64,
    /// Why it cannot be applied.
    pub reason: String,
    /// When that was found, in ms since the Unix epoch.
    pub at: u64,
    /// The entry as it stood in the outbox: the records are sealed.
    pub entry: Bytes,
}
