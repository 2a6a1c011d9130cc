//! What is known of a session, and how that changes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::queue::{Batch, Queue, Reply};
use crate::backend::{Fence, Head};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey};
use crate::time;

/// How often a commit is tried anew after the storage turned out to be at another version.
const MAX_RESYNCS: u32 = 3;

/// The state of an open session; behind the session's lock.
pub(super) struct State {
    head: Head,
    /// Why nothing is taken any more: fenced, deleted, closed.
    terminal_error: Option<Error>,
    queue: Queue,
    batches_begun: u64,
    batches_ended: u64,
    doubt: Option<Doubt>,
    resyncs: u32,
    ttl: Option<Duration>,
    /// When the storage last began to count the time to live anew, on [`time::monotonic_millis`], if that is known.
    refreshed: Option<u64>,
    /// Whether commits under way may never end.
    abandoned: bool,
    journals: Vec<Noted>,
    last_journal: u64,
}

/// Commits whose outcome is not known.
#[derive(Default)]
struct Doubt {
    keys: HashSet<RecordKey>,
    /// Whether the storage was asked for its version since.
    settled: bool,
}

/// What a journal has noted.
#[derive(Default)]
struct Noted {
    number: u64,
    changed: HashMap<RecordKey, Option<Bytes>>,
    /// Records of commits in doubt: they may have changed at any moment, to a value not known here.
    doubtful: HashSet<RecordKey>,
}

/// What the committer has to do next.
pub(super) enum Next {
    /// Ask the storage for the version.
    Settle,
    /// Commit, with this time to live.
    Batch(Box<Batch>, Option<Duration>),
    /// Nothing waits.
    Idle,
}

/// What the end of a batch means.
pub(super) enum Ended {
    /// The batch waits again: the storage is asked for its version first.
    Retried,
    /// Its callers may be told.
    Settled(Batch, Effect),
}

/// What a settled batch did to its session.
pub(super) enum Effect {
    Applied,
    Rejected,
    /// It may have been applied, or may be later.
    InDoubt,
    Terminated(Termination),
}

/// The end of a session for its callers.
pub(super) struct Termination {
    /// Whether it had not ended before.
    pub first: bool,
    /// Of the patches that waited.
    pub dropped: Vec<Reply>,
}

impl State {
    pub fn new(head: Head, ttl: Option<Duration>) -> Self {
        Self {
            head,
            terminal_error: None,
            queue: Queue::default(),
            batches_begun: 0,
            batches_ended: 0,
            doubt: None,
            resyncs: 0,
            ttl,
            refreshed: None,
            abandoned: false,
            journals: Vec::new(),
            last_journal: 0,
        }
    }

    pub fn head(&self) -> Head {
        self.head
    }

    pub fn terminal_error(&self) -> Option<&Error> {
        self.terminal_error.as_ref()
    }

    /// Fails if the session takes nothing any more.
    pub fn ensure_usable(&self) -> Result<()> {
        self.terminal_error.clone().map_or(Ok(()), Err)
    }

    /// Whether the outcome of an earlier commit is not known.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether a commit in doubt changes this record.
    pub fn is_doubtful(&self, key: &RecordKey) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.keys.contains(key))
    }

    /// The value that is queued or in flight for a record.
    pub fn queued(&self, key: &RecordKey) -> Option<&Option<Bytes>> {
        self.queue.get(key)
    }

    /// Sequence number of the last patch.
    pub fn last_seq(&self) -> u64 {
        self.queue.last_seq()
    }

    /// Whether every patch up to `seq` has its outcome.
    pub fn has_settled(&self, seq: u64) -> bool {
        self.queue.has_settled(seq)
    }

    /// Batches that were sent.
    pub fn batches_begun(&self) -> u64 {
        self.batches_begun
    }

    /// Whether the first `begun` batches have their outcome, or never will.
    pub fn has_ended(&self, begun: u64) -> bool {
        self.batches_ended >= begun || self.abandoned
    }

    /// The storage counts this time to live from now.
    pub fn set_ttl(&mut self, ttl: Option<Duration>) {
        self.ttl = ttl;
        self.refreshed = Some(time::monotonic_millis());
    }

    /// The storage began at `instant` to count the time to live anew.
    pub fn refreshed(&mut self, instant: u64) {
        self.refreshed = Some(instant);
    }

    /// The time to live, if a third of it has passed since the storage began to count.
    pub fn ttl_to_refresh(&self) -> Option<Duration> {
        let ttl = self.ttl.filter(|_| self.head.version > 0)?;
        let due = |refreshed| time::monotonic_millis() >= time::millis(ttl / 3).saturating_add(refreshed);
        self.refreshed.is_none_or(due).then_some(ttl)
    }

    /// Queues a patch; `Ok(true)` if the committer has to be told.
    pub fn push(
        &mut self,
        patch: Patch,
        expected: Option<u64>,
        timeout: Duration,
        reply: Reply,
    ) -> std::result::Result<bool, (Error, Reply)> {
        match &self.terminal_error {
            Some(error) => Err((error.clone(), reply)),
            None => self.queue.push(patch, expected, timeout, reply),
        }
    }

    /// What the committer has to do next; patches that fail without being sent go into `failed`.
    pub fn next(&mut self, fence: Fence, timeout: Duration, failed: &mut Vec<(Reply, Error)>) -> Next {
        self.queue.drop_late(timeout, failed);
        if self.doubt.as_ref().is_some_and(|doubt| !doubt.settled) && !self.queue.is_empty() {
            return Next::Settle;
        }
        match self.queue.next(self.head.version, fence, failed) {
            None => Next::Idle,
            Some(batch) => {
                self.batches_begun += 1;
                Next::Batch(batch, self.ttl)
            }
        }
    }

    /// Takes in the outcome of a batch.
    pub fn end(&mut self, batch: Batch, outcome: &Result<Head>, fence: Fence) -> Ended {
        self.batches_ended += 1;
        let is_owner = matches!(fence, Fence::Owner(_));
        if let Err(error) = outcome
            && is_owner
            && self.wants_resync(error)
        {
            self.queue.put_back(batch);
            return Ended::Retried;
        }
        self.queue.settle(&batch);
        let effect = match outcome {
            Ok(head) => {
                self.applied(batch.merged(), *head);
                Effect::Applied
            }
            Err(error) if is_terminal(error.kind()) => Effect::Terminated(self.terminate(error.clone())),
            Err(error) if is_owner && is_ambiguous(error.kind()) => {
                self.doubt(batch.merged());
                Effect::InDoubt
            }
            Err(_) => Effect::Rejected,
        };
        Ended::Settled(batch, effect)
    }

    /// An owner's commit can only find another version when an earlier one, in doubt, was applied after all.
    fn wants_resync(&mut self, error: &Error) -> bool {
        let again = error.kind() == Kind::VersionMismatch && self.resyncs < MAX_RESYNCS;
        if again {
            self.resyncs += 1;
            self.doubt.get_or_insert_default().settled = false;
        }
        again
    }

    fn applied(&mut self, merged: &Patch, head: Head) {
        self.head = head;
        self.doubt = None;
        self.resyncs = 0;
        self.refreshed = Some(time::monotonic_millis());
        for Change { key, value } in merged.changes() {
            for journal in &mut self.journals {
                journal.changed.insert(key.clone(), value.clone());
            }
        }
    }

    fn doubt(&mut self, merged: &Patch) {
        let doubt = self.doubt.get_or_insert_default();
        doubt.settled = false;
        doubt
            .keys
            .extend(merged.changes().iter().map(|change| change.key.clone()));
        // Journals hold what is in doubt for changed, to whatever value.
        for key in &doubt.keys {
            for journal in &mut self.journals {
                journal.doubtful.insert(key.clone());
            }
        }
    }

    /// Takes in at which version the storage is; whether that is another than was known.
    pub fn resume(&mut self, head: Head) -> bool {
        let moved = head.version != self.head.version;
        if moved {
            self.head = head;
        }
        self.doubt.get_or_insert_default().settled = true;
        moved
    }

    /// Drops what waits, because of an error that may pass.
    pub fn drop_waiting(&mut self) -> Vec<Reply> {
        self.queue.drop_all()
    }

    /// Takes nothing any more. The first reason stays.
    pub fn terminate(&mut self, reason: Error) -> Termination {
        let first = self.terminal_error.is_none();
        self.terminal_error.get_or_insert(reason);
        let dropped = self.queue.drop_all();
        Termination { first, dropped }
    }

    /// The reason why it ended turned out to be another.
    pub fn replace_terminal_error(&mut self, reason: Error) {
        self.terminal_error = Some(reason);
    }

    /// Commits under way may never end: nobody waits for them any more.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Begins to note down every record that commits change from now on; returns the journal's number.
    pub fn open_journal(&mut self) -> u64 {
        self.last_journal += 1;
        let doubtful = self
            .doubt
            .as_ref()
            .map(|doubt| doubt.keys.clone())
            .unwrap_or_default();
        self.journals.push(Noted {
            number: self.last_journal,
            doubtful,
            ..Noted::default()
        });
        self.last_journal
    }

    pub fn close_journal(&mut self, number: u64) {
        self.journals.retain(|noted| noted.number != number);
    }

    /// Whether a record may have another value than when the journal was opened, or soon has.
    pub fn may_have_changed(&self, journal: u64, key: &RecordKey) -> bool {
        let noted = self.noted(journal);
        self.queue.get(key).is_some()
            || noted.is_some_and(|noted| noted.changed.contains_key(key) || noted.doubtful.contains(key))
    }

    /// What commits changed since the journal was opened; `None` if the outcome of one is not known.
    pub fn changed_since(&self, journal: u64) -> Option<HashMap<RecordKey, Option<Bytes>>> {
        let noted = self.noted(journal);
        if self.doubt.is_some() || noted.is_some_and(|noted| !noted.doubtful.is_empty()) {
            return None;
        }
        Some(noted.map(|noted| noted.changed.clone()).unwrap_or_default())
    }

    fn noted(&self, journal: u64) -> Option<&Noted> {
        self.journals.iter().find(|noted| noted.number == journal)
    }
}

/// Whether this process may never write the session again.
pub(super) fn is_terminal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Fenced | Kind::SessionLost | Kind::Deleted | Kind::Closed
    )
}

/// Whether a commit that failed so may have been applied.
fn is_ambiguous(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Timeout | Kind::Unavailable | Kind::Internal | Kind::Corrupt
    )
}
