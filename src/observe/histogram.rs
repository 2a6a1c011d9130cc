//! How long things took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds, with how Prometheus is to see them in seconds. The smallest is a commit to a
/// Redis on the same machine, the largest what nobody waits for.
pub(super) const BOUNDS: [(u64, &str); 14] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

/// Counts durations by size.
#[derive(Debug)]
pub struct Histogram {
    /// The last one is for what is above every bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            micros: AtomicU64::new(0),
        }
    }

    /// Counts `took`.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many were at most as long as each bound, the last bound being infinity; and the sum of all.
    pub(crate) fn cumulative(&self) -> ([u64; BOUNDS.len() + 1], Duration) {
        let mut sum = 0;
        let counts = std::array::from_fn(|at| {
            sum += self.buckets[at].load(Ordering::Relaxed);
            sum
        });
        (counts, Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_bucket() {
        let histogram = Histogram::new();
        for micros in [100, 101, 1_000, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.cumulative();
        assert_eq!(counts[0], 1);
        assert_eq!(counts[1], 2);
        assert_eq!(counts[3], 3);
        assert_eq!(counts[BOUNDS.len() - 1], 4);
        assert_eq!(counts[BOUNDS.len()], 5);
        assert_eq!(sum, Duration::from_micros(20_001_202));
    }
}
