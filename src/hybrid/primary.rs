//! The primary store: it has a session's commit point and its lease. What it has is never lost; what stands in an outbox
//! in front of it is written down in its ledger.

use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{
    Acquire, AcquireOutcome, Backend, DeadLetter, OutboxOpened, SessionId, SessionMetadata, Token,
};
use crate::error::Result;
use crate::record::Change;

/// A backend that can stand behind an outbox.
#[async_trait]
pub trait Primary: Backend {
    /// The longest wait for one call.
    fn operation_timeout(&self) -> Duration;

    /// Refuses changes that it could not store, so that an outbox does not promise them.
    fn check_changes(&self, changes: &[Change]) -> Result<()>;

    /// As [`Backend::acquire`], but of a session whose last owner may have left something in an outbox only if that
    /// owner is `ready_for`.
    async fn acquire_checking_outbox(
        &self,
        request: Acquire,
        ready_for: Option<Token>,
    ) -> Result<AcquireOutcome>;

    /// What is written down of a session; `None` if nothing is.
    async fn metadata(&self, session: &SessionId) -> Result<Option<SessionMetadata>>;

    /// Writes down that the owner with `token` uses an outbox that begins at this version and commit id, and what it
    /// inherited. From then on nobody else changes the session.
    async fn open_outbox(
        &self,
        session: &SessionId,
        token: Token,
        begins: (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> Result<OutboxOpened>;

    /// Writes down that the outbox of the owner with `token` is empty and not used; `false` if it is not the owner
    /// any more.
    async fn close_outbox(
        &self,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool>;

    /// Sessions whose outbox may hold something and whose owner's lease ran out.
    async fn abandoned_outboxes(&self) -> Result<Vec<SessionId>>;

    /// Keeps a patch that can never be applied for an operator; the same one is kept once.
    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()>;

    /// Those patches.
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>>;

    /// What an operator should know about the server's settings, one sentence each.
    async fn warnings(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
