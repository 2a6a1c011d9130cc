//! Leaves a failing storage alone for a while.
//!
//! ```text
//!              failures ≥ threshold of ≥ minimum calls in the window
//!     closed ───────────────────────────────────────────────────────▶ open ◀────────────┐
//!       ▲ ▲                                                            │                │
//!       │ └──────────── a call that is always let through answers ─────┤                │ the probe
//!       │                                        cool-down over, and a │                │ fails
//!       │ the probe answers                      call comes: the probe ▼                │
//!       └────────────────────────────────────────────────────────── half-open ──────────┘
//! ```
//!
//! Half-open lets one call through, the probe, and refuses the others. If the probe is dropped before its answer,
//! the next call takes its place. An answer to a call from before the last change of state changes nothing.
//!
//! Only outages are failures ([`Kind::Unavailable`], [`Kind::Timeout`]). A storage that says `Fenced` works.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::time::Time;
use crate::config::{BreakerSection, ms};
use crate::error::{Error, Kind, Result};
use crate::observe::StoreMetrics;

/// Parts of the window; outcomes leave it a part at a time.
const SLOTS: usize = 10;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone)]
pub struct BreakerConfig {
    /// Share of failures in the window, 0 to 1, that opens it.
    pub error_threshold: f64,
    /// Over which time calls are counted.
    pub window: Duration,
    /// How long it stays open before a probe.
    pub cool_down: Duration,
    /// Fewer calls than this in the window say nothing.
    pub minimum: u32,
}

impl From<&BreakerSection> for BreakerConfig {
    fn from(section: &BreakerSection) -> Self {
        Self {
            error_threshold: section.error_threshold,
            window: ms(section.window),
            cool_down: ms(section.cool_down),
            minimum: 5,
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Calls go through.
    Closed,
    /// One call is finding out whether the storage works again.
    HalfOpen,
    /// Calls are refused.
    Open,
}

/// Figures of a breaker since it was made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStats {
    /// Where it stands.
    pub state: Position,
    /// Calls made, refused ones included.
    pub fires: u64,
    /// Calls that the storage answered, refusals of its own included.
    pub successes: u64,
    /// Calls that failed because the storage could not be used, timeouts included.
    pub failures: u64,
    /// Calls that ran out of time.
    pub timeouts: u64,
    /// Calls refused here.
    pub rejects: u64,
    /// How often it opened.
    pub opens: u64,
    /// Milliseconds until a probe is let through; only while open.
    pub next_probe_in: Option<u64>,
}

/// Told of every change of position, outside all locks.
pub type Watcher = Box<dyn Fn(Position) + Send + Sync>;

/// A circuit breaker. See the module.
pub struct Breaker {
    layer: &'static str,
    config: BreakerConfig,
    time: Arc<dyn Time>,
    metrics: &'static StoreMetrics,
    state: Mutex<State>,
    watcher: OnceLock<Watcher>,
}

struct State {
    position: Position,
    /// Counts changes of position.
    era: u64,
    probing: bool,
    opened_at: Duration,
    slots: [Slot; SLOTS],
    totals: Totals,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Which part of time this is, counted from the clock's start.
    number: u128,
    calls: u32,
    failures: u32,
}

#[derive(Default)]
struct Totals {
    fires: u64,
    successes: u64,
    failures: u64,
    timeouts: u64,
    rejects: u64,
    opens: u64,
}

/// Leave to make one call; tell it the outcome. Dropping it says that the call was given up.
pub struct Permit<'a> {
    breaker: &'a Breaker,
    era: u64,
    kind: Leave,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Ordinary,
    Probe,
    Always,
}

/// What a call says about the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered,
    /// It could not be used; `true` if time ran out.
    Outage(bool),
}

impl Outcome {
    /// What `error` says about the storage.
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            Kind::Timeout => Self::Outage(true),
            Kind::Unavailable => Self::Outage(false),
            _ => Self::Answered,
        }
    }

    /// A storage that answered anything in a call of many works.
    pub fn of_many<T>(answers: &[Result<T>]) -> Self {
        let outcomes = answers
            .iter()
            .map(|answer| answer.as_ref().map_or_else(Self::of, |_| Self::Answered));
        outcomes
            .reduce(|a, b| if a == Self::Answered { a } else { b })
            .unwrap_or(Self::Answered)
    }
}

impl Breaker {
    /// A closed breaker before the storage called `layer`.
    pub fn new(
        layer: &'static str,
        config: BreakerConfig,
        time: Arc<dyn Time>,
        metrics: &'static StoreMetrics,
    ) -> Self {
        Self {
            layer,
            config,
            time,
            metrics,
            state: Mutex::new(State {
                position: Position::Closed,
                era: 0,
                probing: false,
                opened_at: Duration::ZERO,
                slots: [Slot::default(); SLOTS],
                totals: Totals::default(),
            }),
            watcher: OnceLock::new(),
        }
    }

    /// The storage behind it.
    pub fn layer(&self) -> &'static str {
        self.layer
    }

    /// Tells `watcher` of every change of position from now on; only the first watcher is taken.
    pub fn watch(&self, watcher: Watcher) {
        let _ = self.watcher.set(watcher);
    }

    /// Makes `call` if calls go through, else fails with [`Kind::CircuitOpen`] without starting it.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let permit = self.allow()?;
        let answer = call.await;
        permit.record(answer.as_ref().map_or_else(Outcome::of, |_| Outcome::Answered));
        answer
    }

    /// Makes `call` in any state; if it answers while calls are refused, they go through again. For rare calls
    /// whose absence does harm.
    pub async fn call_always<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let permit = self.allow_always();
        let answer = call.await;
        permit.record(answer.as_ref().map_or_else(Outcome::of, |_| Outcome::Answered));
        answer
    }

    /// Leave for a call, or [`Kind::CircuitOpen`].
    pub fn allow(&self) -> Result<Permit<'_>> {
        let mut state = self.state.lock();
        state.totals.fires += 1;
        let kind = match state.position {
            Position::Closed => Leave::Ordinary,
            Position::HalfOpen if !state.probing => Leave::Probe,
            Position::Open if self.cooled_down(&state) => Leave::Probe,
            Position::HalfOpen | Position::Open => {
                state.totals.rejects += 1;
                drop(state);
                self.metrics.breaker_rejects.increment();
                let text = "the storage has been failing and is left alone for a while";
                return Err(Error::new(Kind::CircuitOpen, self.layer, text));
            }
        };
        let before = state.position;
        if kind == Leave::Probe {
            state.probing = true;
            state.enter(Position::HalfOpen);
        }
        let era = state.era;
        self.announce(before, state);
        Ok(Permit {
            breaker: self,
            era,
            kind,
        })
    }

    /// Leave for a call that goes through in any state.
    pub fn allow_always(&self) -> Permit<'_> {
        let mut state = self.state.lock();
        state.totals.fires += 1;
        Permit {
            breaker: self,
            era: state.era,
            kind: Leave::Always,
        }
    }

    /// Whether calls are refused now.
    pub fn is_open(&self) -> bool {
        let state = self.state.lock();
        match state.position {
            Position::Closed => false,
            Position::HalfOpen => state.probing,
            Position::Open => !self.cooled_down(&state),
        }
    }

    /// Figures since it was made.
    pub fn stats(&self) -> BreakerStats {
        let state = self.state.lock();
        let Totals {
            fires,
            successes,
            failures,
            timeouts,
            rejects,
            opens,
        } = state.totals;
        let rest = (state.opened_at + self.config.cool_down).saturating_sub(self.time.now());
        let next_probe_in =
            (state.position == Position::Open).then(|| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
        BreakerStats {
            state: state.position,
            fires,
            successes,
            failures,
            timeouts,
            rejects,
            opens,
            next_probe_in,
        }
    }

    fn cooled_down(&self, state: &State) -> bool {
        self.time.now() >= state.opened_at + self.config.cool_down
    }

    fn record(&self, era: u64, kind: Leave, outcome: Outcome) {
        let now = self.time.now();
        let mut state = self.state.lock();
        match outcome {
            Outcome::Answered => state.totals.successes += 1,
            Outcome::Outage(timed_out) => {
                state.totals.failures += 1;
                state.totals.timeouts += u64::from(timed_out);
            }
        }
        if state.era != era {
            return;
        }
        let before = state.position;
        let failed = outcome != Outcome::Answered;
        match (state.position, kind) {
            (Position::Closed, _) => {
                state.count(self.slot_number(now), failed);
                if failed && self.too_many_failures(&state, now) {
                    self.open(&mut state, now);
                }
            }
            (Position::HalfOpen, Leave::Probe) if failed => self.open(&mut state, now),
            (Position::HalfOpen | Position::Open, _) if !failed => state.close(),
            _ => {}
        }
        self.announce(before, state);
    }

    fn open(&self, state: &mut State, now: Duration) {
        state.opened_at = now;
        state.probing = false;
        state.totals.opens += 1;
        state.enter(Position::Open);
        self.metrics.breaker_opens.increment();
    }

    fn slot_number(&self, now: Duration) -> u128 {
        now.as_nanos() / (self.config.window.as_nanos() / SLOTS as u128).max(1)
    }

    fn too_many_failures(&self, state: &State, now: Duration) -> bool {
        let newest = self.slot_number(now);
        let (mut calls, mut failures) = (0, 0);
        for slot in state
            .slots
            .iter()
            .filter(|slot| slot.number + SLOTS as u128 > newest)
        {
            calls += slot.calls;
            failures += slot.failures;
        }
        calls >= self.config.minimum && f64::from(failures) >= self.config.error_threshold * f64::from(calls)
    }

    fn announce(&self, before: Position, state: parking_lot::MutexGuard<'_, State>) {
        let now = state.position;
        drop(state);
        if let Some(watcher) = self.watcher.get()
            && now != before
        {
            watcher(now);
        }
    }
}

impl State {
    fn enter(&mut self, position: Position) {
        if self.position != position {
            self.position = position;
            self.era += 1;
        }
    }

    fn close(&mut self) {
        self.probing = false;
        self.slots = [Slot::default(); SLOTS];
        self.enter(Position::Closed);
    }

    fn count(&mut self, number: u128, failed: bool) {
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u128).unwrap_or(0)];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.calls = slot.calls.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }
}

impl Permit<'_> {
    /// Tells the breaker how the call ended.
    pub fn record(self, outcome: Outcome) {
        self.breaker.record(self.era, self.kind, outcome);
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock();
        if self.kind == Leave::Probe && state.era == self.era {
            state.probing = false;
        }
    }
}
