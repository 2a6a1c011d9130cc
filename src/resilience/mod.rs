//! What is done about storages that fail: time limits, retries, a circuit breaker. Each wraps any [`Backend`].
//!
//! The order matters. Right:
//!
//! ```text
//! Retry( Guarded( Timeout( backend ) ) )
//! ```
//!
//! Each try is bounded by itself, and the breaker sees each try. A call that was begun before it opened keeps its
//! tries. All tries of one call end within `operationTimeout`, which `Retry` sees to.
//!
//! Wrong:
//! - `Timeout(Retry(…))`: one hanging try takes all the time there is, and is never tried again;
//! - `Guarded(Retry(…))`: four failures look like one, so the breaker opens late, and the storage is hammered
//!   meanwhile;
//! - `Timeout(Guarded(…))`: a call that hangs is dropped before the breaker learns of it.
//!
//! The embedded store has none of this: there is no network, and what a disk refuses it refuses again.

pub mod breaker;
mod guarded;
mod promised;
mod reach;
mod retry;
#[cfg(test)]
mod tests;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

pub use breaker::{Breaker, BreakerConfig, BreakerStats};
pub use guarded::Guarded;
pub use reach::{away, until_reachable};
pub use retry::{Jitter, Retry, RetryPolicy};
pub use timeout::{TimeLimits, Timeout};

use crate::backend::Backend;
use crate::config::{ResilienceSection, ms};
use crate::observe;
use crate::time::jitter;

/// A breaker for the storage called `layer`.
pub fn breaker(layer: &'static str, config: &ResilienceSection) -> Arc<Breaker> {
    Arc::new(Breaker::new(layer, (&config.breaker).into(), observe::of(layer)))
}

/// Puts retries, `breaker` and time limits around `backend`, in the right order.
pub fn wrap(
    backend: Arc<dyn Backend>,
    breaker: Arc<Breaker>,
    config: &ResilienceSection,
) -> Arc<dyn Backend> {
    wrap_with(backend, breaker, config, Box::new(jitter))
}

fn limits(config: &ResilienceSection) -> TimeLimits {
    TimeLimits {
        attempt: attempt_limit(config),
        operation: ms(config.operation_timeout),
    }
}

fn policy(config: &ResilienceSection) -> RetryPolicy {
    RetryPolicy {
        max_retries: config.max_retries,
        base_delay: ms(config.retry_base_delay),
        multiplier: config.retry_multiplier,
        deadline: ms(config.operation_timeout),
    }
}

/// Puts retries and time limits around `backend`, which has breakers of its own inside.
pub fn bound(backend: Arc<dyn Backend>, config: &ResilienceSection) -> Arc<dyn Backend> {
    let bounded = Arc::new(Timeout::new(backend, limits(config)));
    Arc::new(Retry::new(bounded, policy(config), Box::new(jitter)))
}

fn wrap_with(
    backend: Arc<dyn Backend>,
    breaker: Arc<Breaker>,
    config: &ResilienceSection,
    jitter: Jitter,
) -> Arc<dyn Backend> {
    let bounded = Arc::new(Timeout::new(backend, limits(config)));
    let guarded = Arc::new(Guarded::new(bounded, breaker));
    Arc::new(Retry::new(guarded, policy(config), jitter))
}

/// How long one try may take: half of the operation, so that a connection that died without a word leaves time
/// for a second try on a new one.
fn attempt_limit(config: &ResilienceSection) -> Duration {
    let tries = if config.max_retries == 0 { 1 } else { 2 };
    ms(config.operation_timeout) / tries
}

/// How long a driver may take for one try: somewhat less than we give it, because a driver that notices the end of
/// its time by itself also replaces the connection.
pub fn driver_limit(config: &ResilienceSection) -> Duration {
    attempt_limit(config) / 10 * 9
}
