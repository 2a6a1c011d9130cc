//! What the outside sees of the outbox.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::time::unix_millis;

/// The outboxes of this process' sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxStats {
    /// Commits acknowledged that MongoDB does not have yet.
    pub pending: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// Attempts to bring some to MongoDB.
    pub total_processed: u64,
    /// Commits that MongoDB has taken.
    pub total_completed: u64,
    /// Commits that can never be applied.
    pub total_failed: u64,
    /// Attempts that failed and are made again.
    pub total_retried: u64,
    /// From acknowledgement to MongoDB, on average.
    pub average_latency: Duration,
    /// When the last attempt was, in ms since the Unix epoch; 0 for never.
    pub last_run_at: u64,
    /// Dead letters found by this process.
    pub dead_letters: u64,
}

/// The read and write path of this process, beyond what owners answer from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HybridMetrics {
    /// Reads that Redis answered whole.
    pub redis_hits: u64,
    /// Reads that it did not, or was not asked for.
    pub redis_misses: u64,
    /// Reads that MongoDB answered.
    pub mongo_fallbacks: u64,
    /// Jobs that a queue took.
    pub queue_publishes: u64,
    /// Jobs that a queue did not take.
    pub queue_failures: u64,
    /// Commits that MongoDB took before they were acknowledged.
    pub direct_writes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub pending: AtomicUsize,
    pub pending_bytes: AtomicUsize,
    pub processed: AtomicU64,
    pub completed: AtomicU64,
    pub retried: AtomicU64,
    pub redis_hits: AtomicU64,
    pub redis_misses: AtomicU64,
    pub mongo_fallbacks: AtomicU64,
    pub queue_publishes: AtomicU64,
    pub queue_failures: AtomicU64,
    pub direct_writes: AtomicU64,
    failed: AtomicU64,
    latency_micros: AtomicU64,
    last_run_at: AtomicU64,
}

impl Counters {
    pub fn ran(&self) {
        self.processed.fetch_add(1, Ordering::Relaxed);
        self.last_run_at.store(unix_millis(), Ordering::Relaxed);
    }

    pub fn completed(&self, since: Instant) {
        self.completed.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// So many can never be applied.
    pub fn failed(&self, commits: usize) {
        self.failed.fetch_add(commits as u64, Ordering::Relaxed);
    }

    pub fn added(&self, bytes: usize) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn removed(&self, bytes: usize) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn stats(&self) -> OutboxStats {
        let completed = self.completed.load(Ordering::Relaxed);
        let latency = self.latency_micros.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        OutboxStats {
            pending: self.pending.load(Ordering::Relaxed),
            pending_bytes: self.pending_bytes.load(Ordering::Relaxed),
            total_processed: self.processed.load(Ordering::Relaxed),
            total_completed: completed,
            total_failed: failed,
            total_retried: self.retried.load(Ordering::Relaxed),
            average_latency: Duration::from_micros(latency.checked_div(completed).unwrap_or(0)),
            last_run_at: self.last_run_at.load(Ordering::Relaxed),
            dead_letters: failed,
        }
    }

    pub fn metrics(&self) -> HybridMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HybridMetrics {
            redis_hits: of(&self.redis_hits),
            redis_misses: of(&self.redis_misses),
            mongo_fallbacks: of(&self.mongo_fallbacks),
            queue_publishes: of(&self.queue_publishes),
            queue_failures: of(&self.queue_failures),
            direct_writes: of(&self.direct_writes),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
