//! What a storage writes down of an outbox in front of it, and what becomes of patches that stood there in vain.

use std::time::Duration;

use bytes::Bytes;

use super::{Grant, Holder, SessionId, Token};

/// What is written down of a session's owners and versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionMetadata {
    /// The token of the last owner.
    pub token: Token,
    /// The version; 0 for a session that does not exist.
    pub version: u64,
    /// The id of the last commit.
    pub commit_id: u64,
    /// When that was, in ms since the Unix epoch; 0 for a session that does not exist.
    pub updated_at: u64,
    /// How long the session still lives; `None` for one that does not exist or lives for ever.
    pub expires_in: Option<Duration>,
    /// The owner that may have acknowledged patches in an outbox.
    pub outbox: Option<Token>,
    /// The owner whose outbox was emptied by the next one, and the version that this led to.
    pub inherited: Option<(Token, u64)>,
}

/// How a session was asked for whose last owner may have used an outbox.
#[derive(Debug)]
pub enum AcquireOutcome {
    /// The lease is held now; what was written down at that moment.
    Granted(Grant, SessionMetadata),
    /// A live owner holds it.
    Held(Holder),
    /// Free, but the owner that this names as using an outbox may have left something there. Nothing was changed.
    Outbox(SessionMetadata),
}

/// How an owner announced its outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxOpened {
    /// From here on nobody but the owner changes the session.
    Yes,
    /// Somebody else changed it before: it is not where the owner believes.
    Moved,
    /// Somebody else owns the session.
    Fenced,
}

/// A patch that was acknowledged and can never be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
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
