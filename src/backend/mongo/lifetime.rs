//! Deleting and keeping alive.
//!
//! A delete turns the session's document into a tombstone with a new incarnation, in one update: from then on its
//! records are nobody's. Removing them is housekeeping, finished by whoever comes next.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::LAYER;
use super::clock::Now;
use super::conflicts::Conflicts;
use super::connection::Connection;
use super::documents::{SessionDoc, long, new_epoch, tombstone_update};
use super::metadata::beside_an_outbox;
use super::slots::{Known, Slots};
use super::sweep::Collector;
use crate::backend::{Fence, SessionId, fenced};
use crate::error::Result;

/// Ends sessions, and keeps them alive.
pub(super) struct Lifetime {
    pub connection: Arc<Connection>,
    pub slots: Arc<Slots>,
    pub collector: Arc<Collector>,
}

impl Lifetime {
    pub(super) async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        let Some(garbage) = self.write_tombstone(session, fence).await? else {
            return Ok(false);
        };
        self.collector.collect(session, &garbage.epochs).await?;
        Ok(garbage.existed)
    }

    /// Makes the session one that does not exist; what is left of it to remove, `None` for nothing.
    pub(super) async fn write_tombstone(&self, session: &SessionId, fence: Fence) -> Result<Option<Garbage>> {
        let slot = self.slots.get(session);
        let mut known = match &slot {
            Some(slot) => Some(slot.known.lock().await),
            None => None,
        };
        let mut conflicts = Conflicts::for_at_most(self.connection.timeout);
        loop {
            let Some(found) = self.connection.session(session).await? else {
                return Ok(None);
            };
            check(fence, &found)?;
            if found.outbox.is_some() {
                return Err(beside_an_outbox());
            }
            if found.version == 0 {
                // Deleted before, but perhaps not to the end: then this finishes it, and says so.
                let epochs = found.garbage;
                return Ok((!epochs.is_empty()).then_some(Garbage {
                    existed: true,
                    epochs,
                }));
            }
            let now = self.connection.now().await?;
            let epoch = new_epoch();
            if let Some(known) = &mut known {
                **known = None;
            }
            if self.bury(session, fence, &found, &epoch, now).await? {
                if let (Some(slot), Some(known)) = (&slot, &mut known) {
                    **known = Some(Known {
                        epoch: epoch.clone(),
                        version: 0,
                    });
                    slot.deleted(&epoch);
                    // Its records would come after the removal and stay.
                    slot.settle().await;
                }
                let existed = found.exists(now.earliest);
                let epochs = found.garbage.into_iter().chain([found.epoch]).collect();
                return Ok(Some(Garbage { existed, epochs }));
            }
            conflicts.pause().await?;
        }
    }

    /// Makes a tombstone of the session that was `found`, which lets the incarnation `epoch` begin. `false` if it is not
    /// as it was found: should this arrive late, it must not take what was written since.
    pub(super) async fn bury(
        &self,
        session: &SessionId,
        fence: Fence,
        found: &SessionDoc,
        epoch: &str,
        now: Now,
    ) -> Result<bool> {
        let mut filter = guard(session, fence);
        filter.insert("epoch", &*found.epoch);
        filter.insert("version", long(found.version));
        filter.insert("outbox", Bson::Null);
        let update = tombstone_update(&found.epoch, epoch, now);
        self.connection.update_session(filter, update).await
    }

    pub(super) async fn touch(
        &self,
        session: &SessionId,
        fence: Fence,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        let now = self.connection.now().await?;
        let mut filter = guard(session, fence);
        filter.insert("version", doc! { "$gt": 0_i64 });
        filter.insert(
            "$or",
            vec![
                doc! { "expiresAt": null },
                doc! { "expiresAt": { "$gt": now.earliest } },
            ],
        );
        let expires_at = ttl.map(|ttl| now.plus(ttl));
        let update = if let Some(at) = expires_at {
            doc! { "$set": { "expiresAt": at } }
        } else {
            doc! { "$unset": { "expiresAt": "" } }
        };
        if self.connection.update_session(filter, update).await? {
            if let Some(slot) = self.slots.get(session) {
                slot.lives_until(expires_at);
            }
            return Ok(true);
        }
        if let Some(found) = self.connection.session(session).await? {
            check(fence, &found)?;
        }
        Ok(false)
    }
}

/// What a delete leaves to be removed.
pub(super) struct Garbage {
    /// Whether there was a session.
    pub existed: bool,
    pub epochs: Vec<Arc<str>>,
}

fn guard(session: &str, fence: Fence) -> Document {
    match fence {
        Fence::Owner(token) => doc! { "_id": session, "token": long(token) },
        Fence::Shared => doc! { "_id": session, "outbox": Bson::Null },
    }
}

fn check(fence: Fence, found: &SessionDoc) -> Result<()> {
    match fence {
        Fence::Owner(token) if token != found.token => Err(fenced(LAYER, Some(found.token))),
        Fence::Shared if found.outbox.is_some() => Err(beside_an_outbox()),
        _ => Ok(()),
    }
}
