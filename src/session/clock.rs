//! The clock by which leases are measured.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Milliseconds on a clock that never goes back, from an arbitrary start.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    millis(START.get_or_init(Instant::now).elapsed())
}

/// No instant of the clock.
pub const NEVER: u64 = u64::MAX;

/// Whole milliseconds of `duration`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
