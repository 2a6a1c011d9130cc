//! PostgreSQL as the primary store.

use std::time::Duration;

use async_trait::async_trait;

use super::primary::Primary;
use crate::backend::postgres::PostgresBackend;
use crate::backend::{Acquire, AcquireOutcome, DeadLetter, OutboxOpened, SessionId, SessionMetadata, Token};
use crate::error::Result;
use crate::record::Change;

#[async_trait]
impl Primary for PostgresBackend {
    fn operation_timeout(&self) -> Duration {
        self.operation_timeout()
    }

    fn check_changes(&self, changes: &[Change]) -> Result<()> {
        Self::check_changes(changes)
    }

    async fn acquire_checking_outbox(
        &self,
        request: Acquire,
        ready_for: Option<Token>,
    ) -> Result<AcquireOutcome> {
        self.acquire_checking_outbox(request, ready_for).await
    }

    async fn metadata(&self, session: &SessionId) -> Result<Option<SessionMetadata>> {
        self.metadata(session).await
    }

    async fn open_outbox(
        &self,
        session: &SessionId,
        token: Token,
        begins: (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> Result<OutboxOpened> {
        self.open_outbox(session, token, begins, inherited).await
    }

    async fn close_outbox(
        &self,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        self.close_outbox(session, token, inherited).await
    }

    async fn abandoned_outboxes(&self) -> Result<Vec<SessionId>> {
        self.abandoned_outboxes().await
    }

    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        self.push_dead_letter(letter).await
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.dead_letters().await
    }

    async fn warnings(&self) -> Result<Vec<String>> {
        self.warnings().await
    }
}
