//! Giving leases back.

use std::collections::HashSet;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;

use super::apply::Applier;
use super::connection::Connection;
use super::documents::long;
use super::slots::{Known, Slots};
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// Leases given back by one command.
const RELEASED_AT_ONCE: usize = 100;

/// Gives leases back, at once or later.
pub(super) struct Releaser {
    connection: Arc<Connection>,
    slots: Arc<Slots>,
    applier: Arc<Applier>,
    /// Leases that could not be given back, and may name a lease of this process, which lives on.
    unreleased: Mutex<Vec<(SessionId, Token)>>,
}

impl Releaser {
    pub fn new(connection: Arc<Connection>, slots: Arc<Slots>, applier: Arc<Applier>) -> Self {
        Self {
            connection,
            slots,
            applier,
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
        let late = self.unreleased.lock().clone();
        for some in late.chunks(RELEASED_AT_ONCE) {
            let statements = some.iter().map(|(session, token)| {
                doc! { "q": { "_id": &**session, "token": long(*token) }, "u": free() }
            });
            let statements = statements.collect();
            let sessions = &self.connection.sessions;
            let updated = self.connection.update_each(sessions, statements).await?;
            let refused = |at| updated.refused.iter().any(|(refused, _)| *refused == at);
            let done: HashSet<_> = (0..some.len())
                .filter(|at| !refused(*at))
                .map(|at| &some[at])
                .collect();
            self.unreleased.lock().retain(|lease| !done.contains(lease));
        }
        Ok(())
    }

    async fn try_release(&self, session: &SessionId, token: Token) -> Result<()> {
        let Some(slot) = self.slots.get(session) else {
            return self.give_back(session, token, None).await;
        };
        let known = slot.known.lock().await;
        // The next owner need not do what can be done here; what fails is left to it.
        self.applier.start([slot.clone()]);
        slot.settle().await;
        let applied = known.as_ref().filter(|_| slot.queued() == 0);
        self.give_back(session, token, applied).await?;
        drop(known);
        self.slots.remove(session);
        Ok(())
    }

    /// Gives a lease back; if the session stands at `applied`, all its patches are applied and need not be kept.
    pub(super) async fn give_back(&self, session: &str, token: Token, applied: Option<&Known>) -> Result<()> {
        let filter = doc! { "_id": session, "token": long(token) };
        if let Some(known) = applied {
            let mut filter = filter.clone();
            filter.insert("epoch", &*known.epoch);
            filter.insert("version", long(known.version));
            let mut update = free();
            update.insert("$set", doc! { "pending": [] });
            if self.connection.update_session(filter, update).await? {
                return Ok(());
            }
        }
        self.connection.update_session(filter, free()).await.map(drop)
    }
}

fn free() -> Document {
    doc! { "$unset": { "owner": "", "leaseUntil": "", "leaseLasts": "", "lease": "" } }
}
