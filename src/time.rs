//! Time that goes on while the machine sleeps.
//!
//! A lease, or an estimate of a server's clock, is as old after a laptop's sleep as it is to everybody else. What
//! [`std::time::Instant`] says leaves the sleep out on Linux.

use std::time::Duration;

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
