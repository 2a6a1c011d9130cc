//! What a second layer in front of this backend writes down in a session's row: that an owner may have acknowledged
//! patches which stand in an outbox elsewhere.
//!
//! `outbox` is the token of the owner that uses one. While it stands, the row is not removed for being idle: the whole
//! session may be in the outbox. `inherited` says up to which version this database has what earlier owners had put
//! there.

use std::time::Duration;

use super::LAYER;
use super::errors::corrupt;
use super::ids::unsigned;
use super::statements::INHERITED;
use crate::backend::{Inherited, SessionMetadata, Token};
use crate::error::{Error, Kind, Result};

const _: () = assert!(INHERITED == Inherited::MOST);

/// What whoever opens a session does about an outbox that its row names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outboxes {
    /// Nobody passes.
    Respected,
    /// Nobody passes but who is ready for the outbox of this owner.
    ReadyFor(Option<Token>),
    /// Passed, and written down as passed: what stands in it comes too late.
    GivenUp,
}

/// Who does not own a session does not change it, and who cannot see its outbox does not open it, while its owner
/// may be ahead of PostgreSQL.
pub(super) fn beside_an_outbox() -> Error {
    let message = "the session's owner uses an outbox in Redis, which may hold commits that PostgreSQL does not have: \
                   only its owner may change it, and only useHybridAuthState may take it over";
    Error::new(Kind::SessionBusy, LAYER, message)
}

/// Of pairs of a token and a version.
pub(super) fn inherited_of(pairs: &[i64]) -> Result<Inherited> {
    let mut inherited = Inherited::default();
    for pair in pairs.chunks(2) {
        let [token, version] = pair else {
            return Err(corrupt("an inherited owner without version"));
        };
        inherited = inherited.and((unsigned(*token), unsigned(*version)));
    }
    Ok(inherited)
}

/// What a session's row says of its owners and versions.
pub(super) fn metadata(
    token: u64,
    version: i64,
    (commit_id, updated_at): (i64, i64),
    expires_at: Option<i64>,
    (outbox, inherited): (Option<i64>, &[i64]),
    now: i64,
) -> Result<SessionMetadata> {
    let exists = version > 0;
    let left = |at: i64| Duration::from_millis(unsigned(at - now));
    Ok(SessionMetadata {
        token,
        version: unsigned(version),
        commit_id: if exists { commit_id.cast_unsigned() } else { 0 },
        updated_at: if exists { unsigned(updated_at) } else { 0 },
        expires_in: expires_at.filter(|_| exists).map(left),
        outbox: outbox.map(unsigned),
        inherited: inherited_of(inherited)?,
    })
}
