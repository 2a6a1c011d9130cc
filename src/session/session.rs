//! One open session.
//!
//! Patches queue up in the order of the calls. While a commit is under way the next ones wait, and then go
//! together: one commit, several patches, each with a version of its own. What is queued is visible to reads at
//! once (the overlay) and vanishes from them if its commit fails.
//!
//! ```text
//!            enqueue                     step               finish(Ok)
//! caller ───────────────▶ queue ─────────────────▶ in flight ─────────▶ cache (owner's memory)
//!                          overlay shows its values     │ finish(Err)
//!                                                       ├─▶ rejected: overlay entry dropped, caller told
//!                                                       └─▶ in doubt: as rejected, and the records are read
//!                                                           from the storage until a later commit succeeds
//! ```
//!
//! *In doubt* is a commit whose answer never came: it may still be applied, even later. The caller is told so by a
//! `Timeout` or `Unavailable` error. Before the next commit the session asks the storage for its version
//! (`Step::Settle`); a commit that succeeds afterwards proves that the doubtful one can never be applied any more,
//! for both build on the same version.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cache::SessionCache;
use super::queue::Reply;
use super::state::State;
use crate::backend::{Fence, Head, Seen, SessionId};
use crate::error::{Error, Kind, Result};
use crate::observe::StoreMetrics;
use crate::record::{Patch, RecordKey, Sealer};
use crate::time;

/// One open session; shared by all its handles in the process.
pub struct Session {
    pub(super) id: SessionId,
    pub(super) fence: Fence,
    pub(super) sealer: Sealer,
    pub(super) cache: SessionCache,
    /// Until when, on [`time::monotonic_millis`], memory may be trusted without asking the storage; [`time::NEVER`] if for ever.
    pub(super) lease_until: AtomicU64,
    /// Whether the lease is being given back, or was.
    pub(super) given_back: AtomicBool,
    pub(super) context: SessionContext,
    pub(super) state: Mutex<State>,
    pub(super) progress: Notify,
}

/// What a session needs of the vault that it is in.
pub(super) struct SessionContext {
    /// How long a patch may wait for the ones before it.
    pub timeout: Duration,
    /// Told once when the storage takes the session away.
    pub on_lost: OnLost,
    /// Where it is counted.
    pub metrics: &'static StoreMetrics,
}

/// See [`SessionContext`].
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
        context: SessionContext,
    ) -> Self {
        context.metrics.open_sessions.rise();
        Self {
            id,
            fence,
            sealer,
            cache: SessionCache::new(),
            lease_until: AtomicU64::new(0),
            given_back: AtomicBool::new(false),
            context,
            progress: Notify::new(),
            state: Mutex::new(State::new(head, ttl)),
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
        self.state.lock().head()
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
    pub fn terminal_error(&self) -> Option<Error> {
        self.state.lock().terminal_error().cloned()
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(super) fn trust_until(&self, instant: u64) {
        self.lease_until.store(instant, Ordering::Release);
    }

    /// Whether nobody else can have become the owner, by this process' own clock.
    pub fn is_trusted(&self) -> bool {
        time::monotonic_millis() < self.lease_until.load(Ordering::Acquire)
    }

    /// Whether ownership runs out unless it is renewed.
    pub(super) fn lease_expires(&self) -> bool {
        self.lease_until.load(Ordering::Acquire) != time::NEVER
    }

    pub(super) fn set_ttl(&self, ttl: Option<Duration>) {
        self.state.lock().set_ttl(ttl);
    }

    /// The storage began at `instant` to count the time to live anew.
    pub(super) fn refreshed(&self, instant: u64) {
        self.state.lock().refreshed(instant);
    }

    /// The session's time to live, if it must be touched now lest it ends while it is in use.
    pub(super) fn wants_touch(&self) -> Option<Duration> {
        self.state.lock().ttl_to_refresh()
    }

    /// Whether the outcome of an earlier commit is not known yet.
    pub(super) fn in_doubt(&self) -> bool {
        self.state.lock().is_in_doubt()
    }

    pub(super) fn metrics(&self) -> &'static StoreMetrics {
        self.context.metrics
    }

    /// Queues `patch`; `reply` is given once its outcome is known, maybe before this returns. With `expected`, the
    /// patch fails with `VersionMismatch` unless the session stands at that version when its turn comes.
    /// Returns whether the session must be handed to the committer.
    #[must_use]
    pub(super) fn enqueue(&self, patch: Patch, expected: Option<u64>, reply: Reply) -> bool {
        let pushed = self
            .state
            .lock()
            .push(patch, expected, self.context.timeout, reply);
        pushed.unwrap_or_else(|(error, reply)| {
            reply.give(Err(error.in_session(&self.id)));
            false
        })
    }

    /// Answers from memory if it can: what is queued, then, for an owner whose lease stands, what is remembered.
    pub fn lookup(&self, keys: &[RecordKey]) -> Result<Lookup> {
        let state = self.state.lock();
        state.ensure_usable()?;
        let remembers = self.is_trusted();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match self.known(&state, key, remembers) {
                Some(value) => found.push(value),
                None => return Ok(Lookup::Unknown),
            }
        }
        drop(state);
        self.context.metrics.cache_hits.add(keys.len());
        Ok(Lookup::Found(found))
    }

    fn known(&self, state: &State, key: &RecordKey, remembers: bool) -> Option<Option<Bytes>> {
        if let Some(queued) = state.queued(key) {
            return Some(queued.clone());
        }
        if remembers { self.cache.get(key) } else { None }
    }

    /// What memory knows of each of `keys`, and the version at which that was.
    pub(super) fn recall(&self, keys: &[RecordKey]) -> (Vec<Option<Option<Bytes>>>, u64) {
        let state = self.state.lock();
        let remembers = self.is_trusted();
        (
            keys.iter()
                .map(|key| self.known(&state, key, remembers))
                .collect(),
            state.head().version,
        )
    }

    /// Takes in records read from the storage since the session stood at `version`. What was queued or committed
    /// meanwhile wins over what was read.
    pub(super) fn learn(&self, version: u64, read: &mut [(RecordKey, Option<Bytes>)]) -> Result<()> {
        let state = self.state.lock();
        state.ensure_usable()?;
        let owner = matches!(self.fence, Fence::Owner(_));
        // A commit that ended since may have changed a record after it was read.
        let current = owner && state.head().version == version;
        // Such a commit also proves that nobody else was the owner meanwhile; without one, memory counts for no
        // more than the lease does.
        let remembers = owner && (!current || self.is_trusted());
        for (key, value) in read {
            if let Some(newer) = self.known(&state, key, remembers) {
                *value = newer;
            } else if current && !state.is_doubtful(key) {
                self.cache.put(key, value.clone());
            }
        }
        Ok(())
    }

    pub(super) fn remember(&self, key: &RecordKey, value: Option<Bytes>) {
        self.cache.put(key, value);
    }

    /// The storage took the session away.
    pub(super) fn lose(&self, reason: &Error) {
        if self.terminate(reason) {
            (self.context.on_lost)(self, reason);
        }
    }

    /// [`Session::lose`], although it was refused before for another reason, which turned out to be wrong.
    pub(super) fn lose_instead(&self, reason: &Error) {
        self.state.lock().replace_terminal_error(reason.clone());
        (self.context.on_lost)(self, reason);
    }

    /// [`Session::lose`] after a panic: a commit under way may have gone down with it, and nobody waits for it.
    pub(super) fn abandon(&self, defect: &Error) {
        self.state.lock().abandon();
        self.lose(defect);
    }

    /// Fails if the session takes nothing any more.
    pub(super) fn ensure_usable(&self) -> Result<()> {
        self.state.lock().ensure_usable()
    }

    /// Takes nothing any more; what waits fails with `reason` too. `false` if it had ended before.
    pub(super) fn terminate(&self, reason: &Error) -> bool {
        let termination = self.state.lock().terminate(reason.clone());
        self.cache.clear();
        self.progress.notify_waiters();
        for reply in termination.dropped {
            reply.give(Err(reason.clone()));
        }
        termination.first
    }

    /// Waits until every patch queued before this call has its outcome.
    pub async fn flush(&self) {
        let last = self.state.lock().last_seq();
        self.wait(|state| state.has_settled(last)).await;
    }

    /// Waits until every commit that is in flight has its outcome.
    pub(super) async fn quiesce(&self) {
        let begun = self.state.lock().batches_begun();
        self.wait(|state| state.has_ended(begun)).await;
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
        self.context.metrics.open_sessions.fall();
    }
}
