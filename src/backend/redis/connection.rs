//! One multiplexed connection per server for all sessions of the process.
//!
//! A [`Link`] holds the connection, or makes a new one when it is needed: one caller connects, the others wait for
//! it. After a failure the next attempt waits (50 ms, doubling up to 1 s, with jitter); meanwhile callers get
//! the last error at once, so that nobody piles up before a server that is down. A connection that failed, timed
//! out or turned out to lead to a replica is dropped, not repaired: the next caller connects anew and, behind
//! sentinels or in a cluster, asks again who the master is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{Address, Login, RedisConfig, Topology};
use super::errors::{Place, wants_reconnect};
use super::large::Portion;
use super::sentinel;
use crate::backend::gather::Waiting;
use crate::error::{Error, Kind, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A cluster connection repairs itself; it is replaced only when it is older than this and still fails.
const CLUSTER_GRACE: Duration = Duration::from_secs(1);
/// How often the driver follows redirections and the like before it gives up on a command to a cluster.
const CLUSTER_RETRIES: u32 = 4;

/// The connections of this process, by the fingerprint of their options.
static LINKS: LazyLock<Mutex<HashMap<[u8; 32], Weak<Link>>>> = LazyLock::new(Mutex::default);

/// A shared way to one server, or to one cluster.
pub(super) struct Link {
    pub config: RedisConfig,
    pub place: Arc<Place>,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
    /// Stores that are open; without any, the connection is closed.
    users: AtomicUsize,
    /// Commits that wait for their turn on this connection.
    pub waiting: Mutex<Waiting<Link>>,
    /// How many fields one read may ask this server for.
    pub portion: Portion,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts connections, so that a late failure of an old one does not drop its successor.
    generation: u64,
    since: Option<Instant>,
    failures: u32,
    failed: Option<(Instant, Error)>,
}

#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why a command has no answer.
pub(super) enum Fault {
    /// The driver's error, or that of the server there.
    Redis(RedisError, Arc<Place>),
    /// No connection; the command was not sent.
    Connect(Error),
    /// Sent to the server there, and no answer in time.
    Timeout(Arc<Place>),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Redis(cause, place) if cause.is_io_error() => place.map(&cause).of_ended_connection(),
            Fault::Redis(cause, place) => place.map(&cause),
            Fault::Connect(error) => error,
            Fault::Timeout(place) => place.refused(Kind::Timeout, "the server did not answer in time"),
        }
    }
}

impl Link {
    /// The link for these options; everybody in the process gets the same one, and must give it back once.
    pub fn shared(config: &RedisConfig) -> Arc<Self> {
        let mut links = LINKS.lock();
        let fingerprint = config.fingerprint();
        if let Some(link) = links.get(&fingerprint).and_then(Weak::upgrade) {
            link.users.fetch_add(1, Ordering::Relaxed);
            return link;
        }
        links.retain(|_, link| link.strong_count() > 0);
        let link = Arc::new(Self {
            config: config.clone(),
            place: Arc::new(Place::new(config)),
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            users: AtomicUsize::new(1),
            waiting: Mutex::default(),
            portion: Portion::default(),
        });
        links.insert(fingerprint, Arc::downgrade(&link));
        link
    }

    /// A store is closed. What is under way is still answered.
    pub fn give_back(&self) {
        if self.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.state.lock().connection = None;
        }
    }

    /// Whether the server is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.config.topology, Topology::Cluster(_))
    }

    /// Sends one command and gives its answer; errors inside the answer are errors.
    pub async fn send(&self, command: &Cmd, deadline: Instant) -> std::result::Result<Value, Fault> {
        self.run(deadline, async |connection| match connection {
            Connection::Node(mut node) => node.req_packed_command(command).await,
            Connection::Cluster(mut cluster) => cluster.req_packed_command(command).await,
        })
        .await
    }

    /// Sends a command to one node of the cluster, or to the only server there is.
    pub async fn send_to(
        &self,
        node: Option<&Address>,
        command: &Cmd,
        deadline: Instant,
    ) -> std::result::Result<Value, Fault> {
        let Some((host, port)) = node else {
            return self.send(command, deadline).await;
        };
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress {
            host: host.clone(),
            port: *port,
        });
        self.run(deadline, async |connection| match connection {
            Connection::Node(mut node) => node.req_packed_command(command).await,
            Connection::Cluster(mut cluster) => cluster.route_command(command.clone(), route).await,
        })
        .await
    }

    /// The masters of the cluster, in a fixed order; `None` where there is one server.
    pub async fn masters(&self, deadline: Instant) -> std::result::Result<Option<Vec<Address>>, Fault> {
        if !self.is_cluster() {
            return Ok(None);
        }
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = self
            .run(deadline, async |connection| match connection {
                Connection::Node(mut node) => node.req_packed_command(&redis::cmd("PING")).await,
                Connection::Cluster(mut cluster) => {
                    cluster.route_command(redis::cmd("PING"), everywhere).await
                }
            })
            .await?;
        let answers: HashMap<String, Value> =
            redis::from_redis_value(answers).map_err(|cause| self.fault(cause.into()))?;
        let mut masters: Vec<Address> = answers.keys().filter_map(|name| parse_address(name)).collect();
        masters.sort();
        Ok(Some(masters))
    }

    async fn run(
        &self,
        deadline: Instant,
        send: impl AsyncFnOnce(Connection) -> RedisResult<Value>,
    ) -> std::result::Result<Value, Fault> {
        let Ok(connected) = timeout_at(deadline, self.connection()).await else {
            let text = "could not connect in time";
            return Err(Fault::Connect(self.place.refused(Kind::Unavailable, text)));
        };
        let (connection, generation) = connected.map_err(Fault::Connect)?;
        let Ok(answer) = timeout_at(deadline, send(connection)).await else {
            // The path may be dead without anybody having said so.
            self.drop_connection(generation);
            return Err(Fault::Timeout(self.place.clone()));
        };
        answer.and_then(Value::extract_error).map_err(|cause| {
            if wants_reconnect(&cause) {
                self.drop_connection(generation);
            }
            self.fault(cause)
        })
    }

    fn fault(&self, cause: RedisError) -> Fault {
        Fault::Redis(cause, self.place.clone())
    }

    fn current(&self) -> Option<(Connection, u64)> {
        let state = self.state.lock();
        state
            .connection
            .as_ref()
            .map(|connection| (connection.clone(), state.generation))
    }

    async fn connection(&self) -> Result<(Connection, u64)> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let _only_one = self.connecting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if let Some((until, last)) = &self.state.lock().failed
            && Instant::now() < *until
        {
            return Err(last.clone());
        }
        let connected = match timeout(self.config.connect_timeout, self.connect()).await {
            Ok(Ok(connection)) => self.greet(connection).await,
            Ok(Err(cause)) => Err(self.not_connected(cause).await),
            Err(_) => {
                let text = "the server did not accept a connection in time";
                Err(self
                    .misunderstood(self.place.refused(Kind::Unavailable, text))
                    .await)
            }
        };
        let mut state = self.state.lock();
        match connected {
            Ok(connection) => {
                state.generation += 1;
                state.since = Some(Instant::now());
                state.connection = Some(connection.clone());
                state.failures = 0;
                state.failed = None;
                Ok((connection, state.generation))
            }
            Err(error) => {
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << state.failures.min(10))
                    .min(LONGEST_PAUSE);
                let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
                state.failures = state.failures.saturating_add(1);
                state.failed = Some((Instant::now() + pause.mul_f64(0.5 + jitter / 2.0), error.clone()));
                Err(error)
            }
        }
    }

    /// Whether there ever was a connection.
    pub fn was_connected(&self) -> bool {
        self.state.lock().generation > 0
    }

    fn drop_connection(&self, generation: u64) {
        let mut state = self.state.lock();
        let young = state.since.is_some_and(|since| since.elapsed() < CLUSTER_GRACE);
        if state.generation == generation && !(young && self.is_cluster()) {
            state.connection = None;
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let dial = Dial { config: &self.config };
        Ok(match &self.config.topology {
            Topology::Single(address) => {
                Connection::Node(dial.node(address, &self.config.login, true).await?)
            }
            Topology::Socket(path) => Connection::Node(
                dial.open(dial.info(
                    ConnectionAddr::Unix(path.clone()),
                    &self.config.login,
                    self.config.database,
                )?)
                .await?,
            ),
            Topology::Sentinel {
                sentinels,
                master,
                login,
            } => Connection::Node(sentinel::master(&dial, sentinels, master, login).await?),
            Topology::Cluster(nodes) => Connection::Cluster(dial.cluster(nodes).await?),
        })
    }
}

/// Makes connections with the options of one link.
pub(super) struct Dial<'a> {
    config: &'a RedisConfig,
}

impl Dial<'_> {
    /// Connects to one server as `login`; `data` is false for sentinels, which have no databases.
    pub async fn node(
        &self,
        address: &Address,
        login: &Login,
        data: bool,
    ) -> RedisResult<MultiplexedConnection> {
        let database = if data { self.config.database } else { 0 };
        self.open(self.info(self.address(address), login, database)?)
            .await
    }

    /// Who we are to the data servers.
    pub fn login(&self) -> &Login {
        &self.config.login
    }

    async fn open(&self, info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
        let client = match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        // Time limits are kept in one place, `Link`, which knows what else belongs to the operation.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(256);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn cluster(&self, nodes: &[Address]) -> RedisResult<ClusterConnection> {
        let infos: Vec<_> = nodes
            .iter()
            .map(|node| self.info(self.address(node), &self.config.login, 0))
            .collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(infos)
            .retries(CLUSTER_RETRIES)
            .tcp_settings(tcp_settings())
            // One node that does not answer must leave time for the others.
            .connection_timeout(self.config.connect_timeout / 2)
            .response_timeout(self.config.operation_timeout)
            .overall_response_timeout(None);
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }

    fn address(&self, (host, port): &Address) -> ConnectionAddr {
        if self.config.tls.is_some() {
            ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: self.config.tls.as_ref().is_some_and(|tls| tls.insecure),
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads better beside the other parts of a connection"
    )]
    fn info(&self, address: ConnectionAddr, login: &Login, database: i64) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default()
            .set_db(database)
            .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        if let Some(username) = &login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.as_str());
        }
        Ok(address
            .into_connection_info()?
            .set_redis_settings(settings)
            .set_tcp_settings(tcp_settings()))
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let tls = self.config.tls.as_ref()?;
        Some(TlsCertificates {
            client_tls: tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
                client_cert: certificate.clone(),
                client_key: key.to_vec(),
            }),
            root_cert: Some(tls.roots().to_vec()),
        })
    }
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Reads `host:port`; the host may be an IPv6 address, with or without brackets.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some((
        host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port.parse().ok()?,
    ))
}
