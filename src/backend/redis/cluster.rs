//! A cluster: a channel for each node, and the map of who serves which slot.
//!
//! The nodes have nothing to do with each other here. A node that hangs or is gone fails the commands for its own
//! slots, in their own time, and nothing else waits for it; meanwhile the others are asked whether its slots are
//! somewhere else by now. A node that says that a slot is elsewhere (`MOVED`, `ASK`) is followed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, cmd};
use tokio::time::Instant;

use super::channel::{Channel, Fault};
use super::config::{Address, RedisConfig, Topology, parse_address};
use super::server::ServerContext;
use super::slots::{SlotMap, key_of, slot_of};
use crate::error::Kind;
use crate::runtime;

/// How often one command is sent to another node, or again to one that is busy with its slot.
const REDIRECTIONS: u32 = 5;
/// The pause before a node is asked again that cannot serve a slot at this moment.
const PAUSE: Duration = Duration::from_millis(25);
/// The map is asked for no more often than this.
const LEARN_EVERY: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Cluster {
    config: Arc<RedisConfig>,
    server: Arc<ServerContext>,
    me: Weak<Cluster>,
    nodes: Mutex<Nodes>,
    asking: tokio::sync::Mutex<()>,
    looking: AtomicBool,
}

#[derive(Default)]
struct Nodes {
    channels: HashMap<Address, Arc<Channel>>,
    /// Numbers of the nodes that were ever met.
    numbers: HashMap<Address, usize>,
    map: Option<SlotMap>,
    /// Counts maps.
    learnt: u64,
}

/// What to do about an answer.
enum Next {
    Moved(Address),
    Ask(Address),
    Later,
    Over,
}

impl Cluster {
    pub fn new(config: Arc<RedisConfig>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            server: Arc::new(ServerContext::new(&config)),
            config,
            me: me.clone(),
            nodes: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            looking: AtomicBool::new(false),
        })
    }

    /// Ends all connections.
    pub fn close(&self) {
        for channel in self.nodes.lock().channels.values() {
            channel.close();
        }
    }

    /// Sends a command to the node that serves its key.
    pub async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let mut answers = self.send_all(&[command], deadline).await?;
        let answer = answers.pop().unwrap_or(Value::Nil).extract_error();
        answer.map_err(|cause| Fault::Redis(cause, self.server.clone()))
    }

    /// Sends commands, of which the first has a key, one right after the other to the node that serves it. Errors
    /// inside the answers, other than of the first that say to ask elsewhere, stay there.
    pub async fn send_all(&self, commands: &[&Cmd], deadline: Instant) -> Result<Vec<Value>, Fault> {
        let slot = commands.first().and_then(|command| key_of(command)).map(slot_of);
        let mut channel = self.serving(slot, deadline).await?;
        let mut asking = false;
        let ask = cmd("ASKING");
        for sent in 1.. {
            let answered = if asking {
                let all: Vec<&Cmd> = std::iter::once(&ask).chain(commands.iter().copied()).collect();
                let answered = channel.send_all(&all, deadline).await;
                answered.map(|mut answers| {
                    answers.remove(0);
                    answers
                })
            } else if let [command] = commands {
                channel.send(command, deadline).await.map(|answer| vec![answer])
            } else {
                channel.send_all(commands, deadline).await
            };
            asking = false;
            let next = match &answered {
                Ok(answers) => match answers.first() {
                    Some(Value::ServerError(error)) => self.after(&error.clone().into(), &channel),
                    _ => Next::Over,
                },
                Err(Fault::Redis(cause, _)) => self.after(cause, &channel),
                Err(_) => Next::Over,
            };
            if answered.is_err() {
                self.learn_soon();
            }
            if matches!(next, Next::Over) || sent > REDIRECTIONS || Instant::now() + PAUSE >= deadline {
                return answered;
            }
            match next {
                Next::Moved(address) => {
                    channel = self.channel(&address);
                    if let Some((slot, map)) = slot.zip(self.nodes.lock().map.as_mut()) {
                        map.moved(slot, address);
                    }
                    self.learn_soon();
                }
                Next::Ask(address) => {
                    channel = self.channel(&address);
                    asking = true;
                }
                Next::Later | Next::Over => {
                    tokio::time::sleep(PAUSE * sent).await;
                    channel = self.serving(slot, deadline).await?;
                }
            }
        }
        unreachable!("the loop returns")
    }

    fn after(&self, cause: &RedisError, channel: &Channel) -> Next {
        let ErrorKind::Server(kind) = cause.kind() else {
            return Next::Over;
        };
        let elsewhere = || {
            let (text, _) = cause.redirect_node()?;
            let (host, port) = parse_address(text)?;
            let host = if host.is_empty() {
                channel.node.clone()?.0
            } else {
                host
            };
            Some((host, port))
        };
        match kind {
            ServerErrorKind::Moved => elsewhere().map_or(Next::Over, Next::Moved),
            ServerErrorKind::Ask => elsewhere().map_or(Next::Over, Next::Ask),
            ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown => {
                self.learn_soon();
                Next::Later
            }
            _ => Next::Over,
        }
    }

    /// Sends a command to one node.
    pub async fn send_to(&self, node: &Address, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        self.channel(node).send(command, deadline).await
    }

    /// The nodes that serve slots, in a fixed order.
    pub async fn masters(&self, deadline: Instant) -> Result<Vec<Address>, Fault> {
        self.learn(deadline).await?;
        Ok(self
            .nodes
            .lock()
            .map
            .as_ref()
            .map(SlotMap::masters)
            .unwrap_or_default())
    }

    /// The node that serves a key, if that is known.
    pub fn node_of(&self, key: &[u8]) -> Option<Address> {
        let nodes = self.nodes.lock();
        nodes.map.as_ref()?.node(slot_of(key)).cloned()
    }

    /// How many connections there were to a node.
    pub fn generation(&self, node: &Address) -> u64 {
        self.channel(node).generation()
    }

    /// Asks which node serves which slot, and gives a digest of it.
    pub async fn slots(&self, deadline: Instant) -> Result<u64, Fault> {
        self.learn(deadline).await?;
        Ok(self.nodes.lock().map.as_ref().map_or(0, SlotMap::digest))
    }

    /// A number for the node that serves this key.
    pub fn part_of(&self, key: &[u8]) -> usize {
        let nodes = self.nodes.lock();
        let node = nodes.map.as_ref().and_then(|map| map.node(slot_of(key)));
        node.and_then(|node| nodes.numbers.get(node))
            .copied()
            .unwrap_or(0)
    }

    /// The node that serves a slot, or any if none is asked for.
    async fn serving(&self, slot: Option<u16>, deadline: Instant) -> Result<Arc<Channel>, Fault> {
        if self.nodes.lock().map.is_none() {
            self.learn(deadline).await?;
        }
        let node = {
            let nodes = self.nodes.lock();
            let map = nodes.map.as_ref();
            if let Some(slot) = slot {
                map.and_then(|map| map.node(slot)).cloned()
            } else {
                let masters = map.map(SlotMap::masters).unwrap_or_default();
                let connected = |node: &&Address| {
                    let channel = nodes.channels.get(*node);
                    channel.is_some_and(|channel| channel.is_connected())
                };
                masters.iter().find(connected).or(masters.first()).cloned()
            }
        };
        if let Some(node) = node {
            return Ok(self.channel(&node));
        }
        self.learn_soon();
        let text = "no node of the cluster serves this slot";
        Err(Fault::Connect(
            self.server.refused(Kind::Unavailable, text).of_part(),
        ))
    }

    fn channel(&self, node: &Address) -> Arc<Channel> {
        let mut nodes = self.nodes.lock();
        let number = nodes.numbers.len();
        nodes.numbers.entry(node.clone()).or_insert(number);
        let make = || Arc::new(Channel::new(self.config.clone(), Some(node.clone())));
        nodes.channels.entry(node.clone()).or_insert_with(make).clone()
    }

    /// Asks for the map in the background.
    fn learn_soon(&self) {
        let Some(cluster) = self.me.upgrade() else { return };
        if cluster.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        runtime::spawn(async move {
            let deadline = Instant::now() + cluster.config.operation_timeout;
            let _ = cluster.learn(deadline).await;
            tokio::time::sleep(LEARN_EVERY).await;
            cluster.looking.store(false, Ordering::Release);
        });
    }

    /// Asks all nodes that are known for the map; the first answer counts.
    async fn learn(&self, deadline: Instant) -> Result<(), Fault> {
        let before = self.nodes.lock().learnt;
        let _only_one = self.asking.lock().await;
        if self.nodes.lock().learnt != before {
            return Ok(());
        }
        let seeds = match &self.config.topology {
            Topology::Cluster(seeds) => seeds.as_slice(),
            _ => &[],
        };
        let mut known = self
            .nodes
            .lock()
            .map
            .as_ref()
            .map(SlotMap::masters)
            .unwrap_or_default();
        known.extend(
            seeds
                .iter()
                .filter(|seed| !known.contains(seed))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let slots = cmd("CLUSTER").arg("SLOTS").take();
        let asked = known.iter().map(|node| {
            let slots = &slots;
            async move {
                let answer = self.channel(node).send(slots, deadline).await?;
                SlotMap::parse(&answer, node).ok_or_else(|| {
                    let text = "no node of the cluster serves any slot";
                    Fault::Connect(self.server.refused(Kind::Unavailable, text))
                })
            }
            .boxed()
        });
        let (map, _) = select_ok(asked).await?;
        let masters = map.masters();
        for master in &masters {
            self.channel(master);
        }
        let mut nodes = self.nodes.lock();
        nodes
            .channels
            .retain(|node, _| masters.contains(node) || seeds.contains(node));
        nodes.map = Some(map);
        nodes.learnt += 1;
        Ok(())
    }
}
