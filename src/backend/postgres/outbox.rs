//! Reading and writing what stands in a session's row of an outbox elsewhere.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio_postgres::types::Type;

use super::conflicts::Conflicts;
use super::connection::Parameter;
use super::dial::column;
use super::errors::corrupt;
use super::ids::{check_size, long, session_of, unsigned};
use super::metadata::{Outboxes, metadata};
use super::statements::verdict;
use super::{PostgresBackend, facts};
use crate::backend::{Acquire, AcquireOutcome, OutboxOpened, SessionId, SessionMetadata, Token};
use crate::error::Result;
use crate::record::Change;

/// Numbers what this process says of outboxes, so that of two statements of one owner the later one counts, in whichever
/// order they arrive.
pub(super) static STEP: AtomicI64 = AtomicI64::new(1);

impl PostgresBackend {
    /// What is written down of the session; `None` if it has no row.
    pub async fn metadata(&self, session: &SessionId) -> Result<Option<SessionMetadata>> {
        let connection = &self.0.connection;
        let id = session.as_bytes();
        let rows = connection
            .ask(&connection.statements.metadata, &[(&id, Type::BYTEA)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let found = metadata(
            unsigned(column(row, 0)?),
            column(row, 1)?,
            (column(row, 2)?, column(row, 3)?),
            column(row, 4)?,
            (column(row, 5)?, &column::<Vec<i64>>(row, 6)?),
            column(row, 7)?,
        );
        found.map(Some)
    }

    /// As [`Backend::acquire`](crate::backend::Backend::acquire), but of a session whose last owner may have left
    /// something in an outbox only if that owner is `ready_for`.
    pub async fn acquire_checking_outbox(
        &self,
        request: Acquire,
        ready_for: Option<Token>,
    ) -> Result<AcquireOutcome> {
        let acquired = self.0.acquirer.acquire(&request, Outboxes::ReadyFor(ready_for));
        Box::pin(acquired)
            .await
            .map_err(|error| error.in_session(&request.session))
    }

    /// Writes down that the owner with `token` uses an outbox that begins at `version` by commit `commit_id`, and
    /// what it inherited.
    pub async fn open_outbox(
        &self,
        session: &SessionId,
        token: Token,
        (version, commit_id): (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> Result<OutboxOpened> {
        let id = session.as_bytes();
        let begins = (long(token), long(version), long(commit_id));
        let (owner, had) = pair(inherited);
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let parameters: [Parameter<'_>; 7] = [
            (&id, Type::BYTEA),
            (&begins.0, Type::INT8),
            (&begins.1, Type::INT8),
            (&begins.2, Type::INT8),
            (&owner, Type::INT8),
            (&had, Type::INT8),
            (&step, Type::INT8),
        ];
        let statement = &self.0.connection.statements.open_outbox;
        match self.decide(statement, &parameters).await? {
            verdict::DONE => Ok(OutboxOpened::Yes),
            verdict::FENCED => Ok(OutboxOpened::Fenced),
            _ => Ok(OutboxOpened::Moved),
        }
    }

    /// Writes down that the outbox of the owner with `token` is empty and not used; `false` if it is not the owner
    /// any more.
    pub async fn close_outbox(
        &self,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        self.close_outbox_at(step, session, token, inherited).await
    }

    pub(super) async fn close_outbox_at(
        &self,
        step: i64,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        let (id, token) = (session.as_bytes(), long(token));
        let (owner, had) = pair(inherited);
        let parameters: [Parameter<'_>; 5] = [
            (&id, Type::BYTEA),
            (&token, Type::INT8),
            (&owner, Type::INT8),
            (&had, Type::INT8),
            (&step, Type::INT8),
        ];
        let statement = &self.0.connection.statements.close_outbox;
        Ok(self.decide(statement, &parameters).await? == verdict::DONE)
    }

    /// Sessions whose outbox may hold something and whose owner's lease ran out; the first thousand.
    pub async fn abandoned_outboxes(&self) -> Result<Vec<SessionId>> {
        let connection = &self.0.connection;
        let rows = connection.ask(&connection.statements.abandoned, &[]).await?;
        rows.iter().map(|row| session_of(column(row, 0)?)).collect()
    }

    /// Refuses changes that this backend could not store, so that they are not promised elsewhere.
    pub fn check_changes(changes: &[Change]) -> Result<()> {
        let bytes = |change: &Change| change.value.as_ref().map_or(0, bytes::Bytes::len);
        check_size(changes.iter().map(bytes).sum())
    }

    /// The name of this set of tables.
    pub async fn installation(&self) -> Result<String> {
        facts::installation(&self.0.connection).await
    }

    async fn decide(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<i32> {
        let connection = &self.0.connection;
        let mut conflicts = Conflicts::until(connection.deadline());
        loop {
            let rows = connection.ask(statement, parameters).await?;
            let row = rows
                .first()
                .ok_or_else(|| corrupt("a statement was not answered"))?;
            match column::<i32>(row, 0)? {
                verdict::BUSY => conflicts.pause().await?,
                other => return Ok(other),
            }
        }
    }
}

fn pair(owner: Option<(Token, u64)>) -> (Option<i64>, Option<i64>) {
    (
        owner.map(|(token, _)| long(token)),
        owner.map(|(_, version)| long(version)),
    )
}
