//! What waits in a session, and in which order it goes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::actor::Reply;
use super::clock;
use super::journal::Noted;
use super::outcome::version_mismatch;
use crate::backend::{Fence, Head};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey};

/// Patches that may wait in one session, in bytes of values. Beyond it the storage is too slow for the caller.
const MAX_QUEUED: usize = 256 * 1024 * 1024;
/// Values merged into one commit, in bytes; a single larger patch still goes as one.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// What is known of a session, and what waits in it.
pub(super) struct State {
    pub(super) head: Head,
    /// Why nothing is taken any more: fenced, deleted, closed.
    pub(super) refusal: Option<Error>,
    pub(super) queue: VecDeque<Pending>,
    pub(super) queued_bytes: usize,
    pub(super) overlay: HashMap<RecordKey, Queued>,
    pub(super) last_seq: u64,
    pub(super) settled_seq: u64,
    /// In the committer's hands: waiting there, or with a commit in flight.
    pub(super) scheduled: bool,
    pub(super) batches_begun: u64,
    pub(super) batches_ended: u64,
    pub(super) doubt: Option<Doubt>,
    pub(super) resyncs: u32,
    pub(super) ttl: Option<Duration>,
    /// When the storage last began to count the time to live anew, on [`clock::now`], if that is known.
    pub(super) refreshed: Option<u64>,
    /// Whether commits under way may never end.
    pub(super) abandoned: bool,
    pub(super) journals: Vec<Noted>,
    pub(super) last_journal: u64,
}

pub(super) struct Queued {
    pub(super) seq: u64,
    pub(super) value: Option<Bytes>,
}

pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) patch: Patch,
    pub(super) bytes: usize,
    pub(super) expected: Option<u64>,
    pub(super) deadline: u64,
    pub(super) reply: Reply,
}

#[derive(Default)]
pub(super) struct Doubt {
    pub(super) keys: HashSet<RecordKey>,
    pub(super) settled: bool,
}

/// Patches that are being committed together.
pub(super) struct Batch {
    pub(super) pending: Vec<Pending>,
    /// All of them, by [`Batch::merge`].
    pub(super) merged: Patch,
    pub(super) base: u64,
    pub(super) last_seq: u64,
}

pub(super) enum Next {
    Settle,
    Batch(Box<Batch>, Option<Duration>),
    Idle,
}

impl Batch {
    /// Merges the patches; done without the session's lock, which callers of the hot path want meanwhile.
    pub(super) fn merge(&mut self) {
        for pending in &self.pending {
            self.merged.merge(&pending.patch);
        }
    }
}

impl State {
    fn admit(&self, bytes: usize) -> Result<()> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if !self.queue.is_empty() && self.queued_bytes + bytes > MAX_QUEUED {
            let full = "more than 256 MiB of writes wait for the storage; this one was not taken";
            return Err(Error::new(Kind::Unavailable, "session", full));
        }
        Ok(())
    }

    /// Queues a patch; `Ok(true)` if the committer has to be told.
    pub(super) fn push(
        &mut self,
        patch: Patch,
        expected: Option<u64>,
        patience: Duration,
        reply: Reply,
    ) -> std::result::Result<bool, (Error, Reply)> {
        let bytes = patch
            .changes()
            .iter()
            .map(|change| change.value.as_ref().map_or(0, Bytes::len))
            .sum();
        if let Err(error) = self.admit(bytes) {
            return Err((error, reply));
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        for Change { key, value } in patch.changes() {
            self.overlay.insert(
                key.clone(),
                Queued {
                    seq,
                    value: value.clone(),
                },
            );
        }
        self.queued_bytes += bytes;
        let deadline = clock::now().saturating_add(clock::millis(patience));
        self.queue.push_back(Pending {
            seq,
            patch,
            bytes,
            expected,
            deadline,
            reply,
        });
        Ok(!std::mem::replace(&mut self.scheduled, true))
    }

    /// The next batch, if there is one and it may go.
    pub(super) fn next(
        &mut self,
        fence: Fence,
        patience: Duration,
        failed: &mut Vec<(Reply, Error)>,
    ) -> Next {
        let now = clock::now();
        let mut batch = Batch {
            pending: Vec::new(),
            merged: Patch::default(),
            base: self.head.version,
            last_seq: 0,
        };
        while self.queue.front().is_some_and(|pending| pending.deadline < now) {
            let late = Error::new(
                Kind::Timeout,
                "session",
                "earlier writes took too long; this one was not sent",
            )
            .with("operation", "commit")
            .with("timeoutMs", clock::millis(patience));
            failed.extend(self.drop_front(&batch).map(|reply| (reply, late)));
        }
        if self.doubt.as_ref().is_some_and(|doubt| !doubt.settled) && !self.queue.is_empty() {
            return Next::Settle;
        }
        let mut bytes = 0;
        while let Some(next) = self.queue.front() {
            let alone = next.expected.is_some() && fence == Fence::Shared;
            if !batch.pending.is_empty() && (alone || bytes + next.bytes > MAX_BATCH) {
                break;
            }
            let stands_at = batch.base + batch.pending.len() as u64;
            match (next.expected, fence) {
                (Some(expected), Fence::Owner(_)) if expected != stands_at => {
                    let mismatch = version_mismatch(expected, stands_at);
                    failed.extend(self.drop_front(&batch).map(|reply| (reply, mismatch)));
                    continue;
                }
                (Some(expected), Fence::Shared) => batch.base = expected,
                _ => {}
            }
            let Some(next) = self.queue.pop_front() else { break };
            bytes += next.bytes;
            self.queued_bytes -= next.bytes;
            batch.last_seq = next.seq;
            batch.pending.push(next);
            if alone {
                break;
            }
        }
        if batch.pending.is_empty() {
            self.scheduled = false;
            return Next::Idle;
        }
        self.batches_begun += 1;
        Next::Batch(Box::new(batch), self.ttl)
    }

    /// Drops the oldest waiting patch; reads see again what the batch before it says of its records.
    fn drop_front(&mut self, before: &Batch) -> Option<Reply> {
        let pending = self.queue.pop_front()?;
        self.queued_bytes -= pending.bytes;
        if before.pending.is_empty() {
            self.settled_seq = pending.seq;
        }
        for Change { key, .. } in pending.patch.changes() {
            if self
                .overlay
                .get(key)
                .is_some_and(|queued| queued.seq == pending.seq)
            {
                match before
                    .pending
                    .iter()
                    .rev()
                    .find_map(|earlier| earlier.patch.get(key))
                {
                    Some(value) => self.overlay.insert(
                        key.clone(),
                        Queued {
                            seq: before.last_seq,
                            value: value.clone(),
                        },
                    ),
                    None => self.overlay.remove(key),
                };
            }
        }
        Some(pending.reply)
    }

    /// Journals hold what is in doubt for changed, to whatever value.
    pub(super) fn note_doubt(&mut self) {
        let Self { doubt, journals, .. } = self;
        for key in doubt.iter().flat_map(|doubt| &doubt.keys) {
            for journal in &mut *journals {
                journal.doubtful.insert(key.clone());
            }
        }
    }

    pub(super) fn drop_all(&mut self) -> Vec<Reply> {
        self.overlay.clear();
        self.queued_bytes = 0;
        self.settled_seq = self.last_seq;
        self.queue.drain(..).map(|pending| pending.reply).collect()
    }

    pub(super) fn refuse(&mut self, reason: Error) -> Vec<Reply> {
        self.refusal.get_or_insert(reason);
        self.drop_all()
    }

    pub(super) fn put_back(&mut self, batch: Batch) {
        for pending in batch.pending.into_iter().rev() {
            self.queued_bytes += pending.bytes;
            self.queue.push_front(pending);
        }
    }
}
