//! The primary store behind its circuit breaker, which nobody passes unnamed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::primary::Primary;
use super::{LAYER, entry};
use crate::backend::batcher::{self, BatchSink, Waiting};
use crate::backend::{Commit, Head, Renewal, SessionId, Token, keeping};
use crate::error::{Error, Kind, Result};
use crate::record::Change;
use crate::resilience::Breaker;

/// See the module.
pub(super) struct GuardedPrimary {
    primary: Arc<dyn Primary>,
    breaker: Arc<Breaker>,
    batches: Arc<Batches>,
    closed: Arc<AtomicBool>,
}

impl GuardedPrimary {
    pub fn new(primary: Arc<dyn Primary>, breaker: Arc<Breaker>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let (pinged, over) = (Arc::downgrade(&primary), closed.clone());
        breaker.ping_with(Box::new(move || {
            let primary = pinged.upgrade().filter(|_| !over.load(Ordering::Acquire))?;
            Some(async move { primary.ping().await }.boxed())
        }));
        Self {
            batches: Arc::new(Batches {
                primary: primary.clone(),
                waiting: Mutex::default(),
            }),
            primary,
            breaker,
            closed,
        }
    }

    /// The `layer` of its errors.
    pub fn name(&self) -> &'static str {
        self.primary.name()
    }

    /// Makes a call, unless the breaker is open.
    pub async fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a dyn Primary) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.breaker.call(call(&*self.primary)).await
    }

    /// Makes a call whatever the breaker says; it is told how that ended.
    pub async fn call_unguarded<'a, T, F>(&'a self, call: impl FnOnce(&'a dyn Primary) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.breaker.call_always(call(&*self.primary)).await
    }

    /// Commits, together with other sessions' commits that wait, unless the breaker is open.
    pub async fn commit(&self, commit: Commit) -> Result<Head> {
        self.breaker.call(self.commit_in_batch(commit)).await
    }

    /// The same whatever the breaker says.
    pub async fn commit_unguarded(&self, commit: Commit) -> Result<Head> {
        self.breaker.call_always(self.commit_in_batch(commit)).await
    }

    async fn commit_in_batch(&self, commit: Commit) -> Result<Head> {
        let missing = || {
            let text = "the primary store left a commit unanswered";
            Err(Error::new(Kind::Internal, LAYER, text))
        };
        let deadline = Instant::now() + self.primary.operation_timeout();
        let mut answers = batcher::send(&self.batches, vec![commit], deadline).await;
        answers.pop().unwrap_or_else(missing)
    }

    /// Renews in any state of the breaker: a lease that is not renewed is a session lost.
    pub async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let permit = self.breaker.allow_always();
        let answers = self.primary.renew(leases, lease).await;
        permit.record_renewals(&answers);
        answers
    }

    /// Does `work` for a session that was just taken, and renews its lease meanwhile.
    pub async fn keeping<T>(
        &self,
        session: &SessionId,
        token: Token,
        lease: Duration,
        work: impl Future<Output = T>,
    ) -> T {
        // What the session held is compared by who opens it.
        let leases = [Renewal {
            session: session.clone(),
            token,
            version: 0,
        }];
        let (primary, leases) = (&self.primary, &leases);
        let renew = move || async move { drop(primary.renew(leases, lease).await) };
        keeping(lease, renew, work).await
    }

    /// Refuses changes that the primary could not store.
    pub fn check_changes(&self, changes: &[Change]) -> Result<()> {
        self.primary.check_changes(changes)
    }

    /// Fails while calls are refused.
    pub fn ensure_closed_circuit(&self) -> Result<()> {
        if self.breaker.is_open() {
            return Err(self.breaker.refusal());
        }
        Ok(())
    }

    pub async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.primary.close().await
    }
}

/// Takes commits of many sessions to the primary in one call.
struct Batches {
    primary: Arc<dyn Primary>,
    waiting: Mutex<Waiting<Self>>,
}

impl BatchSink for Batches {
    type Item = Commit;
    type Answer = Result<Head>;

    const IN_FLIGHT: usize = 8;
    const MOST_ITEMS: usize = 64;
    const MOST_BYTES: usize = 4 << 20;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    fn may_share_a_call(_: &Commit, _: &Commit) -> bool {
        true
    }

    fn bytes(commit: &Commit) -> usize {
        entry::size_of(&commit.changes)
    }

    /// Bounded by the primary's own time limit.
    async fn send_batch(&self, commits: &[&Commit], _: Instant) -> Vec<Result<Head>> {
        let commits = commits.iter().map(|&commit| commit.clone()).collect();
        self.primary.commit(commits).await
    }

    fn timed_out() -> Result<Head> {
        let text = "too many commits waited for the primary store";
        Err(Error::new(Kind::Timeout, LAYER, text))
    }

    fn interrupted() -> Result<Head> {
        Err(Error::new(Kind::Unavailable, LAYER, "the commit was interrupted"))
    }
}
