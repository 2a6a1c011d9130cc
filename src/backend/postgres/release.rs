//! Giving leases back.

use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::batches::{Given, Releases};
use super::conflicts::Conflicts;
use super::connection::Connection;
use super::errors::corrupt;
use crate::backend::batcher;
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// Gives leases back, at once or later.
pub(super) struct Releaser {
    releases: Arc<Releases>,
    /// Leases that could not be given back, and may name a lease of this process, which lives on.
    unreleased: Mutex<Vec<(SessionId, Token)>>,
}

impl Releaser {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            releases: Arc::new(Releases::new(connection)),
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
        let tries = late.into_iter().map(async |(session, token)| {
            let released = self.try_release(&session, token).await;
            released.map_err(|error| ((session, token), error))
        });
        let mut outcome = Ok(());
        for failed in join_all(tries)
            .await
            .into_iter()
            .filter_map(std::result::Result::err)
        {
            self.unreleased.lock().push(failed.0);
            outcome = Err(failed.1);
        }
        outcome
    }

    async fn try_release(&self, session: &SessionId, token: Token) -> Result<()> {
        let mut conflicts = Conflicts::until(self.releases.connection.deadline());
        loop {
            let given = Given {
                session: session.clone(),
                token,
            };
            let mut answers = batcher::send(&self.releases, vec![given], conflicts.deadline).await;
            match answers.pop() {
                Some(Ok(false)) => return Ok(()),
                Some(Ok(true)) => conflicts.pause().await?,
                Some(Err(error)) => return Err(error),
                None => return Err(corrupt("a release was not answered")),
            }
        }
    }
}
