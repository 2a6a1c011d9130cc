//! Removes records of incarnations that are no more.
//!
//! Most are named in their session's document until they are gone. Others must be looked for: the TTL index reaps the session's document alone, and a stale owner
//! may write records after its incarnation was removed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};

use super::connection::Connection;
use super::documents::{end_of, epoch_prefix, parse_owner_of, random, range};
use crate::error::Result;

/// How often every process looks, give or take a half.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Sweeps from time to time, until the store is closed or dropped.
pub(super) async fn sweep_now_and_then(collector: Weak<Collector>) {
    loop {
        let half = EVERY / 2;
        let spread = Duration::from_secs(random() % EVERY.as_secs());
        tokio::time::sleep(half + spread).await;
        let Some(collector) = collector.upgrade() else {
            return;
        };
        if collector.connection.ensure_open().is_err() {
            return;
        }
        // What fails now is found again the next time.
        let _ = collector.sweep().await;
    }
}

/// Removes records and chunks that are nobody's.
pub(super) struct Collector {
    pub connection: Arc<Connection>,
}

impl Collector {
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

    /// Looks at every incarnation that has records or chunks, and removes those of no session; how many documents.
    pub(super) async fn sweep(&self) -> Result<u64> {
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
