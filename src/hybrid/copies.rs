//! Fills the cache's copies in the background, from the primary. What fails is read from the primary.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::Revision;
use super::config::HybridConfig;
use super::guarded_primary::GuardedPrimary;
use super::slot::Slot;
use super::watched_cache::WatchedCache;
use crate::backend::Seen;
use crate::error::Result;
use crate::record::RecordKey;
use crate::runtime;

/// A session of up to so many records is copied whole when it is opened.
const WHOLE: usize = 1000;

/// See the module.
pub(super) struct Copies {
    primary: Arc<GuardedPrimary>,
    cache: Arc<WatchedCache>,
    config: HybridConfig,
}

impl Copies {
    pub fn new(primary: Arc<GuardedPrimary>, cache: Arc<WatchedCache>, config: HybridConfig) -> Self {
        Self {
            primary,
            cache,
            config,
        }
    }

    /// Copies a session that is not too large.
    pub fn start_copying(self: &Arc<Self>, slot: &Arc<Slot>) {
        if slot.revision().version == 0 {
            return;
        }
        let (copies, slot) = (self.clone(), slot.clone());
        runtime::spawn(async move {
            let _ = copies.copy(&slot).await;
        });
    }

    async fn copy(&self, slot: &Slot) -> Result<()> {
        let session = &slot.session;
        let before = self.cache.call(|cache| cache.read(session, &[])).await?;
        let revision = slot.revision();
        if (before.complete && before.revision == Some(revision)) || slot.has_pending() {
            return Ok(());
        }
        let scan = self
            .primary
            .call(|primary| primary.scan(session, None, None, WHOLE, Seen::NOTHING));
        let page = scan.await?;
        if slot.revision() == revision && slot.is_ready() {
            let ttl = self.config.copy_ttl(slot.ttl());
            let complete = page.next.is_none();
            self.cache
                .call(|cache| cache.warm(session, revision, &page.items, complete, ttl))
                .await?;
        }
        Ok(())
    }

    /// Adds what was read from the primary at `revision`.
    pub fn start_warming(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        revision: Revision,
        records: Vec<(RecordKey, Bytes)>,
    ) {
        let (copies, slot) = (self.clone(), slot.clone());
        runtime::spawn(async move {
            let ttl = copies.config.copy_ttl(slot.ttl());
            let warmed = copies
                .cache
                .call(|cache| cache.warm(&slot.session, revision, &records, false, ttl));
            let _ = warmed.await;
        });
    }
}
