//! One open session.
//!
//! Patches queue up in the order of the calls. While a commit is under way the next ones wait, and then go
//! together: one commit, several patches, each with a version of its own. What is queued is visible to reads at
//! once (the overlay) and vanishes from them if its commit fails.
//!
//! ```text
//!            enqueue                    take_batch              finish(Ok)
//! caller ───────────────▶ queue ─────────────────────▶ in flight ─────────▶ shelf (owner's memory)
//!                          overlay shows its values            │ finish(Err)
//!                                                              ├─▶ refused: overlay entry dropped, caller told
//!                                                              └─▶ in doubt: as refused, and the records are read
//!                                                                  from the storage until a later commit succeeds
//! ```
//!
//! *In doubt* is a commit whose answer never came: it may still be applied, even later. The caller is told so by a
//! `Timeout` or `Unavailable` error. Before the next commit the session asks the storage where it stands
//! ([`Step::Settle`]); a commit that succeeds afterwards proves that the doubtful one can never be applied any more,
//! for both build on the same version.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cache::Shelf;
use super::clock;
use crate::backend::{Commit, Fence, Head, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey, Sealer};

/// Called once with the session's head after the patch, or with the reason why it was not committed.
pub type Reply = Box<dyn FnOnce(Result<Head>) + Send>;

/// Patches that may wait in one session, in bytes of values. Beyond it the storage is too slow for the caller.
const MAX_QUEUED: usize = 256 * 1024 * 1024;
/// Values merged into one commit, in bytes; a single larger patch still goes as one.
const MAX_BATCH: usize = 8 * 1024 * 1024;
/// How often a commit is tried anew after the storage turned out to stand elsewhere.
const MAX_RESYNCS: u32 = 3;

/// One open session; shared by all its handles in the process.
pub struct Session {
    id: SessionId,
    fence: Fence,
    sealer: Sealer,
    shelf: Shelf,
    /// Until when, on [`clock::now`], memory may be trusted without asking the storage.
    lease_until: AtomicU64,
    patience: Duration,
    state: Mutex<State>,
    progress: Notify,
    /// Told once when the storage takes the session away.
    on_lost: OnLost,
}

/// See [`Session`].
pub(super) type OnLost = Arc<dyn Fn(&SessionId, &Error) + Send + Sync>;

struct State {
    head: Head,
    /// Why nothing is taken any more: fenced, deleted, closed.
    refusal: Option<Error>,
    queue: VecDeque<Pending>,
    queued_bytes: usize,
    overlay: HashMap<RecordKey, Queued>,
    last_seq: u64,
    settled_seq: u64,
    /// In the committer's hands: waiting there, or with a commit in flight.
    scheduled: bool,
    batches_begun: u64,
    batches_ended: u64,
    doubt: Option<Doubt>,
    resyncs: u32,
    ttl: Option<Duration>,
    journals: Vec<(u64, HashMap<RecordKey, Option<Bytes>>)>,
    last_journal: u64,
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

#[derive(Default)]
struct Doubt {
    keys: HashSet<RecordKey>,
    settled: bool,
}

/// Patches that are being committed together.
pub struct Batch {
    pending: Vec<Pending>,
    merged: Patch,
    base: u64,
    last_seq: u64,
}

/// What the committer has to do next for a session.
pub enum Step {
    /// Ask the storage where the session stands, then tell [`Session::settled`].
    Settle,
    /// Commit, then tell [`Session::finish`].
    Commit(Box<Batch>, Commit),
    /// Nothing is waiting.
    Idle,
}

enum Next {
    Settle,
    Batch(Box<Batch>, Option<Duration>),
    Idle,
}

/// Answer of [`Session::lookup`].
pub enum Lookup {
    /// Everything was in memory; in the order asked, `None` where there is no such record.
    Found(Vec<Option<Bytes>>),
    /// The storage has to be asked.
    Unknown,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        fence: Fence,
        sealer: Sealer,
        head: Head,
        patience: Duration,
        ttl: Option<Duration>,
        on_lost: OnLost,
    ) -> Self {
        Self {
            id,
            fence,
            sealer,
            shelf: Shelf::new(),
            lease_until: AtomicU64::new(0),
            patience,
            progress: Notify::new(),
            on_lost,
            state: Mutex::new(State {
                head,
                refusal: None,
                queue: VecDeque::new(),
                queued_bytes: 0,
                overlay: HashMap::new(),
                last_seq: 0,
                settled_seq: 0,
                scheduled: false,
                batches_begun: 0,
                batches_ended: 0,
                doubt: None,
                resyncs: 0,
                ttl,
                journals: Vec::new(),
                last_journal: 0,
            }),
        }
    }

    /// The session's name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// By what right this process writes.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Where the session stands as far as this process knows.
    pub fn head(&self) -> Head {
        self.state.lock().head
    }

    /// Why the session takes nothing any more, if so.
    pub fn refusal(&self) -> Option<Error> {
        self.state.lock().refusal.clone()
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(super) fn trust_until(&self, instant: u64) {
        self.lease_until.store(instant, Ordering::Release);
    }

    /// Whether nobody else can have become the owner, by this process' own clock.
    pub fn is_trusted(&self) -> bool {
        clock::now() < self.lease_until.load(Ordering::Acquire)
    }

    pub(super) fn set_ttl(&self, ttl: Option<Duration>) {
        self.state.lock().ttl = ttl;
    }

    /// Queues `patch`; `reply` is called once its outcome is known, maybe before this returns. With `expected`, the
    /// patch fails with `VersionMismatch` unless the session stands at that version when its turn comes.
    /// Returns whether the session must be handed to the committer.
    #[must_use]
    pub(super) fn enqueue(&self, patch: Patch, expected: Option<u64>, reply: Reply) -> bool {
        let pushed = self.state.lock().push(patch, expected, self.patience, reply);
        pushed.unwrap_or_else(|(error, reply)| {
            reply(Err(error.in_session(&self.id)));
            false
        })
    }

    /// Answers from memory if it can: what is queued, then, for an owner whose lease stands, what is remembered.
    pub fn lookup(&self, keys: &[RecordKey]) -> Result<Lookup> {
        let state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let remembers = self.is_trusted();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match self.known(&state, key, remembers) {
                Some(value) => found.push(value),
                None => return Ok(Lookup::Unknown),
            }
        }
        Ok(Lookup::Found(found))
    }

    fn known(&self, state: &State, key: &RecordKey, remembers: bool) -> Option<Option<Bytes>> {
        if let Some(queued) = state.overlay.get(key) {
            return Some(queued.value.clone());
        }
        if remembers { self.shelf.get(key) } else { None }
    }

    /// What memory knows of each of `keys`, and the version at which that was.
    pub(super) fn recall(&self, keys: &[RecordKey]) -> (Vec<Option<Option<Bytes>>>, u64) {
        let state = self.state.lock();
        let remembers = self.is_trusted();
        (
            keys.iter()
                .map(|key| self.known(&state, key, remembers))
                .collect(),
            state.head.version,
        )
    }

    /// Takes in records read from the storage since the session stood at `version`. What was queued or committed
    /// meanwhile wins over what was read.
    pub(super) fn learn(&self, version: u64, read: &mut [(RecordKey, Option<Bytes>)]) -> Result<()> {
        let state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let owner = matches!(self.fence, Fence::Owner(_));
        // A commit that ended since may have changed a record after it was read.
        let current = owner && state.head.version == version;
        for (key, value) in read {
            if let Some(newer) = self.known(&state, key, owner) {
                *value = newer;
            } else if current && !state.doubt.as_ref().is_some_and(|doubt| doubt.keys.contains(key)) {
                self.shelf.put(key, value.clone());
            }
        }
        Ok(())
    }

    pub(super) fn remember(&self, key: &RecordKey, value: Option<Bytes>) {
        self.shelf.put(key, value);
    }

    /// What is to be done next.
    pub(super) fn step(&self) -> Step {
        loop {
            let mut failed = Vec::new();
            let next = self.state.lock().next(self.fence, &mut failed);
            if !failed.is_empty() || matches!(next, Next::Idle) {
                self.progress.notify_waiters();
            }
            for (reply, error) in failed {
                reply(Err(error.in_session(&self.id)));
            }
            match next {
                Next::Idle => return Step::Idle,
                Next::Settle => return Step::Settle,
                Next::Batch(batch, ttl) => match self.commit_of(&batch, ttl) {
                    Ok(commit) => return Step::Commit(batch, commit),
                    Err(error) => self.finish(*batch, Err(error)),
                },
            }
        }
    }

    fn commit_of(&self, batch: &Batch, ttl: Option<Duration>) -> Result<Commit> {
        let changes = batch
            .merged
            .changes()
            .iter()
            .map(|Change { key, value }| {
                let value = value
                    .as_ref()
                    .map(|plain| self.sealer.seal(key, plain))
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
            id: getrandom::u64()
                .map_err(|error| Error::new(Kind::Internal, "session", "no randomness").because(&error))?,
            changes,
            ttl,
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
                }
            }
        }
        drop(state);
        self.progress.notify_waiters();
        answer(batch.pending, &outcome);
        for reply in refused {
            reply(outcome.clone());
        }
        if let Err(error) = &outcome
            && is_final(error.kind())
        {
            (self.on_lost)(&self.id, error);
        }
    }

    fn applied(&self, state: &mut State, merged: &Patch, head: Head) {
        state.head = head;
        state.doubt = None;
        state.resyncs = 0;
        for Change { key, value } in merged.changes() {
            if matches!(self.fence, Fence::Owner(_)) {
                self.shelf.put(key, value.clone());
            }
            for (_, journal) in &mut state.journals {
                journal.insert(key.clone(), value.clone());
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

    /// Takes in where the storage says the session stands.
    pub(super) fn settled(&self, outcome: Result<Head>) {
        let mut state = self.state.lock();
        let refused = match outcome {
            Ok(head) if head.version < state.head.version => {
                let lost = Error::new(
                    Kind::SessionLost,
                    "session",
                    "the storage holds an older version of the session",
                )
                .with("version", state.head.version)
                .with("found", head.version)
                .in_session(&self.id);
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
            reply(Err(error.clone()));
        }
        if is_final(error.kind()) {
            (self.on_lost)(&self.id, &error);
        }
    }

    /// The storage took the session away.
    pub(super) fn lose(&self, reason: &Error) {
        if self.refuse(reason) {
            (self.on_lost)(&self.id, reason);
        }
    }

    /// Takes nothing any more; what waits fails with `reason` too. `false` if it had ended before.
    pub(super) fn refuse(&self, reason: &Error) -> bool {
        let mut state = self.state.lock();
        let first = state.refusal.is_none();
        let replies = state.refuse(reason.clone());
        drop(state);
        self.shelf.clear();
        self.progress.notify_waiters();
        for reply in replies {
            reply(Err(reason.clone()));
        }
        first
    }

    /// Waits until every patch queued before this call has its outcome.
    pub async fn flush(&self) {
        let last = self.state.lock().last_seq;
        self.wait(|state| state.settled_seq >= last || !state.scheduled)
            .await;
    }

    /// Waits until every commit that is in flight has its outcome.
    pub(super) async fn quiesce(&self) {
        let begun = self.state.lock().batches_begun;
        self.wait(|state| state.batches_ended >= begun).await;
    }

    async fn wait(&self, done: impl Fn(&State) -> bool) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if done(&self.state.lock()) {
                return;
            }
            progress.await;
        }
    }

    /// Begins to note down every record that commits change from now on.
    pub(super) fn open_journal(self: &Arc<Self>) -> Journal {
        let mut state = self.state.lock();
        state.last_journal += 1;
        let number = state.last_journal;
        state.journals.push((number, HashMap::new()));
        Journal {
            session: self.clone(),
            number,
        }
    }

    /// Queues those changes of `changes` whose records nothing else has changed since `journal` was opened.
    /// Returns how many, and whether the session must be handed to the committer.
    pub(super) fn amend(&self, journal: &Journal, changes: Vec<Change>, reply: Reply) -> (usize, bool) {
        let mut patch = Patch::default();
        let mut state = self.state.lock();
        let noted = state
            .journals
            .iter()
            .find(|(number, _)| *number == journal.number)
            .map(|(_, noted)| noted);
        for Change { key, value } in changes {
            let changed =
                state.overlay.contains_key(&key) || noted.is_some_and(|noted| noted.contains_key(&key));
            if !changed {
                patch.set(key, value);
            }
        }
        let count = patch.changes().len();
        let outcome = if count == 0 {
            Err((None, reply))
        } else {
            state
                .push(patch, None, self.patience, reply)
                .map_err(|(error, reply)| (Some(error), reply))
        };
        let head = state.head;
        drop(state);
        match outcome {
            Ok(schedule) => (count, schedule),
            Err((error, reply)) => {
                reply(error.map_or(Ok(head), |error| Err(error.in_session(&self.id))));
                (0, false)
            }
        }
    }
}

/// Records changed since [`Session::open_journal`]; they are noted until it is dropped.
pub struct Journal {
    session: Arc<Session>,
    number: u64,
}

impl Journal {
    /// What was noted so far and where the session stood then; an error while the outcome of a commit is in doubt.
    pub fn read(&self) -> Result<(HashMap<RecordKey, Option<Bytes>>, Head)> {
        let state = self.session.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        if state.doubt.is_some() {
            let error = Error::new(
                Kind::Unavailable,
                "session",
                "the outcome of an earlier write is not known yet",
            );
            return Err(error.in_session(&self.session.id));
        }
        let noted = state.journals.iter().find(|(number, _)| *number == self.number);
        Ok((
            noted.map(|(_, noted)| noted.clone()).unwrap_or_default(),
            state.head,
        ))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.session
            .state
            .lock()
            .journals
            .retain(|(number, _)| *number != self.number);
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
    fn push(
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
    fn next(&mut self, fence: Fence, failed: &mut Vec<(Reply, Error)>) -> Next {
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
            );
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
            batch.merged.merge(&next.patch);
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
                match before.merged.get(key) {
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

    fn drop_all(&mut self) -> Vec<Reply> {
        self.overlay.clear();
        self.queued_bytes = 0;
        self.settled_seq = self.last_seq;
        self.queue.drain(..).map(|pending| pending.reply).collect()
    }

    fn refuse(&mut self, reason: Error) -> Vec<Reply> {
        self.refusal.get_or_insert(reason);
        self.drop_all()
    }

    fn put_back(&mut self, batch: Batch) {
        for pending in batch.pending.into_iter().rev() {
            self.queued_bytes += pending.bytes;
            self.queue.push_front(pending);
        }
    }
}

fn answer(pending: Vec<Pending>, outcome: &Result<Head>) {
    let last = pending.len() as u64;
    for (index, pending) in (1..).zip(pending) {
        (pending.reply)(outcome.as_ref().map_err(Clone::clone).map(|head| Head {
            version: head.version - (last - index),
            updated_at: head.updated_at,
        }));
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
