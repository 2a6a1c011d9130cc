//! A backend behind a [`Breaker`].
//!
//! Renewing and giving back leases and `ping` go through in every state: they are few, a lease that is not renewed
//! is a session lost, and their answers tell early that the storage is back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;

use super::breaker::Breaker;
use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page, Renewal, Seen,
    SessionId, Token,
};
use crate::error::Result;
use crate::record::{KeyId, RecordKey};

/// See the module.
pub struct Guarded {
    inner: Arc<dyn Backend>,
    breaker: Arc<Breaker>,
}

impl Guarded {
    /// Puts `breaker` before `inner`.
    pub fn new(inner: Arc<dyn Backend>, breaker: Arc<Breaker>) -> Self {
        let pinged = Arc::downgrade(&inner);
        breaker.ping_with(Box::new(move || {
            let inner = pinged.upgrade()?;
            Some(async move { inner.ping().await }.boxed())
        }));
        Self { inner, breaker }
    }
}

#[async_trait]
impl Backend for Guarded {
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
        self.breaker.call_always(self.inner.ping()).await
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let session = request.session.clone();
        self.breaker
            .call(self.inner.acquire(request))
            .await
            .map_err(|error| error.in_session(&session))
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.breaker.call(self.inner.check_leases(leases)).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let permit = self.breaker.allow_always();
        let answers = self.inner.renew(leases, lease).await;
        permit.record_renewals(&answers);
        answers
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.breaker.call_always(self.inner.release(session, token)).await
    }

    async fn notes(&self, session: &SessionId) -> Result<Vec<String>> {
        self.breaker
            .call(self.inner.notes(session))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        self.breaker
            .call(self.inner.holder(session))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        self.breaker.call(self.inner.key_seen(key, now)).await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        self.breaker.call(self.inner.clock()).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.breaker
            .call(self.inner.head(session))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.breaker
            .call(self.inner.read(session, keys, seen))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        let scan = self.inner.scan(session, kind, cursor, limit, seen);
        self.breaker
            .call(scan)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let permit = match self.breaker.allow() {
            Ok(permit) => permit,
            Err(open) => {
                return commits
                    .iter()
                    .map(|commit| Err(open.clone().in_session(&commit.session)))
                    .collect();
            }
        };
        let answers = self.inner.commit(commits).await;
        permit.record_many(&answers);
        answers
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.breaker
            .call(self.inner.delete(session, fence))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.breaker
            .call(self.inner.touch(session, fence, ttl))
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.breaker.call(self.inner.list(cursor, limit)).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
