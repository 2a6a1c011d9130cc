//! Metrics of this process, for people and for Prometheus.
//!
//! - [`StoreMetrics`]: counters of one kind of store; recording is one atomic addition.
//! - [`text`]: all of them in the text format of Prometheus.
//!
//! Metrics are kept per kind of store, never per session: names of sessions are often telephone numbers.

mod histogram;
pub mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use histogram::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; every call follows a [`Gauge::rise`].
    pub fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Metrics of all stores of one kind in this process, since it started.
#[derive(Debug)]
pub struct StoreMetrics {
    /// Commits that the storage acknowledged.
    pub commits: Counter,
    /// Commits that failed, retries included.
    pub commit_failures: Counter,
    /// Patches in the acknowledged commits.
    pub patches: Counter,
    /// Reads that went to the storage.
    pub reads: Counter,
    /// Records answered from the owner's memory.
    pub cache_hits: Counter,
    /// Records that had to be read from the storage.
    pub cache_misses: Counter,
    /// Calls sent to the storage again.
    pub retries: Counter,
    /// Calls given up for want of an answer.
    pub timeouts: Counter,
    /// How often a circuit breaker opened.
    pub breaker_opens: Counter,
    /// Calls that an open circuit breaker refused.
    pub breaker_rejects: Counter,
    /// Sessions taken away by another owner or lost by the storage.
    pub leases_lost: Counter,
    /// Leases that a renewal in turn did not renew; the next one tries again.
    pub renewal_failures: Counter,
    /// Sessions open now.
    pub open_sessions: Gauge,
    /// How long commits took, from the first try to the answer.
    pub commit_duration: Histogram,
    /// How long after it was due a renewal of leases was answered.
    pub renewal_lag: Histogram,
}

impl StoreMetrics {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            commits: Counter::new(),
            commit_failures: Counter::new(),
            patches: Counter::new(),
            reads: Counter::new(),
            cache_hits: Counter::new(),
            cache_misses: Counter::new(),
            retries: Counter::new(),
            timeouts: Counter::new(),
            breaker_opens: Counter::new(),
            breaker_rejects: Counter::new(),
            leases_lost: Counter::new(),
            renewal_failures: Counter::new(),
            open_sessions: Gauge::new(),
            commit_duration: Histogram::new(),
            renewal_lag: Histogram::new(),
        }
    }

    /// One commit of `patches` patches was acknowledged, `took` after it was handed over.
    pub fn committed(&self, patches: u32, took: Duration) {
        self.commits.increment();
        self.patches.add(patches as usize);
        self.commit_duration.record(took);
    }

    /// A renewal of leases was answered so long after it was due, and left out so many of them.
    pub fn renewed(&self, lag: Duration, failed: usize) {
        self.renewal_lag.record(lag);
        self.renewal_failures.add(failed);
    }

    /// The counters as JSON, for the statistics of a store.
    pub fn to_json(&self) -> serde_json::Value {
        let counters = self.counters();
        counters
            .iter()
            .map(|counter| (counter.json.to_owned(), serde_json::Value::from(counter.value)))
            .collect()
    }

    fn counters(&self) -> [Row; 12] {
        let row = |name, json, help, counter: &Counter| Row {
            name,
            json,
            help,
            value: counter.get(),
        };
        [
            row(
                "commits_total",
                "commits",
                "Commits that the storage acknowledged.",
                &self.commits,
            ),
            row(
                "commit_failures_total",
                "commitFailures",
                "Commits that failed.",
                &self.commit_failures,
            ),
            row(
                "patches_total",
                "patches",
                "Patches in the acknowledged commits.",
                &self.patches,
            ),
            row(
                "reads_total",
                "reads",
                "Reads that went to the storage.",
                &self.reads,
            ),
            row(
                "cache_hits_total",
                "cacheHits",
                "Records answered from memory.",
                &self.cache_hits,
            ),
            row(
                "cache_misses_total",
                "cacheMisses",
                "Records that had to be read from the storage.",
                &self.cache_misses,
            ),
            row(
                "retries_total",
                "retries",
                "Calls sent to the storage again.",
                &self.retries,
            ),
            row(
                "timeouts_total",
                "timeouts",
                "Calls given up for want of an answer.",
                &self.timeouts,
            ),
            row(
                "breaker_opens_total",
                "breakerOpens",
                "How often a breaker opened.",
                &self.breaker_opens,
            ),
            row(
                "breaker_rejects_total",
                "breakerRejects",
                "Calls that an open breaker refused.",
                &self.breaker_rejects,
            ),
            row(
                "leases_lost_total",
                "leasesLost",
                "Sessions taken away by another owner or lost by the storage.",
                &self.leases_lost,
            ),
            row(
                "lease_renewal_failures_total",
                "leaseRenewalFailures",
                "Leases that a renewal did not renew; the next one tries again.",
                &self.renewal_failures,
            ),
        ]
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

struct Row {
    name: &'static str,
    json: &'static str,
    help: &'static str,
    value: u64,
}

const STORES: [&str; 5] = ["embedded", "redis", "mongodb", "postgres", "hybrid"];

static METRICS: [StoreMetrics; STORES.len()] = [const { StoreMetrics::new() }; STORES.len()];

/// Counts for backends of any other name; shown nowhere.
static UNNAMED: StoreMetrics = StoreMetrics::new();

/// The metrics of the stores whose backend has this name.
pub fn of(store: &str) -> &'static StoreMetrics {
    let at = STORES.iter().position(|name| *name == store);
    at.map_or(&UNNAMED, |at| &METRICS[at])
}
