//! Beginning, keeping alive and deleting.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::LAYER;
use super::conflicts::Conflicts;
use super::connection::{Connection, Parameter};
use super::dial::column;
use super::errors::corrupt;
use super::ids::{check_session, long, unsigned};
use super::metadata::beside_an_outbox;
use super::statements::verdict;
use crate::backend::{Fence, SessionId, fenced};
use crate::error::Result;
use crate::time::signed_millis;

/// Begins and ends sessions, and keeps them alive.
pub(super) struct Lifetime {
    pub connection: Arc<Connection>,
}

impl Lifetime {
    /// Makes a row for a session that nobody owns.
    pub(super) async fn make(&self, session: &SessionId) -> Result<()> {
        let id = session.as_bytes();
        let statement = &self.connection.statements.make;
        self.connection
            .ask(statement, &[(&id, Type::BYTEA)])
            .await
            .map(drop)
    }

    /// Removes what is left of a session whose time is over.
    pub(super) async fn purge(&self, session: &SessionId) -> Result<()> {
        let ids = vec![session.as_bytes()];
        self.purge_all(&ids, Duration::ZERO).await.map(drop)
    }

    /// The same for those of many whose time was over for so long; how many there were.
    pub(super) async fn purge_all(&self, ids: &[&[u8]], over_for: Duration) -> Result<u64> {
        let over_for = signed_millis(over_for);
        let parameters: [Parameter<'_>; 2] = [(&ids, Type::BYTEA_ARRAY), (&over_for, Type::INT8)];
        let rows = self
            .connection
            .ask(&self.connection.statements.purge, &parameters)
            .await?;
        rows.first().map_or(Ok(0), |row| column(row, 0).map(unsigned))
    }

    pub(super) async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        check_session(session)?;
        let mut conflicts = Conflicts::until(self.connection.deadline());
        while let Some(seen) = self.stands(session).await? {
            if let Some(existed) = self.bury(session, fence, seen).await? {
                return Ok(existed);
            }
            conflicts.pause().await?;
        }
        Ok(false)
    }

    /// The version and the commit id that the session's row says, whatever its time to live is.
    pub(super) async fn stands(&self, session: &SessionId) -> Result<Option<(i64, i64)>> {
        let id = session.as_bytes();
        let statement = &self.connection.statements.stands;
        let rows = self.connection.ask(statement, &[(&id, Type::BYTEA)]).await?;
        let stands = |row| Ok((column(row, 0)?, column(row, 1)?));
        rows.first().map(stands).transpose()
    }

    /// Deletes the session that was `seen`, and says whether there was one; `None` if it is not as it was seen.
    pub(super) async fn bury(
        &self,
        session: &SessionId,
        fence: Fence,
        (version, commit_id): (i64, i64),
    ) -> Result<Option<bool>> {
        let (id, token) = (session.as_bytes(), token_of(fence));
        let parameters: [Parameter<'_>; 4] = [
            (&id, Type::BYTEA),
            (&token, Type::INT8),
            (&version, Type::INT8),
            (&commit_id, Type::INT8),
        ];
        self.decide(&self.connection.statements.delete, &parameters).await
    }

    pub(super) async fn touch(
        &self,
        session: &SessionId,
        fence: Fence,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        check_session(session)?;
        let (id, token, ttl) = (session.as_bytes(), token_of(fence), ttl.map(signed_millis));
        let parameters: [Parameter<'_>; 3] = [(&id, Type::BYTEA), (&token, Type::INT8), (&ttl, Type::INT8)];
        let mut conflicts = Conflicts::until(self.connection.deadline());
        loop {
            let statement = &self.connection.statements.touch;
            if let Some(existed) = self.decide(statement, &parameters).await? {
                return Ok(existed);
            }
            conflicts.pause().await?;
        }
    }

    /// Sends a statement that answers with a verdict, the current token, and whether there was a session; `None` if it
    /// met another writer.
    async fn decide(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Option<bool>> {
        let rows = self.connection.ask(statement, parameters).await?;
        let row = rows
            .first()
            .ok_or_else(|| corrupt("a statement was not answered"))?;
        match column::<i32>(row, 0)? {
            verdict::DONE => column(row, 2).map(Some),
            verdict::NONE => Ok(Some(false)),
            verdict::FENCED => {
                let current = column::<Option<i64>>(row, 1)?;
                Err(fenced(LAYER, current.map(unsigned)))
            }
            verdict::OUTBOX => Err(beside_an_outbox()),
            verdict::BUSY | verdict::MOVED => Ok(None),
            _ => Err(corrupt("a statement has an unknown verdict")),
        }
    }
}

fn token_of(fence: Fence) -> Option<i64> {
    match fence {
        Fence::Owner(token) => Some(long(token)),
        Fence::Shared => None,
    }
}
