//! Implements `Backend` by delegating to the other modules.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::doc;

use super::MongoConfig;
use super::acquire::Acquirer;
use super::apply::Applier;
use super::commit::Committer;
use super::connection::Connection;
use super::documents::millis;
use super::holders::Holders;
use super::key_ages;
use super::lifetime::Lifetime;
use super::metadata::{Outboxes, beside_an_outbox};
use super::read::Reader;
use super::release::Releaser;
use super::renew::Renewer;
use super::slots::Slots;
use super::staging::Staging;
use super::sweep::{Collector, sweep_now_and_then};
use crate::backend::{
    Acquire, AcquireOutcome, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page,
    Renewal, Seen, SessionId, Token,
};
use crate::error::Result;
use crate::record::{KeyId, RecordKey};
use crate::runtime;

/// Sessions in `MongoDB`. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct MongoBackend(pub(super) Arc<Parts>);

/// What the backend is made of. Each part has its own state, and asks the others.
pub(super) struct Parts {
    pub connection: Arc<Connection>,
    pub slots: Arc<Slots>,
    pub applier: Arc<Applier>,
    pub committer: Committer,
    pub reader: Arc<Reader>,
    pub holders: Arc<Holders>,
    pub releaser: Arc<Releaser>,
    pub renewer: Arc<Renewer>,
    pub collector: Arc<Collector>,
    pub lifetime: Lifetime,
    pub acquirer: Acquirer,
    /// What whoever opens a session does about an outbox that it cannot see.
    unseen: Outboxes,
}

impl Parts {
    fn new(connection: Connection, unseen: Outboxes) -> Self {
        let connection = Arc::new(connection);
        let slots = Arc::new(Slots::default());
        let staging = Arc::new(Staging {
            connection: connection.clone(),
        });
        let applier = Arc::new(Applier {
            connection: connection.clone(),
            staging: staging.clone(),
        });
        let committer = Committer {
            connection: connection.clone(),
            slots: slots.clone(),
            staging: staging.clone(),
            applier: applier.clone(),
        };
        let reader = Arc::new(Reader {
            connection: connection.clone(),
            slots: slots.clone(),
            staging: staging.clone(),
        });
        let holders = Arc::new(Holders::new(connection.clone()));
        let releaser = Arc::new(Releaser::new(connection.clone(), slots.clone(), applier.clone()));
        let renewer = Arc::new(Renewer::new(connection.clone(), slots.clone(), releaser.clone()));
        let collector = Arc::new(Collector {
            connection: connection.clone(),
        });
        let lifetime = Lifetime {
            connection: connection.clone(),
            slots: slots.clone(),
            collector: collector.clone(),
        };
        let acquirer = Acquirer {
            connection: connection.clone(),
            slots: slots.clone(),
            holders: holders.clone(),
            staging: staging.clone(),
            applier: applier.clone(),
            reader: reader.clone(),
            renewer: renewer.clone(),
            releaser: releaser.clone(),
            collector: collector.clone(),
        };
        Self {
            connection,
            slots,
            applier,
            committer,
            reader,
            holders,
            releaser,
            renewer,
            collector,
            lifetime,
            acquirer,
            unseen,
        }
    }
}

impl MongoBackend {
    /// Connects and makes the indexes. To be called on the runtime that will carry the calls: one client per URL
    /// and runtime is shared by the whole process.
    pub async fn connect(config: &MongoConfig) -> Result<Self> {
        let unseen = if config.accept_lost_outbox {
            Outboxes::GivenUp
        } else {
            Outboxes::Respected
        };
        let parts = Parts::new(Connection::open(config).await?, unseen);
        runtime::spawn(sweep_now_and_then(Arc::downgrade(&parts.collector)));
        Ok(Self(Arc::new(parts)))
    }

    /// The parts, unless the backend was closed.
    fn parts(&self) -> Result<&Parts> {
        self.0.connection.ensure_open()?;
        Ok(&self.0)
    }

    /// The longest wait for one command.
    pub fn operation_timeout(&self) -> Duration {
        self.0.connection.timeout
    }

    /// Removes records left behind by sessions that are no more; how many documents. Done by itself some times a
    /// day.
    pub async fn sweep(&self) -> Result<u64> {
        self.parts()?.collector.sweep().await
    }
}

/// Names the session in what goes wrong.
async fn about<T>(session: &SessionId, answer: impl Future<Output = Result<T>>) -> Result<T> {
    answer.await.map_err(|error| error.in_session(session))
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
        self.parts()?.connection.run(doc! { "ping": 1 }).await.map(drop)
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let session = request.session.clone();
        let answer = Box::pin(async {
            let parts = self.parts()?;
            parts.acquirer.acquire(request, parts.unseen).await
        });
        match about(&session, answer).await? {
            AcquireOutcome::Granted(grant, _) => Ok(Acquired::Granted(grant)),
            AcquireOutcome::Held(holder) => Ok(Acquired::Held(holder)),
            AcquireOutcome::Outbox(_) => Err(beside_an_outbox()
                .with("option", "acceptLostOutbox")
                .in_session(&session)),
        }
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.parts()?.holders.check_leases(leases).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        if let Err(closed) = self.parts() {
            let closed = |renewal: &Renewal| Err(closed.clone().in_session(&renewal.session));
            return leases.iter().map(closed).collect();
        }
        self.0.renewer.renew(leases, lease).await
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        about(session, async {
            self.parts()?.releaser.release(session, token).await
        })
        .await
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        about(session, async { self.parts()?.holders.standing(session).await }).await
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        key_ages::seen(&self.parts()?.connection, key, now).await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        let now = self.parts()?.connection.now().await?;
        Ok(Some(millis(now.server)))
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        about(session, async { self.parts()?.reader.head(session).await }).await
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], _seen: Seen) -> Result<Vec<Option<Bytes>>> {
        about(session, async { self.parts()?.reader.read(session, keys).await }).await
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        _seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        about(session, async {
            self.parts()?.reader.scan(session, kind, cursor, limit).await
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let (answers, touched) = self.0.committer.commit_points(commits).await;
        self.0.applier.start(touched);
        answers
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        about(session, async {
            self.parts()?.lifetime.delete(session, fence).await
        })
        .await
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        about(session, async {
            self.parts()?.lifetime.touch(session, fence, ttl).await
        })
        .await
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.parts()?.reader.list(cursor, limit).await
    }

    async fn close(&self) -> Result<()> {
        let _ = self.0.releaser.release_late().await;
        self.0.connection.begin_close();
        // Not needed for safety: what is pending stands in the sessions' documents.
        let slots = self.0.slots.all();
        self.0.applier.start(slots.iter().cloned());
        let settle = futures_util::future::join_all(slots.iter().map(|slot| slot.settle()));
        let _ = tokio::time::timeout(self.0.connection.timeout, settle).await;
        Ok(())
    }
}
