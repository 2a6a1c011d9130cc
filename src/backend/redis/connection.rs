//! One way to each server for all sessions of the process.
//!
//! A [`Link`] leads to one server, by one [`Channel`], or to a [`Cluster`], by one for each node. Who wants replicas to
//! confirm what is written does so by a link of its own: `WAIT` holds a connection up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use futures_util::FutureExt;
use parking_lot::Mutex;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::channel::Channel;
pub(crate) use super::channel::Fault;
use super::cluster::Cluster;
use super::config::{Address, RedisConfig, Topology, WaitReplicas};
use super::portion::Portion;
use super::server::ServerContext;
use crate::backend::batcher::Waiting;
use crate::error::{Error, Kind};
use crate::time;

/// The links of this process, by the fingerprint of their options and whether they are apart.
static LINKS: LazyLock<Mutex<Links>> = LazyLock::new(Mutex::default);

type Links = HashMap<([u8; 32], bool), Weak<Link>>;

/// A shared way to one server, or to one cluster.
pub(crate) struct Link {
    pub(super) server: Arc<ServerContext>,
    way: Way,
    /// Who must have what is sent here before it is answered.
    replicas: Option<WaitReplicas>,
    /// Stores that are open; without any, the connections are closed.
    users: AtomicUsize,
    /// Commits that wait for their turn on this connection.
    pub(super) waiting: Mutex<Waiting<Link>>,
    /// How many fields one read may ask this server for.
    pub(super) portion: Portion,
}

enum Way {
    One(Channel),
    Cluster(Arc<Cluster>),
}

impl Link {
    /// The link for these options; everybody in the process gets the same one, and must give it back once.
    pub fn shared(config: &RedisConfig) -> Arc<Self> {
        Self::of(reading(config), false)
    }

    /// The link for commits, which is another one if replicas must confirm them.
    pub fn for_commits(config: &RedisConfig) -> Arc<Self> {
        Self::of(config.clone(), false)
    }

    /// Another one for what must not wait behind anything else; it connects when it is first used.
    pub fn apart(config: &RedisConfig) -> Arc<Self> {
        Self::of(reading(config), true)
    }

    fn of(config: RedisConfig, apart: bool) -> Arc<Self> {
        let mut links = LINKS.lock();
        let fingerprint = (config.fingerprint(), apart);
        if let Some(link) = links.get(&fingerprint).and_then(Weak::upgrade) {
            link.users.fetch_add(1, Ordering::Relaxed);
            return link;
        }
        links.retain(|_, link| link.strong_count() > 0);
        let replicas = config.wait_replicas;
        let config = Arc::new(config);
        let link = Arc::new(Self {
            server: Arc::new(ServerContext::new(&config)),
            way: match &config.topology {
                Topology::Cluster(_) => Way::Cluster(Cluster::new(config)),
                _ => Way::One(Channel::new(config, None)),
            },
            replicas,
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
            match &self.way {
                Way::One(channel) => channel.close(),
                Way::Cluster(cluster) => cluster.close(),
            }
        }
    }

    /// Whether the server is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }

    /// Whether there ever was a connection; of a cluster that is not known.
    pub fn was_connected(&self) -> bool {
        matches!(&self.way, Way::One(channel) if channel.was_connected())
    }

    /// Counts the connections to that node, or to the only server there is: a cursor of an earlier one means nothing to
    /// this one, which may lead to another server.
    pub fn generation(&self, node: Option<&Address>) -> u64 {
        match (&self.way, node) {
            (Way::One(channel), _) => channel.generation(),
            (Way::Cluster(cluster), Some(node)) => cluster.generation(node),
            (Way::Cluster(_), None) => 0,
        }
    }

    /// The node of a cluster that serves a key, as far as that is known.
    pub fn node_of(&self, key: &[u8]) -> Option<Address> {
        match &self.way {
            Way::One(_) => None,
            Way::Cluster(cluster) => cluster.node_of(key),
        }
    }

    /// Which node serves which slot, asked anew; 0 where there is one server.
    pub async fn slots(&self, deadline: Instant) -> Result<u64, Fault> {
        match &self.way {
            Way::One(_) => Ok(0),
            Way::Cluster(cluster) => cluster.slots(deadline).boxed().await,
        }
    }

    /// Whether replicas must confirm what is sent.
    pub fn wants_replicas(&self) -> bool {
        self.replicas.is_some()
    }

    /// Sends one command and gives its answer; errors inside the answer are errors.
    pub async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        match &self.way {
            Way::One(channel) => channel.send(command, deadline).await,
            Way::Cluster(cluster) => cluster.send(command, deadline).boxed().await,
        }
    }

    /// [`Link::send`], and whether it is confirmed by as many replicas as must: if not, how many did.
    pub async fn send_confirmed(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<(Value, Option<Error>), Fault> {
        let Some(replicas) = self.replicas else {
            return Ok((self.send(command, deadline).await?, None));
        };
        let mut wait = cmd("WAIT");
        let limit = time::millis(replicas.timeout);
        wait.arg(replicas.count).arg(limit.max(1));
        let commands = [command, &wait];
        let (answers, server) = match &self.way {
            Way::One(channel) => (channel.send_all(&commands, deadline).await?, &self.server),
            Way::Cluster(cluster) => (cluster.send_all(&commands, deadline).boxed().await?, &self.server),
        };
        let mut answers = answers.into_iter();
        let mut next = || {
            let answer = answers.next().unwrap_or(Value::Nil).extract_error();
            answer.map_err(|cause| Fault::Redis(cause, server.clone()))
        };
        let answer = next()?;
        let confirmed = match next()? {
            Value::Int(confirmed) => u32::try_from(confirmed).unwrap_or(0),
            _ => 0,
        };
        let unconfirmed = (confirmed < replicas.count).then(|| self.unconfirmed(replicas, confirmed));
        Ok((answer, unconfirmed))
    }

    fn unconfirmed(&self, wanted: WaitReplicas, confirmed: u32) -> Error {
        let text = "the write was made, but fewer replicas than waitReplicas asks for confirmed it in time: a \
                    failover may lose it";
        self.server
            .refused(Kind::Unavailable, text)
            .with("replicas", confirmed)
            .with("waitReplicas", wanted.count)
            .of_part()
    }

    /// Sends a command to one node of the cluster, or to the only server there is.
    pub async fn send_to(
        &self,
        node: Option<&Address>,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Fault> {
        match (&self.way, node) {
            (Way::Cluster(cluster), Some(node)) => cluster.send_to(node, command, deadline).boxed().await,
            _ => self.send(command, deadline).await,
        }
    }

    /// The masters of the cluster, in a fixed order; `None` where there is one server.
    pub async fn masters(&self, deadline: Instant) -> Result<Option<Vec<Address>>, Fault> {
        match &self.way {
            Way::One(_) => Ok(None),
            Way::Cluster(cluster) => cluster.masters(deadline).boxed().await.map(Some),
        }
    }

    /// A number for the node that serves this key: what it fails to answer is no other's business.
    pub fn part_of(&self, key: &str) -> usize {
        match &self.way {
            Way::One(_) => 0,
            Way::Cluster(cluster) => cluster.part_of(key.as_bytes()),
        }
    }
}

/// Without what commits alone wait for.
fn reading(config: &RedisConfig) -> RedisConfig {
    RedisConfig {
        wait_replicas: None,
        ..config.clone()
    }
}
