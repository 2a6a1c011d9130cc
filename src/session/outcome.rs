//! Committing what waits in a session, and what becomes of it.

use std::time::Duration;

use super::actor::Session;
use super::clock;
use super::queue::{Batch, Next, Pending, State};
use crate::backend::{Commit, Fence, Head};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch};

/// How often a commit is tried anew after the storage turned out to stand elsewhere.
const MAX_RESYNCS: u32 = 3;

/// What the committer has to do next for a session.
pub enum Step {
    /// Ask the storage where the session stands, then tell [`Session::settled`].
    Settle,
    /// Commit, then tell [`Session::finish`].
    Commit(Box<Batch>, Commit),
    /// Nothing is waiting.
    Idle,
}

impl Session {
    /// What is to be done next.
    pub(super) fn step(&self) -> Step {
        loop {
            let mut failed = Vec::new();
            let next = self
                .state
                .lock()
                .next(self.fence, self.place.patience, &mut failed);
            if !failed.is_empty() || matches!(next, Next::Idle) {
                self.progress.notify_waiters();
            }
            for (reply, error) in failed {
                reply.give(Err(error.in_session(&self.id)));
            }
            match next {
                Next::Idle => return Step::Idle,
                Next::Settle => return Step::Settle,
                Next::Batch(mut batch, ttl) => {
                    batch.merge();
                    match self.commit_of(&batch, ttl) {
                        Ok(commit) => return Step::Commit(batch, commit),
                        Err(error) => self.finish(*batch, Err(error)),
                    }
                }
            }
        }
    }

    fn commit_of(&self, batch: &Batch, ttl: Option<Duration>) -> Result<Commit> {
        let merged = batch.merged.changes();
        let mut draw = self
            .sealer
            .draw(merged.iter().filter(|change| change.value.is_some()).count())?;
        let changes = merged
            .iter()
            .map(|Change { key, value }| {
                let value = value
                    .as_ref()
                    .map(|plain| self.sealer.seal_with(&mut draw, key, plain))
                    .transpose()?;
                Ok(Change {
                    key: key.clone(),
                    value,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Commit {
            session: self.id.clone(),
            fence: self.fence,
            base: batch.base,
            patches: u32::try_from(batch.pending.len()).unwrap_or(u32::MAX),
            expected: self.fence == Fence::Shared
                && batch.pending.iter().any(|pending| pending.expected.is_some()),
            id: draw.number()?,
            changes,
            ttl,
            note: batch.merged.note().cloned(),
        })
    }

    /// Takes in the outcome of a batch and answers its callers.
    pub(super) fn finish(&self, batch: Batch, outcome: Result<Head>) {
        let mut state = self.state.lock();
        state.batches_ended += 1;
        let outcome = match outcome {
            Err(error) if self.resync(&mut state, &error) => {
                state.put_back(batch);
                return;
            }
            outcome => outcome.map_err(|error| error.in_session(&self.id)),
        };
        state.settled_seq = batch.last_seq;
        for key in batch.merged.changes().iter().map(|change| &change.key) {
            if state
                .overlay
                .get(key)
                .is_some_and(|queued| queued.seq <= batch.last_seq)
            {
                state.overlay.remove(key);
            }
        }
        let mut refused = Vec::new();
        let first = state.refusal.is_none();
        match &outcome {
            Ok(head) => self.applied(&mut state, &batch.merged, *head),
            Err(error) => {
                if is_final(error.kind()) {
                    refused = state.refuse(error.clone());
                } else if is_doubtful(error.kind()) && matches!(self.fence, Fence::Owner(_)) {
                    let doubt = state.doubt.get_or_insert_default();
                    doubt.settled = false;
                    for change in batch.merged.changes() {
                        self.shelf.remove(&change.key);
                        doubt.keys.insert(change.key.clone());
                    }
                    state.note_doubt();
                }
            }
        }
        drop(state);
        self.progress.notify_waiters();
        answer(batch.pending, &outcome);
        for reply in refused {
            reply.give(outcome.clone());
        }
        if let Err(error) = &outcome
            && first
            && is_final(error.kind())
        {
            (self.place.on_lost)(self, error);
        }
    }

    fn applied(&self, state: &mut State, merged: &Patch, head: Head) {
        state.head = head;
        state.doubt = None;
        state.resyncs = 0;
        state.refreshed = Some(clock::now());
        for Change { key, value } in merged.changes() {
            if matches!(self.fence, Fence::Owner(_)) {
                self.shelf.put(key, value.clone());
            }
            for journal in &mut state.journals {
                journal.changed.insert(key.clone(), value.clone());
            }
        }
    }

    /// An owner's commit can only find another version when an earlier one, in doubt, was applied after all.
    fn resync(&self, state: &mut State, error: &Error) -> bool {
        let again = error.kind() == Kind::VersionMismatch
            && matches!(self.fence, Fence::Owner(_))
            && state.resyncs < MAX_RESYNCS;
        if again {
            state.resyncs += 1;
            state.doubt.get_or_insert_default().settled = false;
        }
        again
    }

    /// Fails, and ends the session, if the storage says that it stands at `head` although it had reached `version`,
    /// unless it has ended here.
    pub(super) fn ensure_at_least(&self, version: u64, head: Head) -> Result<()> {
        if head.version >= version || self.refusal().is_some() {
            return Ok(());
        }
        Err(self.hear(older(version, head)))
    }

    /// Takes in where the storage says the session stands.
    pub(super) fn settled(&self, outcome: Result<Head>) {
        let mut state = self.state.lock();
        let first = state.refusal.is_none();
        let refused = match outcome {
            Ok(head) if head.version < state.head.version => {
                let lost = older(state.head.version, head).in_session(&self.id);
                (state.refuse(lost.clone()), lost)
            }
            Ok(head) => {
                if head.version != state.head.version {
                    // Records of the doubtful commit were dropped when it failed; others may have changed with it.
                    self.shelf.clear();
                    state.head = head;
                }
                state.doubt.get_or_insert_default().settled = true;
                return;
            }
            Err(error) => {
                let error = error.in_session(&self.id);
                let waiting = if is_final(error.kind()) {
                    state.refuse(error.clone())
                } else {
                    state.drop_all()
                };
                (waiting, error)
            }
        };
        drop(state);
        self.progress.notify_waiters();
        let (replies, error) = refused;
        for reply in replies {
            reply.give(Err(error.clone()));
        }
        if first && is_final(error.kind()) {
            (self.place.on_lost)(self, &error);
        }
    }
}

fn older(version: u64, found: Head) -> Error {
    let text = "the storage holds an older version of the session";
    let error = Error::new(Kind::SessionLost, "session", text);
    error.with("version", version).with("found", found.version)
}

fn answer(pending: Vec<Pending>, outcome: &Result<Head>) {
    let last = pending.len() as u64;
    for (index, pending) in (1..).zip(pending) {
        let outcome = outcome.as_ref().map_err(Clone::clone).map(|head| Head {
            version: head.version - (last - index),
            updated_at: head.updated_at,
        });
        pending.reply.give(outcome);
    }
}

fn is_final(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Fenced | Kind::SessionLost | Kind::Deleted | Kind::Closed
    )
}

fn is_doubtful(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Timeout | Kind::Unavailable | Kind::Internal | Kind::Corrupt
    )
}

/// The error of a patch that expected another version.
pub(super) fn version_mismatch(expected: u64, found: u64) -> Error {
    Error::new(
        Kind::VersionMismatch,
        "session",
        format!("expected version {expected}, the session stands at {found}"),
    )
    .with("expectedVersion", expected)
    .with("actualVersion", found)
}
