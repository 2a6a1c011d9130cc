//! Deleting and keeping alive.
//!
//! A delete turns the session's document into a tombstone with a new incarnation, in one update: from then on its
//! records are nobody's. Removing them is housekeeping, finished by whoever comes next.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::LAYER;
use super::apply::backoff;
use super::commit::{fenced, tombstone_update};
use super::documents::{SessionDoc, epoch_prefix, long, new_epoch, range};
use super::outbox::beside_an_outbox;
use super::state::{Core, Known};
use crate::backend::{Fence, SessionId};
use crate::error::{Error, Kind, Result};

impl Core {
    pub(super) async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.open()?;
        let Some(garbage) = self.entomb(session, fence).await? else {
            return Ok(false);
        };
        self.collect(session, &garbage.epochs).await?;
        Ok(garbage.existed)
    }

    /// Makes the session one that does not exist; what is left of it to remove, `None` for nothing.
    pub(super) async fn entomb(&self, session: &SessionId, fence: Fence) -> Result<Option<Garbage>> {
        let slot = self.known_slot(session);
        let mut known = match &slot {
            Some(slot) => Some(slot.known.lock().await),
            None => None,
        };
        let deadline = tokio::time::Instant::now() + self.connection.timeout;
        let mut attempt = 0;
        loop {
            let Some(found) = self.session(session).await? else {
                return Ok(None);
            };
            check(fence, &found)?;
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
            let mut filter = guard(session, fence);
            filter.insert("epoch", &*found.epoch);
            if let Some(known) = &mut known {
                **known = None;
            }
            let update = tombstone_update(&found.epoch, &epoch, now);
            if self.connection.update_session(filter, update).await? {
                if let (Some(slot), Some(known)) = (&slot, &mut known) {
                    **known = Some(Known {
                        epoch: epoch.clone(),
                        version: 0,
                    });
                    slot.buried(&epoch);
                    // Its records would come after the removal and stay.
                    slot.settle().await;
                }
                let existed = found.exists(now.earliest);
                let epochs = found.garbage.into_iter().chain([found.epoch]).collect();
                return Ok(Some(Garbage { existed, epochs }));
            }
            if tokio::time::Instant::now() >= deadline {
                let message = "gave up after repeated write conflicts";
                return Err(Error::new(Kind::Unavailable, LAYER, message));
            }
            backoff(attempt).await;
            attempt += 1;
        }
    }

    /// Removes the records and chunks of incarnations that are no more.
    pub(super) async fn collect(&self, session: &str, epochs: &[Arc<str>]) -> Result<()> {
        for epoch in epochs {
            let gone = doc! { "_id": range(&epoch_prefix(session, epoch)) };
            self.connection
                .remove(&self.connection.records, gone.clone())
                .await?;
            self.connection.remove(&self.connection.staged, gone).await?;
            let forget = doc! { "$pull": { "garbage": &**epoch } };
            self.connection
                .update_session(doc! { "_id": session }, forget)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn touch(
        &self,
        session: &SessionId,
        fence: Fence,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        self.open()?;
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
            if let Some(slot) = self.known_slot(session) {
                slot.lives_until(expires_at);
            }
            return Ok(true);
        }
        if let Some(found) = self.session(session).await? {
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
        Fence::Owner(token) if token != found.token => Err(fenced(found.token)),
        Fence::Shared if found.outbox.is_some() => Err(beside_an_outbox()),
        _ => Ok(()),
    }
}
