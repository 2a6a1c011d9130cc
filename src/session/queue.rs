//! The patches that wait in a session: their order, what reads see of them, and which go together.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::backend::{Fence, Head, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey};
use crate::time;

/// Patches that may wait in one session, in bytes of values. Beyond it the storage is too slow for the caller.
const MAX_QUEUED: usize = 256 * 1024 * 1024;
/// Values merged into one commit, in bytes; a single larger patch still goes as one.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// Of a patch: the session's head after it, or the reason why it was not committed.
pub type Reply = Answer<Head>;

/// The patches that wait, in the order of the calls, and the values that reads see of them.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Pending>,
    waiting_bytes: usize,
    /// The newest value of each record that is queued or in flight.
    overlay: HashMap<RecordKey, Queued>,
    last_seq: u64,
    settled_seq: u64,
    /// In the committer's hands: waiting there, or with a commit in flight.
    scheduled: bool,
}

struct Queued {
    seq: u64,
    value: Option<Bytes>,
}

struct Pending {
    seq: u64,
    patch: Patch,
    bytes: usize,
    expected: Option<u64>,
    deadline: u64,
    reply: Reply,
}

/// Patches that are being committed together.
pub(super) struct Batch {
    pending: Vec<Pending>,
    merged: Patch,
    base: u64,
    last_seq: u64,
}

impl Batch {
    /// Merges the patches; done without the session's lock, which callers of the hot path want meanwhile.
    pub fn merge(&mut self) {
        for pending in &self.pending {
            self.merged.merge(&pending.patch);
        }
    }

    /// All of the patches as one, after [`Batch::merge`].
    pub fn merged(&self) -> &Patch {
        &self.merged
    }

    /// The version that the batch builds on.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Patches in it.
    pub fn patches(&self) -> usize {
        self.pending.len()
    }

    /// Whether a caller asked for a version.
    pub fn expects_version(&self) -> bool {
        self.pending.iter().any(|pending| pending.expected.is_some())
    }

    /// Tells each caller the outcome; the head after the last patch is `outcome`'s, each earlier one is a version before.
    pub fn answer(self, outcome: &Result<Head>) {
        let last = self.pending.len() as u64;
        for (index, pending) in (1..).zip(self.pending) {
            let outcome = outcome.as_ref().map_err(Clone::clone).map(|head| Head {
                version: head.version - (last - index),
                updated_at: head.updated_at,
            });
            pending.reply.give(outcome);
        }
    }
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues a patch; `Ok(true)` if the committer has to be told.
    pub fn push(
        &mut self,
        patch: Patch,
        expected: Option<u64>,
        timeout: Duration,
        reply: Reply,
    ) -> std::result::Result<bool, (Error, Reply)> {
        let bytes = patch
            .changes()
            .iter()
            .map(|change| change.value.as_ref().map_or(0, Bytes::len))
            .sum();
        if !self.waiting.is_empty() && self.waiting_bytes + bytes > MAX_QUEUED {
            let full = "more than 256 MiB of writes wait for the storage; this one was not taken";
            return Err((Error::new(Kind::Unavailable, "session", full), reply));
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        for Change { key, value } in patch.changes() {
            let value = value.clone();
            self.overlay.insert(key.clone(), Queued { seq, value });
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Pending {
            seq,
            patch,
            bytes,
            expected,
            deadline: time::monotonic_millis().saturating_add(time::millis(timeout)),
            reply,
        });
        Ok(!std::mem::replace(&mut self.scheduled, true))
    }

    /// The value that a record will have once all that is queued and in flight is committed.
    pub fn get(&self, key: &RecordKey) -> Option<&Option<Bytes>> {
        self.overlay.get(key).map(|queued| &queued.value)
    }

    /// Sequence number of the last patch.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether every patch up to `seq` has its outcome.
    pub fn has_settled(&self, seq: u64) -> bool {
        self.settled_seq >= seq || !self.scheduled
    }

    /// Drops patches whose time is over before they could be sent.
    pub fn drop_late(&mut self, timeout: Duration, failed: &mut Vec<(Reply, Error)>) {
        let now = time::monotonic_millis();
        while self.waiting.front().is_some_and(|pending| pending.deadline < now) {
            let late = Error::new(
                Kind::Timeout,
                "session",
                "earlier writes took too long; this one was not sent",
            )
            .with("operation", "commit")
            .with("timeoutMs", time::millis(timeout));
            failed.extend(self.drop_front(None).map(|reply| (reply, late)));
        }
    }

    /// The next batch on top of version `base`; `None` when nothing waits, and the committer need not come again.
    pub fn next(&mut self, base: u64, fence: Fence, failed: &mut Vec<(Reply, Error)>) -> Option<Box<Batch>> {
        let mut batch = Batch {
            pending: Vec::new(),
            merged: Patch::default(),
            base,
            last_seq: 0,
        };
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let alone = next.expected.is_some() && fence == Fence::Shared;
            if !batch.pending.is_empty() && (alone || bytes + next.bytes > MAX_BATCH) {
                break;
            }
            let version = batch.base + batch.pending.len() as u64;
            match (next.expected, fence) {
                (Some(expected), Fence::Owner(_)) if expected != version => {
                    let mismatch = version_mismatch("session", expected, version);
                    failed.extend(self.drop_front(Some(&batch)).map(|reply| (reply, mismatch)));
                    continue;
                }
                (Some(expected), Fence::Shared) => batch.base = expected,
                _ => {}
            }
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            bytes += next.bytes;
            self.waiting_bytes -= next.bytes;
            batch.last_seq = next.seq;
            batch.pending.push(next);
            if alone {
                break;
            }
        }
        if batch.pending.is_empty() {
            self.scheduled = false;
            return None;
        }
        Some(Box::new(batch))
    }

    /// Drops the oldest waiting patch; reads see again what the batch before it says of its records.
    fn drop_front(&mut self, before: Option<&Batch>) -> Option<Reply> {
        let pending = self.waiting.pop_front()?;
        self.waiting_bytes -= pending.bytes;
        let before = before.filter(|batch| !batch.pending.is_empty());
        if before.is_none() {
            self.settled_seq = pending.seq;
        }
        for Change { key, .. } in pending.patch.changes() {
            let is_newest = |queued: &Queued| queued.seq == pending.seq;
            if !self.overlay.get(key).is_some_and(is_newest) {
                continue;
            }
            let earlier = before.and_then(|batch| {
                let value = batch
                    .pending
                    .iter()
                    .rev()
                    .find_map(|earlier| earlier.patch.get(key))?;
                Some((batch.last_seq, value.clone()))
            });
            match earlier {
                Some((seq, value)) => self.overlay.insert(key.clone(), Queued { seq, value }),
                None => self.overlay.remove(key),
            };
        }
        Some(pending.reply)
    }

    /// A batch has its outcome: what reads see of its records no longer comes from here.
    pub fn settle(&mut self, batch: &Batch) {
        self.settled_seq = batch.last_seq;
        for key in batch.merged.changes().iter().map(|change| &change.key) {
            let is_of_batch = |queued: &Queued| queued.seq <= batch.last_seq;
            if self.overlay.get(key).is_some_and(is_of_batch) {
                self.overlay.remove(key);
            }
        }
    }

    /// Puts a batch back to the front, to be committed anew.
    pub fn put_back(&mut self, batch: Batch) {
        for pending in batch.pending.into_iter().rev() {
            self.waiting_bytes += pending.bytes;
            self.waiting.push_front(pending);
        }
    }

    /// Drops all that waits.
    pub fn drop_all(&mut self) -> Vec<Reply> {
        self.overlay.clear();
        self.waiting_bytes = 0;
        self.settled_seq = self.last_seq;
        self.waiting.drain(..).map(|pending| pending.reply).collect()
    }
}
