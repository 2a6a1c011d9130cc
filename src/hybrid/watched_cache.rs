//! The cache, and whether it is there: once a call found that it is not, one task looks for it and nobody else waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::LAYER;
use super::cache::Cache;
use crate::error::{Error, Kind, Result};
use crate::runtime;

/// How often a cache that went away is looked for.
const PROBE: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct WatchedCache {
    cache: Arc<dyn Cache>,
    away: AtomicBool,
    /// What the cache last failed with.
    failure: Mutex<Option<Error>>,
    /// Told when the cache is back.
    back: Arc<Notify>,
    closed: AtomicBool,
    me: Weak<Self>,
}

impl WatchedCache {
    pub fn new(cache: Arc<dyn Cache>, back: Arc<Notify>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            cache,
            away: AtomicBool::new(false),
            failure: Mutex::default(),
            back,
            closed: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    /// Whether the cache answered when it was last asked.
    pub fn is_there(&self) -> bool {
        !self.away.load(Ordering::Acquire)
    }

    /// Makes a call, unless the cache is away.
    pub async fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a dyn Cache) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if !self.is_there() {
            let error = Error::new(Kind::Unavailable, LAYER, "Redis cannot be reached");
            return Err(match &*self.failure.lock() {
                Some(failure) => error.because(failure),
                None => error,
            });
        }
        let answer = call(&*self.cache).await;
        if let Err(error) = &answer
            && matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
            && !error.is_of_part()
        {
            *self.failure.lock() = Some(error.clone());
            if !self.away.swap(true, Ordering::AcqRel) {
                runtime::spawn(look_for(self.me.clone()));
            }
        }
        answer
    }

    /// Makes a call although the cache may be away: somebody wants to hear it from the server itself.
    pub async fn call_unwatched<'a, T, F>(&'a self, call: impl FnOnce(&'a dyn Cache) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        call(&*self.cache).await
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.cache.close();
    }
}

async fn look_for(watched: Weak<WatchedCache>) {
    loop {
        tokio::time::sleep(PROBE).await;
        let Some(watched) = watched.upgrade() else { return };
        if watched.closed.load(Ordering::Acquire) {
            return;
        }
        if watched.cache.ping().await.is_ok() {
            watched.away.store(false, Ordering::Release);
            watched.back.notify_one();
            return;
        }
    }
}
