//! Committing what waits in a session, and what becomes of it.

use std::time::Duration;

use super::queue::Batch;
use super::session::Session;
use super::state::{Effect, Ended, Next, is_terminal};
use crate::backend::{Commit, Fence, Head, session_lost};
use crate::error::{Error, Result};
use crate::record::Change;

/// What the committer has to do next for a session.
pub enum Step {
    /// Ask the storage for the session's version, then tell [`Session::settled`].
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
                .next(self.fence, self.context.timeout, &mut failed);
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
        let merged = batch.merged().changes();
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
            base: batch.base(),
            patches: u32::try_from(batch.patches()).unwrap_or(u32::MAX),
            expected: self.fence == Fence::Shared && batch.expects_version(),
            id: draw.number()?,
            changes,
            ttl,
            note: batch.merged().note().cloned(),
        })
    }

    /// Takes in the outcome of a batch and answers its callers.
    pub(super) fn finish(&self, batch: Batch, outcome: Result<Head>) {
        let outcome = outcome.map_err(|error| error.in_session(&self.id));
        let mut state = self.state.lock();
        let Ended::Settled(batch, effect) = state.end(batch, &outcome, self.fence) else {
            return;
        };
        // Under the same lock: a read that misses the overlay must find the memory as the commit left it.
        for Change { key, value } in batch.merged().changes() {
            match &effect {
                Effect::Applied if matches!(self.fence, Fence::Owner(_)) => {
                    self.cache.put(key, value.clone());
                }
                Effect::InDoubt => self.cache.remove(key),
                _ => {}
            }
        }
        drop(state);
        self.progress.notify_waiters();
        batch.answer(&outcome);
        if let (Effect::Terminated(termination), Err(error)) = (effect, outcome) {
            for reply in termination.dropped {
                reply.give(Err(error.clone()));
            }
            if termination.first {
                (self.context.on_lost)(self, &error);
            }
        }
    }

    /// Fails, and ends the session, if the storage says that it is at `head` although it had reached `version`,
    /// unless it has ended here.
    pub(super) fn ensure_at_least(&self, version: u64, head: Head) -> Result<()> {
        if head.version >= version || self.terminal_error().is_some() {
            return Ok(());
        }
        Err(self.hear(older(version, head)))
    }

    /// Takes in at which version the storage is.
    pub(super) fn settled(&self, outcome: Result<Head>) {
        let mut state = self.state.lock();
        let error = match outcome {
            Ok(head) if head.version < state.head().version => older(state.head().version, head),
            Ok(head) => {
                if state.resume(head) {
                    // Records of the doubtful commit were dropped when it failed; others may have changed with it.
                    self.cache.clear();
                }
                return;
            }
            Err(error) => error,
        };
        let error = error.in_session(&self.id);
        let (first, dropped) = if is_terminal(error.kind()) {
            let termination = state.terminate(error.clone());
            (termination.first, termination.dropped)
        } else {
            (false, state.drop_waiting())
        };
        drop(state);
        self.progress.notify_waiters();
        for reply in dropped {
            reply.give(Err(error.clone()));
        }
        if first {
            (self.context.on_lost)(self, &error);
        }
    }
}

fn older(version: u64, found: Head) -> Error {
    let text = "the storage holds an older version of the session";
    session_lost("session", text, Some(version), found.version)
}
