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

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cache::Shelf;
use super::clock;
use super::queue::State;
use crate::answer::Answer;
use crate::backend::{Fence, Head, Seen, SessionId};
use crate::error::{Error, Kind, Result};
use crate::observe::StoreMetrics;
use crate::record::{Patch, RecordKey, Sealer};

/// Of a patch: the session's head after it, or the reason why it was not committed.
pub type Reply = Answer<Head>;

/// One open session; shared by all its handles in the process.
pub struct Session {
    pub(super) id: SessionId,
    pub(super) fence: Fence,
    pub(super) sealer: Sealer,
    pub(super) shelf: Shelf,
    /// Until when, on [`clock::now`], memory may be trusted without asking the storage; [`clock::NEVER`] if for ever.
    pub(super) lease_until: AtomicU64,
    /// Whether the lease is being given back, or was.
    pub(super) given_back: AtomicBool,
    pub(super) place: Place,
    pub(super) state: Mutex<State>,
    pub(super) progress: Notify,
}

/// What a session needs of the vault that it is in.
pub(super) struct Place {
    /// How long a patch may wait for the ones before it.
    pub patience: Duration,
    /// Told once when the storage takes the session away.
    pub on_lost: OnLost,
    /// Where it is counted.
    pub metrics: &'static StoreMetrics,
}

/// See [`Place`].
pub(super) type OnLost = Arc<dyn Fn(&Session, &Error) + Send + Sync>;

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
        ttl: Option<Duration>,
        place: Place,
    ) -> Self {
        place.metrics.open_sessions.rise();
        Self {
            id,
            fence,
            sealer,
            shelf: Shelf::new(),
            lease_until: AtomicU64::new(0),
            given_back: AtomicBool::new(false),
            place,
            progress: Notify::new(),
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
                refreshed: None,
                abandoned: false,
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

    /// What this process knows of the session, for whoever reads it.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            fence: self.fence,
            version: self.head().version,
        }
    }

    /// Takes in why the storage did not answer: perhaps the session is no more.
    pub(super) fn hear(&self, error: Error) -> Error {
        let error = error.in_session(&self.id);
        if matches!(error.kind(), Kind::Fenced | Kind::SessionLost) {
            self.lose(&error);
        }
        error
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

    /// Whether ownership runs out unless it is renewed.
    pub(super) fn lease_expires(&self) -> bool {
        self.lease_until.load(Ordering::Acquire) != clock::NEVER
    }

    pub(super) fn set_ttl(&self, ttl: Option<Duration>) {
        let mut state = self.state.lock();
        state.ttl = ttl;
        state.refreshed = Some(clock::now());
    }

    /// The storage began at `instant` to count the time to live anew.
    pub(super) fn refreshed(&self, instant: u64) {
        self.state.lock().refreshed = Some(instant);
    }

    /// The session's time to live, if it must be touched now lest it ends while it is in use.
    pub(super) fn wants_touch(&self) -> Option<Duration> {
        let state = self.state.lock();
        let ttl = state.ttl.filter(|_| state.head.version > 0)?;
        let due = |refreshed| clock::now() >= clock::millis(ttl / 3).saturating_add(refreshed);
        state.refreshed.is_none_or(due).then_some(ttl)
    }

    /// Whether the outcome of an earlier commit is not known yet.
    pub(super) fn in_doubt(&self) -> bool {
        self.state.lock().doubt.is_some()
    }

    pub(super) fn metrics(&self) -> &'static StoreMetrics {
        self.place.metrics
    }

    /// Queues `patch`; `reply` is given once its outcome is known, maybe before this returns. With `expected`, the
    /// patch fails with `VersionMismatch` unless the session stands at that version when its turn comes.
    /// Returns whether the session must be handed to the committer.
    #[must_use]
    pub(super) fn enqueue(&self, patch: Patch, expected: Option<u64>, reply: Reply) -> bool {
        let pushed = self
            .state
            .lock()
            .push(patch, expected, self.place.patience, reply);
        pushed.unwrap_or_else(|(error, reply)| {
            reply.give(Err(error.in_session(&self.id)));
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
        drop(state);
        self.place.metrics.cache_hits.add(keys.len());
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
        // Such a commit also proves that nobody else was the owner meanwhile; without one, memory counts for no
        // more than the lease does.
        let remembers = owner && (!current || self.is_trusted());
        for (key, value) in read {
            if let Some(newer) = self.known(&state, key, remembers) {
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

    /// The storage took the session away.
    pub(super) fn lose(&self, reason: &Error) {
        if self.refuse(reason) {
            (self.place.on_lost)(self, reason);
        }
    }

    /// [`Session::lose`], although it was refused before for another reason, which turned out to be wrong.
    pub(super) fn lose_instead(&self, reason: &Error) {
        self.state.lock().refusal = Some(reason.clone());
        (self.place.on_lost)(self, reason);
    }

    /// [`Session::lose`] after a panic: a commit under way may have gone down with it, and nobody waits for it.
    pub(super) fn abandon(&self, defect: &Error) {
        self.state.lock().abandoned = true;
        self.lose(defect);
    }

    /// Fails if the session takes nothing any more.
    pub(super) fn ensure_usable(&self) -> Result<()> {
        self.refusal().map_or(Ok(()), Err)
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
            reply.give(Err(reason.clone()));
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
        self.wait(|state| state.batches_ended >= begun || state.abandoned)
            .await;
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
}

impl Drop for Session {
    fn drop(&mut self) {
        self.place.metrics.open_sessions.fall();
    }
}
