//! The clock of this room, so that tests hold it in their hand.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Either, select};

/// Tells the time and waits.
pub trait Time: Send + Sync + 'static {
    /// Time since an arbitrary start; never goes back.
    fn now(&self) -> Duration;

    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The real clock. Its waits need a tokio runtime.
pub struct SystemClock;

impl Time for SystemClock {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// What `work` answers, or `None` if that takes longer than `limit`; then `work` is dropped.
pub(super) async fn within<T>(time: &dyn Time, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let work = std::pin::pin!(work);
    match select(work, time.sleep(limit)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(((), _)) => None,
    }
}

/// A clock that jumps: whoever waits is taken there at once.
#[cfg(test)]
#[derive(Default)]
pub struct JumpingClock(parking_lot::Mutex<Duration>);

#[cfg(test)]
impl JumpingClock {
    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        *self.0.lock() += duration;
    }
}

#[cfg(test)]
impl Time for std::sync::Arc<JumpingClock> {
    fn now(&self) -> Duration {
        *self.0.lock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        // Time passes only once somebody really waits, which is after the work beside it had its turn.
        Box::pin(async move { clock.advance(duration) })
    }
}
