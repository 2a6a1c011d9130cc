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

/// A clock that jumps: when nobody can go on, it is the time for which the first of them waits.
#[cfg(test)]
pub mod jumping {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use parking_lot::Mutex;

    use super::{BoxFuture, Duration, Time};

    #[derive(Default)]
    pub struct JumpingClock(Mutex<State>);

    #[derive(Default)]
    struct State {
        now: Duration,
        waiting: Vec<(u64, Duration)>,
        last: u64,
    }

    impl JumpingClock {
        /// Lets `duration` pass.
        pub fn advance(&self, duration: Duration) {
            self.0.lock().now += duration;
        }
    }

    impl Time for Arc<JumpingClock> {
        fn now(&self) -> Duration {
            self.0.lock().now
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let end = self.0.lock().now + duration;
            Box::pin(Sleep {
                clock: self.clone(),
                end,
                number: None,
            })
        }
    }

    struct Sleep {
        clock: Arc<JumpingClock>,
        end: Duration,
        number: Option<u64>,
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let clock = self.clock.clone();
            let mut state = clock.0.lock();
            match self.number {
                // Everybody else gets a turn before time passes.
                None => {
                    state.last += 1;
                    self.number = Some(state.last);
                    let entry = (state.last, self.end);
                    state.waiting.push(entry);
                }
                Some(_) if state.waiting.iter().all(|(_, end)| *end >= self.end) => {
                    state.now = state.now.max(self.end);
                    return Poll::Ready(());
                }
                Some(_) => {}
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            self.clock
                .0
                .lock()
                .waiting
                .retain(|(number, _)| Some(*number) != self.number);
        }
    }
}
