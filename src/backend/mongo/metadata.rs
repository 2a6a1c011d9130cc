//! What a second layer in front of this backend writes down in a session's document: that an owner may have
//! acknowledged patches which stand in an outbox elsewhere.
//!
//! `outbox` is the token of the owner that uses one. While it stands, the document is not removed for being idle:
//! the whole session may be in the outbox. `inherited` says up to which version this database has what
//! earlier owners had put there.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};

use super::LAYER;
use super::documents::{SessionDoc, long};
use crate::backend::{Inherited, SessionMetadata, Token};
use crate::error::{Error, Kind};

/// What the document says of a session's owners and versions.
pub(super) fn metadata_of(session: &SessionDoc, now: DateTime) -> SessionMetadata {
    let exists = session.exists(now);
    let left = |at: DateTime| {
        let left = at.timestamp_millis() - now.timestamp_millis();
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    };
    SessionMetadata {
        token: session.token,
        version: if exists { session.version } else { 0 },
        commit_id: if exists { session.commit_id } else { 0 },
        updated_at: if exists { session.updated_at } else { 0 },
        expires_in: session.expires_at.filter(|_| exists).map(left),
        outbox: session.outbox,
        inherited: session.inherited,
    }
}

/// What a `$push` adds to remember whose outbox was emptied or given up.
pub(super) fn push_inherited((token, version): (Token, u64)) -> Document {
    let keep = -long(Inherited::MOST as u64);
    let owner = doc! { "token": long(token), "v": long(version) };
    doc! { "inherited": { "$each": [owner], "$slice": keep } }
}

/// Who does not own a session does not change it, and who cannot see its outbox does not open it, while its owner
/// may be ahead of MongoDB.
pub(super) fn beside_an_outbox() -> Error {
    let message = "the session's owner uses an outbox in Redis, which may hold commits that MongoDB does not have: \
                   only its owner may change it, and only useHybridAuthState may take it over";
    Error::new(Kind::SessionBusy, LAYER, message)
}

/// What whoever opens a session does about an outbox that its document names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outboxes {
    /// Nobody passes.
    Respected,
    /// Nobody passes but who is ready for the outbox of this owner.
    ReadyFor(Option<Token>),
    /// Passed, and written down as passed: what stands in it comes too late.
    GivenUp,
}

impl Outboxes {
    pub(super) fn pass(self, outbox: Token) -> bool {
        match self {
            Self::Respected => false,
            Self::ReadyFor(owner) => owner == Some(outbox),
            Self::GivenUp => true,
        }
    }
}
