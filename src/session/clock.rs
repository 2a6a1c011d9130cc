//! The clock by which leases are measured.

use std::sync::OnceLock;
use std::time::Duration;

use crate::time::Moment;

/// Milliseconds on a clock that never goes back and goes on while the machine sleeps, from an arbitrary start.
pub fn now() -> u64 {
    static START: OnceLock<Moment> = OnceLock::new();
    millis(START.get_or_init(Moment::now).elapsed())
}

/// No instant of the clock.
pub const NEVER: u64 = u64::MAX;

/// Whole milliseconds of `duration`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
