//! The circuit breaker in front of MongoDB.
//!
//! ```text
//! closed ──(failures ≥ ratio of the window)──▶ open ──(cool-down)──▶ half-open: one call is let through
//!    ▲                                          ▲                        │ fails
//!    └──────────── it succeeds ─────────────────┼────────────────────────┤
//!                                               └────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::LAYER;
use crate::error::{Error, Kind, Result};

/// When the breaker opens and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerConfig {
    /// How far back calls count.
    pub window: Duration,
    /// Fewer calls than this in the window open nothing.
    pub least_calls: usize,
    /// Opens when at least this part of them failed, above 0 and up to 1.
    pub failure_ratio: f64,
    /// How long it then stays open.
    pub cool_down: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            least_calls: 5,
            failure_ratio: 0.5,
            cool_down: Duration::from_secs(30),
        }
    }
}

impl BreakerConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let ratio = self.failure_ratio > 0.0 && self.failure_ratio <= 1.0;
        if self.window.is_zero() || self.least_calls == 0 || self.cool_down.is_zero() || !ratio {
            let message = "the breaker's options must be above 0, its ratio up to 1";
            return Err(Error::new(Kind::Config, LAYER, message));
        }
        Ok(())
    }
}

/// Whether calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// One, to see.
    HalfOpen,
}

/// What the breaker has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerStats {
    /// Whether calls are let through.
    pub state: BreakerState,
    /// Calls in the window.
    pub calls: usize,
    /// Those of them that failed.
    pub failures: usize,
    /// How often it opened.
    pub opened: u64,
    /// Calls that were not let through.
    pub rejected: u64,
}

pub(super) struct Breaker {
    config: BreakerConfig,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: VecDeque<(Instant, bool)>,
    open_until: Option<Instant>,
    /// Since when somebody tries; whoever gave up must not block the next one for ever.
    trying: Option<Instant>,
    opened: u64,
    rejected: u64,
}

impl Breaker {
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            inner: Mutex::default(),
        }
    }

    /// Lets a call through, or not; tell [`Breaker::record`] how it ended.
    pub fn admit(&self) -> Result<()> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Result<()> {
        let mut inner = self.inner.lock();
        let Some(until) = inner.open_until else {
            return Ok(());
        };
        let taken = inner
            .trying
            .is_some_and(|since| now.duration_since(since) < self.config.cool_down);
        if now >= until && !taken {
            inner.trying = Some(now);
            return Ok(());
        }
        inner.rejected += 1;
        let left = until.saturating_duration_since(now).as_millis();
        let message = "MongoDB was failing and is left alone for a while";
        Err(Error::new(Kind::CircuitOpen, LAYER, message)
            .with("retryInMs", u64::try_from(left).unwrap_or(u64::MAX)))
    }

    /// Takes in how a call ended.
    pub fn record(&self, worked: bool) {
        self.record_at(worked, Instant::now());
    }

    fn record_at(&self, worked: bool, now: Instant) {
        let mut inner = self.inner.lock();
        inner.forget(now, self.config.window);
        if inner.open_until.is_some() {
            inner.trying = None;
            if worked {
                inner.open_until = None;
                inner.calls.clear();
            } else if inner.open_until.is_some_and(|until| now >= until) {
                inner.open_until = now.checked_add(self.config.cool_down);
            }
            return;
        }
        inner.calls.push_back((now, worked));
        let failures = inner.failures();
        let calls = inner.calls.len();
        #[allow(clippy::cast_precision_loss)]
        if calls >= self.config.least_calls && failures as f64 >= self.config.failure_ratio * calls as f64 {
            inner.open_until = now.checked_add(self.config.cool_down);
            inner.trying = None;
            inner.opened += 1;
        }
    }

    pub fn stats(&self) -> BreakerStats {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.forget(now, self.config.window);
        let state = match inner.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        };
        BreakerStats {
            state,
            calls: inner.calls.len(),
            failures: inner.failures(),
            opened: inner.opened,
            rejected: inner.rejected,
        }
    }
}

impl Inner {
    fn forget(&mut self, now: Instant, window: Duration) {
        while self
            .calls
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > window)
        {
            self.calls.pop_front();
        }
    }

    fn failures(&self) -> usize {
        self.calls.iter().filter(|(_, worked)| !worked).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_at_half_and_closes_after_a_success() {
        let breaker = Breaker::new(BreakerConfig {
            least_calls: 4,
            ..BreakerConfig::default()
        });
        let start = Instant::now();
        for worked in [true, true, false] {
            breaker.record_at(worked, start);
        }
        breaker.admit_at(start).unwrap();
        breaker.record_at(false, start);
        assert_eq!(
            breaker.admit_at(start + SECOND).unwrap_err().kind(),
            Kind::CircuitOpen
        );
        let later = start + 30 * SECOND;
        breaker.admit_at(later).unwrap();
        assert!(breaker.admit_at(later).is_err(), "one call at a time");
        breaker.record_at(false, later);
        assert!(
            breaker.admit_at(later + SECOND).is_err(),
            "the cool-down begins anew"
        );
        breaker.admit_at(later + 30 * SECOND).unwrap();
        breaker.record_at(true, later + 30 * SECOND);
        breaker.admit_at(later + 30 * SECOND).unwrap();
        breaker.admit_at(later + 30 * SECOND).unwrap();
    }

    #[test]
    fn old_failures_are_forgotten() {
        let breaker = Breaker::new(BreakerConfig {
            least_calls: 2,
            ..BreakerConfig::default()
        });
        let start = Instant::now();
        breaker.record_at(false, start);
        breaker.record_at(true, start + 11 * SECOND);
        breaker.record_at(true, start + 11 * SECOND);
        breaker.record_at(false, start + 12 * SECOND);
        breaker.admit_at(start + 12 * SECOND).unwrap();
    }
}
