//! Removes records whose session is no more: the TTL index reaps the session's document alone, and a stale owner
//! may write records after its incarnation was removed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};

use super::documents::{end_of, epoch_prefix, parse_owner_of, random, range};
use super::state::Core;
use crate::error::Result;

/// How often every process looks, give or take a half.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Sweeps from time to time, until the store is dropped.
pub(super) async fn sweep_now_and_then(core: Weak<Core>) {
    loop {
        let half = EVERY / 2;
        let spread = Duration::from_secs(random() % EVERY.as_secs());
        tokio::time::sleep(half + spread).await;
        let Some(core) = core.upgrade() else { return };
        if core.open().is_err() {
            return;
        }
        // What fails now is found again the next time.
        let _ = core.sweep().await;
    }
}

impl Core {
    /// Looks at every incarnation that has records or chunks, and removes those of no session; how many documents.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<u64> {
        let records = self.sweep_collection(&self.connection.records).await?;
        let chunks = self.sweep_collection(&self.connection.staged).await?;
        Ok(records + chunks)
    }

    async fn sweep_collection(&self, collection: &Collection<Document>) -> Result<u64> {
        let mut removed = 0;
        let mut from = String::new();
        loop {
            let filter = doc! { "_id": { "$gte": &from } };
            let found = self
                .connection
                .find(collection, filter, Some(doc! { "_id": 1 }), 1)
                .await?;
            let Some(id) = found.first().and_then(|found| found.get_str("_id").ok()) else {
                return Ok(removed);
            };
            let Some((session, epoch)) = parse_owner_of(id) else {
                // Not ours; step over it.
                from = format!("{id}\0");
                continue;
            };
            let prefix = epoch_prefix(&session, epoch);
            if !self.is_current(&session, epoch).await? {
                removed += self
                    .connection
                    .remove(collection, doc! { "_id": range(&prefix) })
                    .await?;
            }
            from = end_of(&prefix);
        }
    }

    /// Whether the session's document is of this incarnation. Asked by a write that changes nothing: a deposed
    /// primary cannot answer it. An incarnation is in the document before it has any record, and never comes back.
    async fn is_current(&self, session: &str, epoch: &str) -> Result<bool> {
        let filter = doc! { "_id": session, "epoch": epoch };
        let nothing = doc! { "$max": { "token": 0_i64 } };
        self.connection.update_session(filter, nothing).await
    }
}
