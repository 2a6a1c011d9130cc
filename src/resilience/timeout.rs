//! Bounds every call. A commit that runs out of time may have been applied: that is what [`Kind::Timeout`] says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;

use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page, Renewal, Seen,
    SessionId, Token, renewal_limit,
};
use crate::error::{Error, Kind, Result};
use crate::observe::{self, StoreMetrics};
use crate::record::{KeyId, RecordKey};
use crate::time::millis;

/// See the module.
pub struct Timeout {
    inner: Arc<dyn Backend>,
    limits: TimeLimits,
    metrics: &'static StoreMetrics,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// One try of a call that is tried again.
    pub attempt: Duration,
    /// A call that is tried once only, or asks its storage several things one after the other, each of which the
    /// storage bounds by itself.
    pub operation: Duration,
}

impl Timeout {
    /// Bounds the calls of `inner`.
    pub fn new(inner: Arc<dyn Backend>, limits: TimeLimits) -> Self {
        let metrics = observe::of(inner.name());
        Self {
            inner,
            limits,
            metrics,
        }
    }

    async fn attempt<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.bounded(self.limits.attempt, call).await
    }

    async fn bounded<T>(&self, limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        self.metrics.timeouts.increment();
        Error::new(
            Kind::Timeout,
            self.inner.name(),
            "the storage did not answer in time",
        )
        .with("limitMs", millis(limit))
    }
}

#[async_trait]
impl Backend for Timeout {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn commit_policy(&self) -> CommitPolicy {
        self.inner.commit_policy()
    }

    fn part_of(&self, session: &SessionId) -> usize {
        self.inner.part_of(session)
    }

    async fn ping(&self) -> Result<()> {
        self.attempt(self.inner.ping()).await
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        self.bounded(self.limits.operation, self.inner.acquire(request))
            .await
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.attempt(self.inner.check_leases(leases)).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let limit = renewal_limit(lease);
        match timeout(limit, self.inner.renew(leases, lease)).await {
            Ok(answers) => answers,
            Err(_) => vec![Err(self.timed_out(limit)); leases.len()],
        }
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.attempt(self.inner.release(session, token)).await
    }

    async fn notes(&self, session: &SessionId) -> Result<Vec<String>> {
        self.attempt(self.inner.notes(session)).await
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        self.bounded(self.limits.operation, self.inner.holder(session))
            .await
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        self.bounded(self.limits.operation, self.inner.key_seen(key, now))
            .await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        self.attempt(self.inner.clock()).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.attempt(self.inner.head(session)).await
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.attempt(self.inner.read(session, keys, seen)).await
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.attempt(self.inner.scan(session, kind, cursor, limit, seen))
            .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let (limit, count) = (self.limits.attempt, commits.len());
        match timeout(limit, self.inner.commit(commits)).await {
            Ok(answers) => answers,
            Err(_) => vec![Err(self.timed_out(limit)); count],
        }
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.bounded(self.limits.operation, self.inner.delete(session, fence))
            .await
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.attempt(self.inner.touch(session, fence, ttl)).await
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.attempt(self.inner.list(cursor, limit)).await
    }

    async fn close(&self) -> Result<()> {
        self.bounded(self.limits.operation, self.inner.close()).await
    }
}
