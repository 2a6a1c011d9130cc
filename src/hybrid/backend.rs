//! Joins the rooms to the trait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::LAYER;
use super::cache::Cache;
use super::config::HybridConfig;
use super::primaries::PrimaryConfig;
use super::primary::Primary;
use super::queue::Queue;
use super::reconciler;
use super::redis::RedisCache;
use super::state::Core;
use super::stats::{HybridMetrics, OutboxStats};
use crate::backend::redis::RedisConfig;
use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, DeadLetter, Fence, Head, Holder, Page, Renewal,
    Seen, SessionId, Token,
};
use crate::error::{Kind, Result};
use crate::record::{KeyId, RecordKey};
use crate::resilience::Breaker;
use crate::runtime;

/// Sessions in a primary store with Redis in front of it. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct HybridBackend(pub(super) Arc<Core>);

impl HybridBackend {
    /// Connects to the primary, with `breaker` in front of it; to Redis when it is first used. To be called on the runtime that will carry the calls.
    pub async fn connect(
        redis: &RedisConfig,
        primary: &PrimaryConfig,
        config: HybridConfig,
        breaker: Arc<Breaker>,
        queue: Option<Arc<dyn Queue>>,
    ) -> Result<Self> {
        config.validate()?;
        redis.validate()?;
        let (primary, installation) = primary.connect(config.uses_outbox()).await?;
        let cache = RedisCache::new(redis, &installation)?;
        Ok(Self::join(config, primary, Arc::new(cache), breaker, queue))
    }

    /// Begins to work with a primary and a cache, whichever those are.
    fn join(
        config: HybridConfig,
        primary: Arc<dyn Primary>,
        cache: Arc<dyn Cache>,
        breaker: Arc<Breaker>,
        queue: Option<Arc<dyn Queue>>,
    ) -> Self {
        let core = Arc::new(Core::new(config, primary, cache, breaker, queue));
        runtime::spawn(reconciler::run(Arc::downgrade(&core), reconciler::jitter));
        if core.config.uses_outbox() {
            runtime::spawn(reconciler::adopt_now_and_then(Arc::downgrade(&core)));
        }
        Self(core)
    }

    /// Whether an outbox is used at all.
    pub fn has_outbox(&self) -> bool {
        self.0.config.uses_outbox()
    }

    /// The outboxes of this process' sessions.
    pub fn outbox_stats(&self) -> OutboxStats {
        self.0.counters.stats()
    }

    /// The read and write path since the store was opened.
    pub fn metrics(&self) -> HybridMetrics {
        self.0.counters.metrics()
    }

    /// Commits that were acknowledged and can never be applied, of all processes; the oldest first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.0.ensure_open()?;
        self.0.dead_letters.all().await
    }

    /// Brings everything pending to MongoDB now: this process' own commits, and the outboxes of owners that died.
    /// Answers with how many of those there were.
    pub async fn reconcile(&self) -> Result<usize> {
        self.0.ensure_open()?;
        self.0.flush_all().await?;
        self.0.adopt_abandoned().await
    }

    /// Whether Redis answered when it was last asked.
    pub fn redis_is_reachable(&self) -> bool {
        self.0.cache.is_there()
    }

    /// What an operator should know about Redis, one sentence each; more if it holds an outbox. That Redis is away is no
    /// error where it is only a cache, but that its options are wrong is.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        self.0.ensure_open()?;
        let holds_outbox = self.0.config.uses_outbox();
        let warnings = self.0.cache.call_unwatched(|cache| cache.warnings(holds_outbox));
        let mut warnings = match warnings.await {
            Err(error) if !holds_outbox && error.kind() != Kind::Config => Vec::new(),
            answer => answer?,
        };
        warnings.extend(self.0.primary.call(Primary::warnings).await?);
        Ok(warnings)
    }
}

#[async_trait]
impl Backend for HybridBackend {
    fn name(&self) -> &'static str {
        LAYER
    }

    /// Each commit takes its own way through the two servers.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy {
            sessions: 1,
            in_flight: 256,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.0.ensure_open()?;
        self.0.primary.call_unguarded(Backend::ping).await
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let session = request.session.clone();
        self.0
            .acquire(request)
            .await
            .map_err(|error| error.in_session(&session))
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.0.check_leases(leases).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        self.0.renew(leases, lease).await
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.0
            .release(session, token)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        self.0.ensure_open()?;
        let holder = self.0.primary.call(|primary| primary.holder(session));
        holder.await.map_err(|error| error.in_session(session))
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        self.0.ensure_open()?;
        self.0.primary.call(|primary| primary.key_seen(key, now)).await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        self.0.ensure_open()?;
        self.0.primary.call(Backend::clock).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.0
            .head(session)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], _seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.0
            .read(session, keys)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        _seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.0
            .scan(session, kind, cursor, limit)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        join_all(commits.into_iter().map(|commit| self.0.commit_one(commit))).await
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.0
            .delete(session, fence)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.0
            .touch(session, fence, ttl)
            .await
            .map_err(|error| error.in_session(session))
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.0.list(cursor, limit).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
