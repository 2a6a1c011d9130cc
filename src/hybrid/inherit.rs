//! What an earlier owner left in its outbox.
//!
//! While a session's document names an owner's outbox, only that owner has committed to it: so what its outbox holds
//! up to MongoDB's version was applied, and the rest follows. What does not is kept as dead letters, and so is what
//! nobody announced.

use std::collections::BTreeMap;

use super::cache::{Installed, OutboxFound, Revision};
use super::merge::merge;
use super::slot::Slot;
use super::state::Core;
use super::{LAYER, entry, fenced};
use crate::backend::{Commit, Inherited, SessionId, SessionMetadata, Token, session_lost};
use crate::error::{Error, Kind, Result};

impl Core {
    /// The metadata of a session that is ours.
    pub async fn metadata_of(&self, session: &SessionId, token: Token) -> Result<SessionMetadata> {
        let metadata = self.primary.call(|primary| primary.metadata(session)).await?;
        match metadata {
            Some(metadata) if metadata.token == token => Ok(metadata),
            other => Err(fenced(other.map(|metadata| metadata.token))),
        }
    }

    /// Brings what the last owner left in its outbox to MongoDB; whose it was, and what Redis then holds of it, under
    /// the new owner's token.
    pub async fn inherit(
        &self,
        session: &SessionId,
        metadata: &SessionMetadata,
        reserved: bool,
        revision: &mut Revision,
    ) -> Result<(Token, Option<Revision>)> {
        let from = metadata.outbox.unwrap_or_default();
        let former = self.sessions.former(session, from);
        if let Some(former) = &former {
            // It may be acknowledging at this moment; from here on it does not.
            let _turn = former.turn.lock().await;
            former.lose(&fenced(Some(revision.token)));
        }
        let mut left = BTreeMap::new();
        let mut complete = former.is_some();
        let mut fenced_off = None;
        if reserved {
            let found = self.cache.call(|cache| cache.fence(session, revision.token));
            match found.await.map_err(|error| outbox_out_of_reach(&error))? {
                Some(found) if found.token > revision.token => return Err(fenced(Some(found.token))),
                Some(found) => {
                    complete |= found.token >= from;
                    fenced_off = Some(Revision {
                        token: revision.token,
                        ..found
                    });
                }
                None => {}
            }
            let entries = self.entries(session, revision.token).await;
            left = entries.map_err(|error| outbox_out_of_reach(&error))?;
            // Redis may have been emptied before all was read.
            let still = self.cache.call(|cache| cache.revision(session)).await;
            if still.map_err(|error| outbox_out_of_reach(&error))? != fenced_off {
                complete = former.is_some();
            }
        } else if former.is_none() {
            let message = "the outbox of the session's last owner was not reserved; open again";
            return Err(Error::new(Kind::Unavailable, LAYER, message));
        }
        for commit in former.iter().flat_map(|former| former.pending()) {
            left.insert(commit.version(), commit);
        }
        if !complete && !self.config.accept_lost_outbox {
            return Err(outbox_gone(revision.version));
        }
        self.roll_forward(session, left, revision).await?;
        for pending in former.iter().flat_map(|former| former.abandon()) {
            self.counters.removed(pending.bytes);
            self.counters.completed(pending.since);
        }
        if let Some(former) = &former {
            self.sessions.remove_orphan(former);
        }
        Ok((from, fenced_off))
    }

    async fn entries(&self, session: &SessionId, token: Token) -> Result<BTreeMap<u64, Commit>> {
        let entries = self.cache.call(|cache| cache.entries(session)).await?;
        let entries = entries.into_iter();
        entries
            .map(|(version, entry)| Ok((version, entry::decode(session, token, entry)?)))
            .collect()
    }

    /// Commits to MongoDB what it does not have yet.
    async fn roll_forward(
        &self,
        session: &SessionId,
        mut left: BTreeMap<u64, Commit>,
        revision: &mut Revision,
    ) -> Result<()> {
        let passed = "another commit has its place in the primary";
        if left
            .get(&revision.version)
            .is_some_and(|commit| commit.id != revision.commit_id)
        {
            return self
                .dead_letters
                .add_for_sure(session, left.values(), passed)
                .await;
        }
        left.retain(|version, _| *version > revision.version);
        while let Some(first) = left.values().next() {
            if first.base != revision.version {
                let reason = if revision.version == 0 {
                    "the session had ended before this was applied"
                } else if first.base < revision.version {
                    passed
                } else if self.config.accept_lost_outbox {
                    "what this builds on was lost"
                } else {
                    return Err(entries_missing(revision.version));
                };
                return self
                    .dead_letters
                    .add_for_sure(session, left.values(), reason)
                    .await;
            }
            let Some(batch) = merge(left.values(), revision.token) else {
                break;
            };
            let (version, commit_id) = (batch.version(), batch.id);
            self.counters.ran();
            self.primary
                .commit(batch)
                .await
                .map_err(|error| error.in_session(session))?;
            revision.version = version;
            revision.commit_id = commit_id;
            left.retain(|left, _| *left > version);
        }
        Ok(())
    }

    /// Begins this ownership in Redis, in place of what is at `seen`. Entries that nobody announced are kept as
    /// dead letters before they are removed, unless they were `inherited`.
    pub async fn begin(
        &self,
        slot: &Slot,
        seen: Option<Revision>,
        inherited: Inherited,
    ) -> Result<Installed> {
        let (session, lease) = (&slot.session, slot.lease());
        let install = |seen| {
            let revision = slot.revision();
            self.cache.call(move |cache| {
                cache.install(session, seen, revision, &slot.owner, slot.request_id, lease)
            })
        };
        match install(seen).await? {
            Installed::Entries => {}
            done => return Ok(done),
        }
        // Nobody adds any from here on.
        let found = self.cache.call(|cache| cache.fence(session, slot.token)).await?;
        let Some(found) = found.filter(|found| found.token <= slot.token) else {
            return Ok(Installed::No(found));
        };
        let mut entries = self.entries(&slot.session, found.token).await?;
        let known = inherited.version_of(found.token);
        let applied = known.or_else(|| Some(inherited.last()?.1)).unwrap_or(0);
        entries.retain(|version, _| *version > applied);
        let reason = "the session's document says nothing of this outbox";
        self.dead_letters
            .add_for_sure(&slot.session, entries.values(), reason)
            .await?;
        install(Some(Revision {
            token: slot.token,
            ..found
        }))
        .await
    }
}

/// Why the outbox that a reservation found cannot be taken over: it is not all there.
pub(super) fn is_lost(left: &OutboxFound, owner: Token, metadata: &SessionMetadata) -> Option<Error> {
    if left.revision.is_none_or(|revision| revision.token < owner) {
        return Some(outbox_gone(metadata.version));
    }
    let first = left.first.as_ref()?;
    let follows = entry::base_of(first).is_none_or(|base| base <= metadata.version);
    (!follows && metadata.version > 0).then(|| entries_missing(metadata.version))
}

pub(super) fn outbox_out_of_reach(error: &Error) -> Error {
    let message = "Redis cannot be reached, and may hold commits that the primary does not have";
    Error::new(Kind::Unavailable, LAYER, message).because(error)
}

fn outbox_gone(version: u64) -> Error {
    lost(
        "Redis no longer has the outbox of the session's last owner",
        version,
    )
}

fn entries_missing(version: u64) -> Error {
    lost(
        "commits are missing in the outbox of the session's last owner",
        version,
    )
}

fn lost(message: &'static str, version: u64) -> Error {
    session_lost(LAYER, message, None, version).with("option", "acceptLostOutbox")
}
