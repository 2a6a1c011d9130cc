//! Joins the rooms of this backend to the trait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::doc;

use super::MongoConfig;
use super::connection::Connection;
use super::lease::Outboxes;
use super::outbox::beside_an_outbox;
use super::state::Core;
use super::sweep::sweep_now_and_then;
use crate::backend::{
    Acquire, AcquireOutcome, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Page, Renewal,
    Seen, SessionId, Token,
};
use crate::error::Result;
use crate::record::RecordKey;
use crate::runtime;

/// Sessions in `MongoDB`. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct MongoBackend(pub(super) Arc<Core>);

impl MongoBackend {
    /// Connects and makes the indexes. To be called on the runtime that will carry the calls: one client per URL
    /// and runtime is shared by the whole process.
    pub async fn connect(config: &MongoConfig) -> Result<Self> {
        let unseen = if config.accept_lost_outbox {
            Outboxes::GivenUp
        } else {
            Outboxes::Respected
        };
        let core = Arc::new(Core::new(Connection::open(config).await?, unseen));
        runtime::spawn(sweep_now_and_then(Arc::downgrade(&core)));
        Ok(Self(core))
    }

    /// The longest wait for one command.
    pub fn operation_timeout(&self) -> Duration {
        self.0.connection.timeout
    }

    /// Removes records left behind by sessions that are no more; how many documents. Done by itself some times a
    /// day.
    pub async fn sweep(&self) -> Result<u64> {
        self.0.open()?;
        self.0.sweep().await
    }
}

#[async_trait]
impl Backend for MongoBackend {
    fn name(&self) -> &'static str {
        super::LAYER
    }

    /// A command carries many sessions, and ends when the slowest of them does.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy {
            sessions: 64,
            in_flight: 8,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.0.open()?;
        self.0.connection.run(doc! { "ping": 1 }).await.map(drop)
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let session = request.session.clone();
        let answer = self.0.acquire(request, self.0.unseen).await;
        match answer.map_err(|error| error.in_session(&session))? {
            AcquireOutcome::Granted(grant, _) => Ok(Acquired::Granted(grant)),
            AcquireOutcome::Held(holder) => Ok(Acquired::Held(holder)),
            AcquireOutcome::Outbox(_) => Err(beside_an_outbox()
                .with("option", "acceptLostOutbox")
                .in_session(&session)),
        }
    }

    async fn held(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.0.held(leases).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let leases = leases
            .iter()
            .map(|renewal| (renewal.session.clone(), renewal.token));
        self.0.renew(&leases.collect::<Vec<_>>(), lease).await
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.0
            .release(session, token)
            .await
            .map_err(|error| error.in_session(session))
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
        let (answers, touched) = self.0.commit_points(commits).await;
        self.0.start_applying(touched);
        answers
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
        let _ = self.0.release_late().await;
        self.0.shut();
        // Not needed for safety: what is pending stands in the sessions' documents.
        let slots = self.0.all_slots();
        self.0.start_applying(slots.iter().cloned());
        let settle = futures_util::future::join_all(slots.iter().map(|slot| slot.settle()));
        let _ = tokio::time::timeout(self.0.connection.timeout, settle).await;
        Ok(())
    }
}
