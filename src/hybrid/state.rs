//! What the store's parts share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::LAYER;
use super::cache::Cache;
use super::config::HybridConfig;
use super::copies::Copies;
use super::dead_letters::DeadLetters;
use super::drain::Drain;
use super::guarded_primary::GuardedPrimary;
use super::lease_checks::LeaseChecks;
use super::primary::Primary;
use super::queue::Queue;
use super::sessions::Sessions;
use super::stats::Counters;
use super::watched_cache::WatchedCache;
use crate::backend::store_closed;
use crate::error::Result;
use crate::resilience::Breaker;

pub(super) struct Core {
    pub config: HybridConfig,
    pub primary: Arc<GuardedPrimary>,
    pub cache: Arc<WatchedCache>,
    pub sessions: Sessions,
    pub drain: Drain,
    pub copies: Arc<Copies>,
    pub dead_letters: Arc<DeadLetters>,
    pub queue: Option<Arc<dyn Queue>>,
    pub counters: Arc<Counters>,
    /// Wakes the reconciler.
    pub wake: Arc<Notify>,
    pub lease_checks: LeaseChecks,
    closed: AtomicBool,
}

impl Core {
    pub fn new(
        config: HybridConfig,
        primary: Arc<dyn Primary>,
        cache: Arc<dyn Cache>,
        breaker: Arc<Breaker>,
        queue: Option<Arc<dyn Queue>>,
    ) -> Self {
        let wake = Arc::<Notify>::default();
        let counters = Arc::<Counters>::default();
        let primary = Arc::new(GuardedPrimary::new(primary, breaker));
        let cache = WatchedCache::new(cache, wake.clone());
        let dead_letters = DeadLetters::new(primary.clone(), cache.clone(), counters.clone());
        let dead_letters = Arc::new(dead_letters);
        let copies = Copies::new(primary.clone(), cache.clone(), config.clone());
        Self {
            drain: Drain::new(
                primary.clone(),
                cache.clone(),
                counters.clone(),
                dead_letters.clone(),
            ),
            copies: Arc::new(copies),
            config,
            primary,
            cache,
            sessions: Sessions::default(),
            dead_letters,
            queue,
            counters,
            wake,
            lease_checks: LeaseChecks::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(store_closed(LAYER));
        }
        Ok(())
    }

    /// Refuses what comes from now on; whether that was so already.
    pub fn begin_close(&self) -> bool {
        self.closed.swap(true, Ordering::AcqRel)
    }
}
