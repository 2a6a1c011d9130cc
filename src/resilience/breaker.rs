//! A circuit breaker: it refuses calls to a storage that keeps failing, until the storage answers again.
//!
//! ```text
//!              failures ≥ threshold of ≥ minimum calls in the window
//!     closed ───────────────────────────────────────────────────────▶ open ◀────────────┐
//!       ▲ ▲                                                            │                │
//!       │ └── a ping, or a call that is always let through, answers ───┤                │ the probe
//!       │                                        cool-down over, and a │                │ fails
//!       │ the probe answers                      call comes: the probe ▼                │
//!       └────────────────────────────────────────────────────────── half-open ──────────┘
//! ```
//!
//! Half-open lets one call through, the probe, and refuses the others. If the probe is dropped before its answer,
//! the next call takes its place. An answer to a call from before the last change of state changes nothing.
//!
//! While it is open the breaker pings the storage by itself, with pauses that grow to a second, so that nobody waits
//! for the cool-down once the storage is back. Where it opens again soon after, the pauses go on growing: a storage
//! that answers pings and nothing else is not asked more often for it.
//!
//! Only outages are failures ([`Kind::Unavailable`], [`Kind::Timeout`]). A storage that says `Fenced` works. A
//! connection that ended under a call is counted only if the next call fails as well: servers and networks end
//! connections that stood idle. What a part of the storage fails to answer, a node of a cluster, says nothing of the
//! others: a node that fails is refused by itself, where its connection is.
//!
//! A call that is tried again goes through although the breaker opened meanwhile (see [`promised`](super::promised)): it was begun while
//! calls went through, and keeps the tries it was promised.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::promised::is_promised;
use crate::config::{BreakerSection, ms};
use crate::error::{Error, Kind, Result};
use crate::observe::StoreMetrics;
use crate::runtime;
use crate::time::{Backoff, millis};

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

/// Metrics of a breaker since it was made.
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

/// Told of every change of position, with the failure that was last seen; outside all locks.
pub type Watcher = Box<dyn Fn(Position, Option<&Error>) + Send + Sync>;

/// Asks the storage whether it works; `None` when nobody uses it any more.
pub type Ping = Box<dyn Fn() -> Option<BoxFuture<'static, Result<()>>> + Send + Sync>;

/// Pauses between the pings of an open breaker.
const PINGS: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// A circuit breaker. See the module.
pub struct Breaker {
    layer: &'static str,
    config: BreakerConfig,
    metrics: &'static StoreMetrics,
    /// When it was made; parts of the window are counted from here.
    began: Instant,
    state: Mutex<State>,
    watcher: OnceLock<Watcher>,
    ping: OnceLock<Ping>,
}

struct State {
    position: Position,
    /// Counts changes of position.
    era: u64,
    probing: bool,
    opened_at: Instant,
    /// When it was last closed, and the pauses before the next pings.
    closed_at: Instant,
    pauses: Backoff,
    pinging: bool,
    /// Connections that ended under calls since the last answer.
    ended: u32,
    last_failure: Option<Error>,
    slots: [Slot; SLOTS],
    totals: Totals,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Which part of time this is, counted from when the breaker was made.
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
    breaker: &'a Arc<Breaker>,
    era: u64,
    kind: Leave,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Ordinary,
    Probe,
    Always,
}

/// Whether `error` says that the storage could not be used.
fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Timeout | Kind::Unavailable)
}

/// The failure of a call for many things, if it is one of the storage: one that answered anything works.
fn failure_of_many<T>(answers: &[Result<T>]) -> Option<&Error> {
    let mut failures = answers.iter().map(|answer| answer.as_ref().err());
    let first = failures.next()??;
    let all = is_outage(first) && failures.all(|failure| failure.is_some_and(is_outage));
    all.then_some(first)
}

impl Breaker {
    /// A closed breaker before the storage called `layer`.
    pub fn new(layer: &'static str, config: BreakerConfig, metrics: &'static StoreMetrics) -> Self {
        let began = Instant::now();
        Self {
            layer,
            config,
            metrics,
            began,
            state: Mutex::new(State {
                position: Position::Closed,
                era: 0,
                probing: false,
                opened_at: began,
                closed_at: began,
                pauses: PINGS,
                pinging: false,
                ended: 0,
                last_failure: None,
                slots: [Slot::default(); SLOTS],
                totals: Totals::default(),
            }),
            watcher: OnceLock::new(),
            ping: OnceLock::new(),
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

    /// Has the storage pinged by `ping` while calls are refused; only the first is taken.
    pub fn ping_with(&self, ping: Ping) {
        let _ = self.ping.set(ping);
    }

    /// The error of a call that is refused: it says what the storage failed with.
    pub fn refusal(&self) -> Error {
        let last = self.state.lock().last_failure.clone();
        let text = "the circuit breaker is open: the storage kept failing";
        match last {
            Some(last) => Error::new(Kind::CircuitOpen, self.layer, format!("{text}; last: {last}"))
                .because(&last)
                .with("lastCode", last.kind().code()),
            None => Error::new(Kind::CircuitOpen, self.layer, text),
        }
    }

    /// Makes `call` if calls go through, else fails with [`Kind::CircuitOpen`] without starting it.
    pub async fn call<T>(self: &Arc<Self>, call: impl Future<Output = Result<T>>) -> Result<T> {
        let permit = self.allow()?;
        let answer = call.await;
        permit.record(answer.as_ref().err());
        answer
    }

    /// Makes `call` in any state; if it answers while calls are refused, they go through again. For rare calls
    /// whose absence does harm.
    pub async fn call_always<T>(self: &Arc<Self>, call: impl Future<Output = Result<T>>) -> Result<T> {
        let permit = self.allow_always();
        let answer = call.await;
        permit.record(answer.as_ref().err());
        answer
    }

    /// Leave for a call, or [`Kind::CircuitOpen`].
    pub fn allow(self: &Arc<Self>) -> Result<Permit<'_>> {
        let mut state = self.state.lock();
        state.totals.fires += 1;
        let kind = match state.position {
            Position::Closed => Leave::Ordinary,
            Position::HalfOpen if !state.probing => Leave::Probe,
            Position::Open if self.cooled_down(&state) => Leave::Probe,
            Position::HalfOpen | Position::Open if is_promised() => Leave::Always,
            Position::HalfOpen | Position::Open => {
                state.totals.rejects += 1;
                drop(state);
                self.metrics.breaker_rejects.increment();
                return Err(self.refusal());
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
    pub fn allow_always(self: &Arc<Self>) -> Permit<'_> {
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
        if is_promised() {
            return false;
        }
        let state = self.state.lock();
        match state.position {
            Position::Closed => false,
            Position::HalfOpen => state.probing,
            Position::Open => !self.cooled_down(&state),
        }
    }

    /// Metrics since it was made.
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
        let rest = (state.opened_at + self.config.cool_down).saturating_duration_since(Instant::now());
        let next_probe_in = (state.position == Position::Open).then(|| millis(rest));
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
        Instant::now() >= state.opened_at + self.config.cool_down
    }

    fn record(self: &Arc<Self>, era: u64, kind: Leave, failure: Option<&Error>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let failure = failure.filter(|error| is_outage(error));
        match failure {
            None => state.totals.successes += 1,
            Some(error) => {
                state.totals.failures += 1;
                state.totals.timeouts += u64::from(error.kind() == Kind::Timeout);
                state.last_failure = Some(error.clone());
            }
        }
        if state.era != era {
            return;
        }
        if failure.is_some_and(Error::is_of_part) {
            if kind == Leave::Probe {
                state.probing = false;
            }
            return;
        }
        let before = state.position;
        match (state.position, kind, failure) {
            (Position::Closed, _, Some(error)) if error.is_of_ended_connection() => state.ended += 1,
            (Position::Closed, _, None) => {
                state.ended = 0;
                state.count(self.slot_number(now), 1, 0);
            }
            (Position::Closed, _, Some(_)) => {
                let failures = 1 + std::mem::take(&mut state.ended);
                state.count(self.slot_number(now), failures, failures);
                if self.too_many_failures(&state, now) {
                    self.open(&mut state, now);
                }
            }
            (Position::HalfOpen, Leave::Probe, Some(_)) => self.open(&mut state, now),
            (Position::HalfOpen | Position::Open, _, None) => {
                state.closed_at = now;
                state.close();
            }
            _ => {}
        }
        self.announce(before, state);
    }

    fn open(&self, state: &mut State, now: Instant) {
        if state.position == Position::Closed && now > state.closed_at + self.config.window {
            state.pauses = PINGS;
        }
        state.opened_at = now;
        state.probing = false;
        state.totals.opens += 1;
        state.enter(Position::Open);
        self.metrics.breaker_opens.increment();
    }

    fn slot_number(&self, now: Instant) -> u128 {
        now.duration_since(self.began).as_nanos() / (self.config.window.as_nanos() / SLOTS as u128).max(1)
    }

    fn too_many_failures(&self, state: &State, now: Instant) -> bool {
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

    fn announce(self: &Arc<Self>, before: Position, mut state: parking_lot::MutexGuard<'_, State>) {
        let now = state.position;
        if now == before {
            return;
        }
        let begin = now == Position::Open && self.ping.get().is_some();
        let begin = begin && !std::mem::replace(&mut state.pinging, true);
        let last = state.last_failure.clone();
        drop(state);
        if begin {
            runtime::spawn(ping_while_open(Arc::downgrade(self)));
        }
        if let Some(watcher) = self.watcher.get() {
            watcher(now, last.as_ref());
        }
    }

    /// The pause before the next ping; `None`, and the pinging is over, if calls go through.
    fn next_ping(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.position == Position::Closed {
            state.pinging = false;
            return None;
        }
        Some(state.pauses.next_pause())
    }
}

async fn ping_while_open(breaker: Weak<Breaker>) {
    loop {
        let Some(pause) = breaker.upgrade().and_then(|breaker| breaker.next_ping()) else {
            return;
        };
        tokio::time::sleep(pause).await;
        let Some(breaker) = breaker.upgrade() else { return };
        let Some(ping) = breaker.ping.get().and_then(|ping| ping()) else {
            breaker.state.lock().pinging = false;
            return;
        };
        // Its outcome is the breaker's; a failure is told by the calls that are refused.
        let _ = breaker.call_always(ping).await;
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
        self.ended = 0;
        self.slots = [Slot::default(); SLOTS];
        self.enter(Position::Closed);
    }

    fn count(&mut self, number: u128, calls: u32, failures: u32) {
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u128).unwrap_or(0)];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.calls = slot.calls.saturating_add(calls);
        slot.failures = slot.failures.saturating_add(failures);
    }
}

impl Permit<'_> {
    /// Tells the breaker how the call ended: with this error, or with an answer.
    pub fn record(self, failure: Option<&Error>) {
        self.breaker.record(self.era, self.kind, failure);
        std::mem::forget(self);
    }

    /// The same for a call for many things.
    pub fn record_many<T>(self, answers: &[Result<T>]) {
        self.record(failure_of_many(answers));
    }

    /// The same for renewals. They have less time than other calls: that it was too short says nothing about those.
    pub fn record_renewals<T>(self, answers: &[Result<T>]) {
        let failure = failure_of_many(answers);
        if failure.is_none_or(|error| error.kind() != Kind::Timeout) {
            self.record(failure);
        }
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
