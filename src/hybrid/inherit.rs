//! What an earlier owner left in its outbox.
//!
//! While a session's document names an owner's outbox, only that owner has committed to it: so what its outbox holds
//! up to MongoDB's version was applied, and the rest follows. What does not is kept as dead letters, and so is what
//! nobody announced.

use std::collections::BTreeMap;

use super::slot::{Slot, merge};
use super::state::Core;
use super::{LAYER, entry, fenced};
use crate::backend::mongo::Ledger;
use crate::backend::redis::{Installed, Left, Mark};
use crate::backend::{Commit, SessionId, Token};
use crate::error::{Error, Kind, Result};

impl Core {
    /// The ledger of a session that is ours.
    pub async fn ledger_of(&self, session: &SessionId, token: Token) -> Result<Ledger> {
        let ledger = self.truth(self.mongo.ledger(session)).await?;
        match ledger {
            Some(ledger) if ledger.token == token => Ok(ledger),
            other => Err(fenced(other.map(|ledger| ledger.token))),
        }
    }

    /// Brings what the last owner left in its outbox to MongoDB; whose it was, and what Redis then holds of it, under
    /// the new owner's token.
    pub async fn inherit(
        &self,
        session: &SessionId,
        ledger: &Ledger,
        reserved: bool,
        mark: &mut Mark,
    ) -> Result<(Token, Option<Mark>)> {
        let from = ledger.outbox.unwrap_or_default();
        let former = self.former(session, from);
        if let Some(former) = &former {
            // It may be acknowledging at this moment; from here on it does not.
            let _turn = former.turn.lock().await;
            former.lose(&fenced(Some(mark.token)));
        }
        let mut left = BTreeMap::new();
        let mut complete = former.is_some();
        let mut fenced_off = None;
        if reserved {
            let found = self.hot(self.redis.fence(session, mark.token)).await;
            match found.map_err(|error| outbox_out_of_reach(&error))? {
                Some(found) if found.token > mark.token => return Err(fenced(Some(found.token))),
                Some(found) => {
                    complete |= found.token >= from;
                    fenced_off = Some(Mark {
                        token: mark.token,
                        ..found
                    });
                }
                None => {}
            }
            let entries = self.entries(session, mark.token).await;
            left = entries.map_err(|error| outbox_out_of_reach(&error))?;
        } else if former.is_none() {
            let message = "the outbox of the session's last owner was not reserved; open again";
            return Err(Error::new(Kind::Unavailable, LAYER, message));
        }
        for commit in former.iter().flat_map(|former| former.pending()) {
            left.insert(commit.version(), commit);
        }
        if !complete && !self.config.accept_lost_outbox {
            return Err(outbox_gone(mark.version));
        }
        self.roll_forward(session, left, mark).await?;
        for pending in former.iter().flat_map(|former| former.abandon()) {
            self.counters.removed(pending.bytes);
            self.counters.completed(pending.since);
        }
        if let Some(former) = &former {
            self.drop_orphan(former);
        }
        Ok((from, fenced_off))
    }

    async fn entries(&self, session: &SessionId, token: Token) -> Result<BTreeMap<u64, Commit>> {
        let entries = self.hot(self.redis.entries(session)).await?;
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
        mark: &mut Mark,
    ) -> Result<()> {
        let passed = "another commit has its place in MongoDB";
        if left
            .get(&mark.version)
            .is_some_and(|commit| commit.id != mark.commit_id)
        {
            return self.move_to_letters(session, left.values(), passed).await;
        }
        left.retain(|version, _| *version > mark.version);
        while let Some(first) = left.values().next() {
            if first.base != mark.version {
                let reason = if mark.version == 0 {
                    "the session had ended before this was applied"
                } else if first.base < mark.version {
                    passed
                } else if self.config.accept_lost_outbox {
                    "what this builds on was lost"
                } else {
                    return Err(entries_missing(mark.version));
                };
                return self.move_to_letters(session, left.values(), reason).await;
            }
            let Some(batch) = merge(left.values(), mark.token) else {
                break;
            };
            let (version, commit_id) = (batch.version(), batch.id);
            self.counters.ran();
            self.truth(self.commit_to_mongo(batch))
                .await
                .map_err(|error| error.in_session(session))?;
            mark.version = version;
            mark.commit_id = commit_id;
            left.retain(|left, _| *left > version);
        }
        Ok(())
    }

    /// Begins this ownership in Redis, in place of what stands at `seen`. Entries that nobody announced are kept as
    /// dead letters before they are removed, unless they were `inherited`.
    pub async fn begin(
        &self,
        slot: &Slot,
        seen: Option<Mark>,
        inherited: Option<(Token, u64)>,
    ) -> Result<Installed> {
        let install = async |seen| {
            let installed = self.redis.install(
                &slot.session,
                seen,
                slot.mark(),
                &slot.owner,
                slot.attempt,
                slot.lease(),
            );
            self.hot(installed).await
        };
        match install(seen).await? {
            Installed::Entries => {}
            done => return Ok(done),
        }
        // Nobody adds any from here on.
        let found = self.hot(self.redis.fence(&slot.session, slot.token)).await?;
        let Some(found) = found.filter(|found| found.token <= slot.token) else {
            return Ok(Installed::No(found));
        };
        let mut entries = self.entries(&slot.session, found.token).await?;
        let applied = inherited.map_or(0, |(_, version)| version);
        entries.retain(|version, _| *version > applied);
        let reason = "the session's document says nothing of this outbox";
        self.move_to_letters(&slot.session, entries.values(), reason)
            .await?;
        install(Some(Mark {
            token: slot.token,
            ..found
        }))
        .await
    }
}

/// Why the outbox that a reservation found cannot be taken over: it is not all there.
pub(super) fn is_lost(left: &Left, owner: Token, ledger: &Ledger) -> Option<Error> {
    if left.mark.is_none_or(|mark| mark.token < owner) {
        return Some(outbox_gone(ledger.version));
    }
    let first = left.first.as_ref()?;
    let follows = entry::base_of(first).is_none_or(|base| base <= ledger.version);
    (!follows && ledger.version > 0).then(|| entries_missing(ledger.version))
}

pub(super) fn outbox_out_of_reach(error: &Error) -> Error {
    let message = "Redis cannot be reached, and may hold commits that MongoDB does not have";
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
    Error::new(Kind::SessionLost, LAYER, message)
        .with("version", version)
        .with("option", "acceptLostOutbox")
}
