//! Giving leases back.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_postgres::types::Type;

use super::conflicts::Conflicts;
use super::connection::{Connection, Parameter};
use super::dial::column;
use super::errors::corrupt;
use super::ids::long;
use super::statements::verdict;
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// Gives leases back, at once or later.
pub(super) struct Releaser {
    connection: Arc<Connection>,
    /// Leases that could not be given back, and may name a lease of this process, which lives on.
    unreleased: Mutex<Vec<(SessionId, Token)>>,
}

impl Releaser {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            unreleased: Mutex::default(),
        }
    }

    /// Whether some could not be given back before.
    pub fn is_late(&self) -> bool {
        !self.unreleased.lock().is_empty()
    }

    /// Gives the lease back. What fails is done by the next renewal: the lease may name that of this process, which
    /// would hold it for as long as the process lives.
    pub(super) async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        let released = self.try_release(session, token).await;
        if released.is_err() {
            self.unreleased.lock().push((session.clone(), token));
        }
        released
    }

    /// Gives back what could not be given back before.
    pub(super) async fn release_late(&self) -> Result<()> {
        let late = std::mem::take(&mut *self.unreleased.lock());
        let mut left = late.into_iter();
        while let Some((session, token)) = left.next() {
            if let Err(error) = self.try_release(&session, token).await {
                self.unreleased
                    .lock()
                    .extend(std::iter::once((session, token)).chain(left));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn try_release(&self, session: &SessionId, token: Token) -> Result<()> {
        let (id, token) = (session.as_bytes(), long(token));
        let parameters: [Parameter<'_>; 2] = [(&id, Type::BYTEA), (&token, Type::INT8)];
        let mut conflicts = Conflicts::until(self.connection.deadline());
        loop {
            let statement = &self.connection.statements.release;
            let rows = self.connection.ask(statement, &parameters).await?;
            let row = rows
                .first()
                .ok_or_else(|| corrupt("a release was not answered"))?;
            if column::<i32>(row, 0)? != verdict::BUSY {
                return Ok(());
            }
            conflicts.pause().await?;
        }
    }
}
