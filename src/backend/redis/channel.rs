//! One multiplexed connection to one server.
//!
//! A [`Channel`] holds the connection, or makes a new one when it is needed: one caller connects, the others wait for
//! it. After a failure the next attempt waits (50 ms, doubling up to 1 s, with jitter); meanwhile callers get
//! the last error at once, so that nobody piles up before a server that is down. A connection that failed, timed
//! out or turned out to lead to a replica is dropped, not repaired: the next caller connects anew and, behind
//! sentinels, asks again who the master is.
//!
//! Of a cluster every node has a channel of its own, so that what one node does not answer is no other's business.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ConnectionAddr, RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{Address, RedisConfig, Topology};
use super::dial::Dial;
use super::errors::wants_reconnect;
use super::sentinel;
use super::server::ServerContext;
use crate::error::{Error, Kind, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Channel {
    pub config: Arc<RedisConfig>,
    pub server: Arc<ServerContext>,
    /// Which node of a cluster; `None` where there is one server.
    pub node: Option<Address>,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late failure of an old one does not drop its successor.
    generation: u64,
    failures: u32,
    failed: Option<(Instant, Error)>,
    /// Whether it was last heard of by its silence.
    silent: bool,
}

/// Why a command has no answer.
pub(crate) enum Fault {
    /// The driver's error, or that of the server there.
    Redis(RedisError, Arc<ServerContext>),
    /// No connection; the command was not sent.
    Connect(Error),
    /// Sent to the server there, and no answer in time.
    Timeout(Arc<ServerContext>),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Redis(cause, server) if cause.is_io_error() => server.map(&cause).of_ended_connection(),
            Fault::Redis(cause, server) => server.map(&cause),
            Fault::Connect(error) => error,
            Fault::Timeout(server) => server.refused(Kind::Timeout, "the server did not answer in time"),
        }
    }
}

impl Channel {
    /// To the only server of `config`, or to one node of its cluster.
    pub fn new(config: Arc<RedisConfig>, node: Option<Address>) -> Self {
        let server = match &node {
            Some(node) => ServerContext::of_node(&config, node),
            None => ServerContext::new(&config),
        };
        Self {
            config,
            server: Arc::new(server),
            node,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Sends one command and gives its answer; errors inside the answer are errors.
    pub async fn send(&self, command: &Cmd, deadline: Instant) -> std::result::Result<Value, Fault> {
        let sent = async |mut connection: MultiplexedConnection| {
            connection.req_packed_command(command).await?.extract_error()
        };
        self.run(deadline, sent).await
    }

    /// Sends several commands, one right after the other; errors inside the answers stay there.
    pub async fn send_all(
        &self,
        commands: &[&Cmd],
        deadline: Instant,
    ) -> std::result::Result<Vec<Value>, Fault> {
        let mut pipeline = redis::pipe();
        for &command in commands {
            pipeline.add_command(command.clone());
        }
        let sent = async |mut connection: MultiplexedConnection| {
            connection.req_packed_commands(&pipeline, 0, commands.len()).await
        };
        let answers = self.run(deadline, sent).await?;
        let left = |answer: &Value| matches!(answer, Value::ServerError(error) if wants_reconnect(&error.clone().into()));
        if answers.iter().any(left) {
            self.close();
        }
        Ok(answers)
    }

    async fn run<T>(
        &self,
        deadline: Instant,
        send: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> std::result::Result<T, Fault> {
        let Ok(connected) = timeout_at(deadline, self.connection()).await else {
            let text = "could not connect in time";
            return Err(Fault::Connect(self.server.refused(Kind::Unavailable, text)));
        };
        let (connection, generation) = connected.map_err(Fault::Connect)?;
        let Ok(answer) = timeout_at(deadline, send(connection)).await else {
            // The path may be dead without anybody having said so.
            self.drop_connection(generation, true);
            return Err(Fault::Timeout(self.server.clone()));
        };
        answer.map_err(|cause| {
            if wants_reconnect(&cause) {
                self.drop_connection(generation, false);
            }
            Fault::Redis(cause, self.server.clone())
        })
    }

    fn current(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.state.lock();
        let connection = state.connection.as_ref()?;
        Some((connection.clone(), state.generation))
    }

    /// Why nothing is sent at this moment, if so.
    fn pausing(&self, connecting: bool) -> Option<Error> {
        let state = self.state.lock();
        let failed = state.failed.as_ref().filter(|(until, _)| Instant::now() < *until);
        if let Some((_, last)) = failed {
            return Some(last.clone());
        }
        // One tries; the others have something better to do than to wait for a node that hangs.
        (connecting && state.silent && self.node.is_some()).then(|| {
            let text = "the server did not answer in time; a new connection is being made";
            self.server.refused(Kind::Unavailable, text)
        })
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64)> {
        match self.current() {
            Some(current) => Ok(current),
            // Large, and rarely needed.
            None => self.connect_once().boxed().await,
        }
    }

    async fn connect_once(&self) -> Result<(MultiplexedConnection, u64)> {
        let _only_one = match self.connecting.try_lock() {
            Ok(only_one) => only_one,
            Err(_) => match self.pausing(true) {
                Some(error) => return Err(error),
                None => self.connecting.lock().await,
            },
        };
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if let Some(error) = self.pausing(false) {
            return Err(error);
        }
        let (connected, silent) = match timeout(self.config.connect_timeout, self.connect()).await {
            Ok(Ok(connection)) => (self.greet(connection).await, false),
            Ok(Err(cause)) => (Err(self.not_connected(cause).await), false),
            Err(_) => {
                let text = "the server did not accept a connection in time";
                let error = self.server.refused(Kind::Unavailable, text);
                (Err(self.misunderstood(error).await), true)
            }
        };
        let mut state = self.state.lock();
        match connected {
            Ok(connection) => {
                state.generation += 1;
                state.connection = Some(connection.clone());
                state.failures = 0;
                state.failed = None;
                state.silent = false;
                Ok((connection, state.generation))
            }
            Err(error) => {
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << state.failures.min(10))
                    .min(LONGEST_PAUSE);
                let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
                state.failures = state.failures.saturating_add(1);
                state.failed = Some((Instant::now() + pause.mul_f64(0.5 + jitter / 2.0), error.clone()));
                state.silent = silent;
                Err(error)
            }
        }
    }

    /// Whether there ever was a connection.
    pub fn was_connected(&self) -> bool {
        self.generation() > 0
    }

    /// How many connections there were.
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Whether there is one.
    pub fn is_connected(&self) -> bool {
        self.state.lock().connection.is_some()
    }

    /// Ends the connection; what is under way is still answered.
    pub fn close(&self) {
        self.state.lock().connection = None;
    }

    fn drop_connection(&self, generation: u64, silent: bool) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.connection = None;
            state.silent = silent;
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = &*self.config;
        let dial = Dial { config };
        if let Some(node) = &self.node {
            return dial.node(node, &config.login, true).await;
        }
        match &config.topology {
            Topology::Socket(path) => {
                let address = ConnectionAddr::Unix(path.clone());
                dial.open(dial.info(address, &config.login, config.database)?)
                    .await
            }
            Topology::Sentinel {
                sentinels,
                master,
                login,
            } => sentinel::master(&dial, sentinels, master, login).await,
            Topology::Single(address) => dial.node(address, &config.login, true).await,
            Topology::Cluster(nodes) => {
                let nobody = || (redis::ErrorKind::InvalidClientConfig, "a cluster has nodes");
                let first = nodes.first().ok_or_else(nobody)?;
                dial.node(first, &config.login, true).await
            }
        }
    }
}
