//! Implements `Backend` by delegating to the other modules.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::PostgresConfig;
use super::acquire::Acquirer;
use super::batches::Takes;
use super::commit::Committer;
use super::connection::Connection;
use super::dial::column;
use super::errors::corrupt;
use super::facts;
use super::holders::Holders;
use super::ids::unsigned;
use super::lifetime::Lifetime;
use super::metadata::{Outboxes, beside_an_outbox};
use super::read::Reader;
use super::release::Releaser;
use super::renew::Renewer;
use super::sweep::{Sweeper, sweep_now_and_then};
use crate::backend::{
    Acquire, AcquireOutcome, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page,
    Renewal, Seen, SessionId, Token,
};
use crate::error::{Error, Kind, Result};
use crate::record::{KeyId, RecordKey};
use crate::runtime;

/// Sessions in PostgreSQL. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PostgresBackend(pub(super) Arc<Parts>);

/// What the backend is made of. Each part has its own state, and asks the others.
pub(super) struct Parts {
    pub connection: Arc<Connection>,
    pub committer: Committer,
    pub reader: Reader,
    pub lifetime: Arc<Lifetime>,
    pub holders: Arc<Holders>,
    pub releaser: Arc<Releaser>,
    pub renewer: Arc<Renewer>,
    pub acquirer: Acquirer,
    pub sweeper: Arc<Sweeper>,
    /// What whoever opens a session does about an outbox that it cannot see.
    unseen: Outboxes,
}

impl PostgresBackend {
    /// Connects, and makes the tables if they are missing. To be called on the runtime that will carry the calls.
    pub async fn connect(config: &PostgresConfig) -> Result<Self> {
        let unseen = if config.accept_lost_outbox {
            Outboxes::GivenUp
        } else {
            Outboxes::Respected
        };
        let connection = Arc::new(Connection::open(config).await?);
        let lifetime = Arc::new(Lifetime {
            connection: connection.clone(),
        });
        let holders = Arc::new(Holders::new(connection.clone()));
        let releaser = Arc::new(Releaser::new(connection.clone()));
        let renewer = Arc::new(Renewer::new(connection.clone(), releaser.clone()));
        let sweeper = Arc::new(Sweeper {
            connection: connection.clone(),
            lifetime: lifetime.clone(),
        });
        runtime::spawn(sweep_now_and_then(Arc::downgrade(&sweeper)));
        Ok(Self(Arc::new(Parts {
            committer: Committer {
                connection: connection.clone(),
                lifetime: lifetime.clone(),
            },
            reader: Reader {
                connection: connection.clone(),
            },
            acquirer: Acquirer {
                takes: Arc::new(Takes::new(connection.clone())),
                holders: holders.clone(),
                renewer: renewer.clone(),
            },
            connection,
            lifetime,
            holders,
            releaser,
            renewer,
            sweeper,
            unseen,
        })))
    }

    /// What an operator should know about the server's settings, one sentence each.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        self.0.connection.warnings().await
    }

    /// Refuses to be behind an outbox whose entries go when this database has them: what is not on disk yet may be lost
    /// after they are gone.
    pub async fn check_behind_an_outbox(&self) -> Result<()> {
        if self.0.connection.is_durable().await? {
            return Ok(());
        }
        let message =
            "an outbox needs synchronous_commit on, and fsync: a crash may take back what it gave up";
        Err(Error::new(Kind::Config, super::LAYER, message))
    }

    /// The longest wait for one statement.
    pub fn operation_timeout(&self) -> Duration {
        self.0.connection.timeout
    }

    /// Removes what has been over for so long; how many sessions ended. Done by itself some times a day, with a day.
    pub async fn sweep(&self, over_for: Duration) -> Result<u64> {
        self.0.sweeper.sweep(over_for).await
    }
}

/// Names the session in what goes wrong.
async fn about<T>(session: &SessionId, answer: impl Future<Output = Result<T>>) -> Result<T> {
    answer.await.map_err(|error| error.in_session(session))
}

#[async_trait]
impl Backend for PostgresBackend {
    fn name(&self) -> &'static str {
        super::LAYER
    }

    /// A statement carries many sessions. While one is on its way to each connection, one more waits behind it.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy {
            sessions: 256,
            in_flight: 2 * self.0.connection.commit_lanes(),
        }
    }

    async fn ping(&self) -> Result<()> {
        self.0.connection.ask("SELECT 1", &[]).await.map(drop)
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let acquired = Box::pin(self.0.acquirer.acquire(&request, self.0.unseen));
        match about(&request.session, acquired).await? {
            AcquireOutcome::Granted(grant, _) => Ok(Acquired::Granted(grant)),
            AcquireOutcome::Held(holder) => Ok(Acquired::Held(holder)),
            AcquireOutcome::Outbox(_) => Err(beside_an_outbox()
                .with("option", "acceptLostOutbox")
                .in_session(&request.session)),
        }
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.0.holders.check_leases(leases).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        self.0.renewer.renew(leases, lease).await
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.0.renewer.forget(session, token);
        about(session, self.0.releaser.release(session, token)).await
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        about(session, self.0.holders.standing(session)).await
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        facts::key_seen(&self.0.connection, key, now).await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        let clock = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::int8";
        let rows = self.0.connection.ask(clock, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| corrupt("the clock was not answered"))?;
        Ok(Some(unsigned(column(row, 0)?)))
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        about(session, self.0.reader.head(session)).await
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>> {
        about(session, self.0.reader.read(session, keys, seen)).await
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        about(session, self.0.reader.scan(session, kind, cursor, limit, seen)).await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        Box::pin(self.0.committer.commit(commits)).await
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        about(session, self.0.lifetime.delete(session, fence)).await
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        about(session, self.0.lifetime.touch(session, fence, ttl)).await
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.0.reader.list(cursor, limit).await
    }

    async fn close(&self) -> Result<()> {
        let _ = self.0.releaser.release_late().await;
        self.0.renewer.close().await;
        self.0.connection.close();
        Ok(())
    }
}
