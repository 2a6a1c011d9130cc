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
    /// Whose outboxes were emptied or given up.
    pub inherited: Inherited,
}

/// The last owners whose outboxes were emptied or given up, and the version up to which the storage has what each of
/// them acknowledged. So an owner that comes back after several others knows what became of its patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inherited {
    /// The oldest first; a token of 0 stands for nobody.
    owners: [(Token, u64); Self::MOST],
}

impl Inherited {
    /// Owners that are remembered.
    pub const MOST: usize = 8;

    /// Adds an owner, the last one.
    #[must_use]
    pub fn and(mut self, owner: (Token, u64)) -> Self {
        self.owners.rotate_left(1);
        self.owners[Self::MOST - 1] = owner;
        self
    }

    /// Up to which version the storage has what this owner acknowledged; `None` if that is not known.
    pub fn version_of(&self, owner: Token) -> Option<u64> {
        let known = self.owners.iter().rev().find(|(token, _)| *token == owner);
        known.map(|(_, version)| *version)
    }

    /// The last owner and its version.
    pub fn last(&self) -> Option<(Token, u64)> {
        self.owners.last().copied().filter(|(token, _)| *token != 0)
    }
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
