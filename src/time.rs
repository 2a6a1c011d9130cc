//! Clocks, milliseconds, and pauses between tries.
//!
//! [`Moment`] goes on while the machine sleeps: a lease, or an estimate of a server's clock, is as old after a laptop's sleep as it is to everybody else. What
//! [`std::time::Instant`] says leaves the sleep out on Linux.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on a clock that never goes back and does not stop while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self(clock::since_boot() + testing::slept())
    }

    /// How long ago this was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// The moment so much later, unless there is none.
    pub fn checked_add(self, by: Duration) -> Option<Self> {
        self.0.checked_add(by).map(Self)
    }
}

/// Milliseconds on the clock of [`Moment`], from an arbitrary start.
pub fn monotonic_millis() -> u64 {
    static START: OnceLock<Moment> = OnceLock::new();
    millis(START.get_or_init(Moment::now).elapsed())
}

/// No instant of that clock.
pub const NEVER: u64 = u64::MAX;

/// Time since the Unix epoch, for people and other machines.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// [`since_epoch`] in milliseconds.
pub fn unix_millis() -> u64 {
    millis(since_epoch())
}

/// Whole milliseconds of `duration`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// [`millis`] where numbers have a sign.
pub fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Pauses between tries, each twice the one before.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `first` up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The pause before the next try.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Waits for some part of the next pause, so that those who met do not meet again.
    pub async fn wait_jittered(&mut self) {
        let pause = self.next_pause();
        tokio::time::sleep(pause.mul_f64(jitter())).await;
    }
}

/// At random, evenly spread over 0 to 1.
pub fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod clock {
    use std::time::Duration;

    pub fn since_boot() -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the structure is writable.
        let answer = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        assert_eq!(answer, 0, "the system has a clock that counts from its start");
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanoseconds)
    }
}

/// Elsewhere [`std::time::Instant`] goes on by itself.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod clock {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    pub fn since_boot() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(not(test))]
mod testing {
    use std::time::Duration;

    pub const fn slept() -> Duration {
        Duration::ZERO
    }
}

/// Tests let their own thread sleep as a machine does: its timers stand still meanwhile.
#[cfg(test)]
pub mod testing {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// How long this thread has slept so far.
    pub fn slept() -> Duration {
        SLEPT.get()
    }

    /// Has slept for so long from now on.
    pub fn sleep(duration: Duration) {
        SLEPT.set(SLEPT.get() + duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        let pauses: Vec<_> = (0..5).map(|_| millis(backoff.next_pause())).collect();
        assert_eq!(pauses, [50, 100, 200, 300, 300]);
    }

    #[test]
    fn jitter_is_spread_over_the_whole_range() {
        let drawn: Vec<_> = (0..1000).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)));
        assert!(drawn.iter().any(|share| *share < 0.1) && drawn.iter().any(|share| *share > 0.9));
    }
}
