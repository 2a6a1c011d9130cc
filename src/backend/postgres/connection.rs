//! The few connections of a store, and the one place where statements are sent.
//!
//! Statements are *pipelined*: each is on its way before the one ahead of it is answered, so one connection carries
//! thousands of sessions. Each is a transaction by itself and leaves nothing behind on the server, no prepared statement
//! and no setting, so a pooler may give each to another of its own connections.
//!
//! A connection that failed, or did not answer in time, is dropped and not repaired: the next caller connects anew. After
//! a failed attempt the next one waits (50 ms, doubling up to 1 s, with jitter); meanwhile callers get the last error
//! at once, so that nobody piles up before a server that is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::conflicts::PAUSES;
use super::dial::{Dialer, Wire};
use super::errors::{ends_connection, from_driver, met_another, timed_out};
use super::statements::Statements;
use super::{PostgresConfig, schema};
use crate::backend::store_closed;
use crate::error::{Error, Result};
use crate::time::jitter;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A statement that met another one is sent again at once, so often.
const MEETINGS: u32 = 5;

/// What a statement is for: commits do not stand in the way of what is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Commits,
    All,
}

/// A value of a statement, and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A database to send statements to.
pub(super) struct Connection {
    dialer: Dialer,
    links: Vec<Link>,
    /// Which connection carries the next commits.
    next: AtomicUsize,
    pub statements: Statements,
    pub timeout: Duration,
    closed: AtomicBool,
}

/// One connection, made anew when it is needed.
#[derive(Default)]
struct Link {
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    wire: Option<Arc<Wire>>,
    failures: u32,
    failed: Option<(Instant, Error)>,
}

impl Connection {
    /// Connects, and makes the tables if they are missing.
    pub async fn open(config: &PostgresConfig) -> Result<Self> {
        let connection = Self {
            dialer: Dialer::new(config)?,
            links: (0..config.max_connections).map(|_| Link::default()).collect(),
            next: AtomicUsize::new(0),
            statements: Statements::new(&config.schema),
            timeout: config.operation_timeout,
            closed: AtomicBool::new(false),
        };
        let wire = connection.links[0].wire(&connection.dialer).await?;
        let made = schema::prepare(&wire.client, &config.schema).boxed();
        let Ok(made) = tokio::time::timeout(config.operation_timeout, made).await else {
            connection.links[0].drop_wire(&wire);
            return Err(timed_out().at_server(&wire.server));
        };
        made.map_err(|error| error.at_server(&wire.server))?;
        Ok(connection)
    }

    /// What the operator should know, one sentence each.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        let wire = self.links[0].wire(&self.dialer).await?;
        Ok(super::warnings::of(&wire.greeting))
    }

    /// Whether what is acknowledged is on disk.
    pub async fn is_durable(&self) -> Result<bool> {
        let wire = self.links[0].wire(&self.dialer).await?;
        Ok(wire.greeting.synchronous_commit != "off" && wire.greeting.fsync != "off")
    }

    /// How many connections carry commits.
    pub fn commit_lanes(&self) -> usize {
        self.links.len().saturating_sub(1).max(1)
    }

    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(store_closed(super::LAYER));
        }
        Ok(())
    }

    /// Takes no more statements; what is under way is still answered.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for link in &self.links {
            link.state.lock().wire = None;
        }
    }

    fn link(&self, lane: Lane) -> &Link {
        if lane == Lane::All || self.links.len() == 1 {
            return &self.links[0];
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.links[1 + turn % (self.links.len() - 1)]
    }

    /// Sends one statement; its rows. One that met another and was rolled back for it is sent again.
    pub async fn query(
        &self,
        lane: Lane,
        statement: &str,
        parameters: &[Parameter<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>> {
        self.ensure_open()?;
        let mut pauses = PAUSES;
        for _ in 0..MEETINGS {
            match self
                .link(lane)
                .query(&self.dialer, statement, parameters, deadline)
                .await
            {
                Err(error) if met_another(&error) => pauses.wait_jittered().await,
                answer => return answer,
            }
        }
        self.link(lane)
            .query(&self.dialer, statement, parameters, deadline)
            .await
    }

    /// As [`Connection::query`], on the connection for all but commits, within the time for one statement.
    pub async fn ask(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        self.query(Lane::All, statement, parameters, self.deadline())
            .await
    }
}

impl Link {
    async fn query(
        &self,
        dialer: &Dialer,
        statement: &str,
        parameters: &[Parameter<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>> {
        let Ok(wire) = timeout_at(deadline, self.wire(dialer)).await else {
            return Err(timed_out());
        };
        let wire = wire?;
        // Large: the driver's futures are.
        let sent = wire.client.query_typed(statement, parameters).boxed();
        let Ok(answer) = timeout_at(deadline, sent).await else {
            // The path may be dead without anybody having said so.
            self.drop_wire(&wire);
            return Err(timed_out().at_server(&wire.server));
        };
        answer.map_err(|cause| {
            let mut error = from_driver(&cause);
            if error.is_of_ended_connection() {
                // What the server said before it hung up came to the connection, and not to this statement.
                if let Some(said) = wire.last_words.lock().clone() {
                    error = said.of_ended_connection();
                }
            }
            if error.is_of_ended_connection()
                || cause.code().is_some_and(|state| ends_connection(state.code()))
            {
                self.drop_wire(&wire);
            }
            error.at_server(&wire.server)
        })
    }

    fn current(&self) -> Option<Arc<Wire>> {
        let mut state = self.state.lock();
        state.wire.take_if(|wire| wire.client.is_closed());
        state.wire.clone()
    }

    fn pausing(&self) -> Option<Error> {
        let state = self.state.lock();
        let failed = state.failed.as_ref().filter(|(until, _)| Instant::now() < *until);
        failed.map(|(_, error)| error.clone())
    }

    async fn wire(&self, dialer: &Dialer) -> Result<Arc<Wire>> {
        match self.current() {
            Some(wire) => Ok(wire),
            // Large, and rarely needed.
            None => self.connect(dialer).boxed().await,
        }
    }

    /// One caller connects, the others wait for it.
    async fn connect(&self, dialer: &Dialer) -> Result<Arc<Wire>> {
        if let Some(error) = self.pausing() {
            return Err(error);
        }
        let _only_one = self.connecting.lock().await;
        if let Some(wire) = self.current() {
            return Ok(wire);
        }
        if let Some(error) = self.pausing() {
            return Err(error);
        }
        let dialed = dialer.dial().await;
        let mut state = self.state.lock();
        match dialed {
            Ok(wire) => {
                let wire = Arc::new(wire);
                *state = State {
                    wire: Some(wire.clone()),
                    ..State::default()
                };
                Ok(wire)
            }
            Err(error) => {
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << state.failures.min(10))
                    .min(LONGEST_PAUSE);
                state.failures = state.failures.saturating_add(1);
                let until = Instant::now() + pause.mul_f64(0.5 + jitter() / 2.0);
                state.failed = Some((until, error.clone()));
                Err(error)
            }
        }
    }

    fn drop_wire(&self, wire: &Arc<Wire>) {
        wire.abort();
        self.state
            .lock()
            .wire
            .take_if(|current| Arc::ptr_eq(current, wire));
    }
}
