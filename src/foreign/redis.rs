//! Keys of a Redis server, and what they hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::cursors::{Cursors, Page};
use crate::backend::redis::{Address, Fault, Link, RedisConfig, read_scan, unexpected};
use crate::config::{ForeignSection, ms};
use crate::error::{Error, Kind, Result};
use crate::resilience::until_reachable;

const LAYER: &str = "redis";
/// What one call of SCAN or HSCAN looks at.
const COUNT: usize = 1000;
/// A hash of more fields is read in parts, so that the server serves others meanwhile.
const HASH_AT_ONCE: i64 = 5000;
/// Commands that are under way at once.
const PIPELINED: usize = 200;

/// A server, or servers, whose keys are read. All that a key holds is bytes.
pub struct ForeignRedis {
    link: Arc<Link>,
    timeout: Duration,
    scans: Cursors<Scan>,
}

/// A walk over all keys.
struct Scan {
    pattern: Vec<u8>,
    /// Of a cluster, its masters; else one `None`.
    nodes: Vec<Option<Address>>,
    at: usize,
    cursor: String,
    /// Which connection to the node the cursor is of.
    generation: Option<u64>,
    /// Which node served which slot when the walk began.
    slots: u64,
}

impl ForeignRedis {
    /// Connects; waits for a server that is not up as long as the options say.
    pub async fn open(options: &ForeignSection) -> Result<Self> {
        let deadline = StdInstant::now() + ms(options.open_timeout);
        let mut config = RedisConfig::from_url(&options.url)?;
        if let Some(tls) = &options.tls {
            config.tls = Some(tls.into());
        }
        config.operation_timeout = ms(options.operation_timeout);
        config.connect_timeout = config.connect_timeout.min(config.operation_timeout);
        config.validate()?;
        let foreign = Self {
            link: Link::shared(&config),
            timeout: config.operation_timeout,
            scans: Cursors::new(LAYER),
        };
        let ping = cmd("PING");
        until_reachable(deadline, |_| {}, || foreign.send(&ping)).await?;
        Ok(foreign)
    }

    /// Begins to list the keys that match a pattern of Redis.
    pub async fn scan(&self, pattern: Vec<u8>) -> Result<u32> {
        let deadline = self.deadline();
        let masters = self.link.masters(deadline).await?;
        let nodes = masters.map_or_else(|| vec![None], |masters| masters.into_iter().map(Some).collect());
        Ok(self.scans.add(Scan {
            pattern,
            nodes,
            at: 0,
            cursor: "0".to_owned(),
            generation: None,
            slots: self.link.slots(deadline).await?,
        }))
    }

    /// The next keys. One may come twice, if the server makes room for more keys meanwhile; none that is there all the
    /// time is left out.
    pub async fn next_keys(&self, number: u32) -> Result<Page<Vec<u8>>> {
        let mut scan = self.scans.take(number)?;
        let Some(node) = scan.nodes.get(scan.at).cloned() else {
            return Ok(Page {
                items: Vec::new(),
                more: false,
            });
        };
        let mut command = cmd("SCAN");
        command.arg(&scan.cursor).arg("MATCH").arg(&scan.pattern);
        command.arg("COUNT").arg(COUNT);
        let answer = self
            .link
            .send_to(node.as_ref(), &command, self.deadline())
            .await?;
        let (next, found) = read_scan(answer)?;
        let generation = self.link.generation(node.as_ref());
        if *scan.generation.get_or_insert(generation) != generation {
            return Err(interrupted("the connection was lost while keys were listed"));
        }
        let items = found.into_iter().map(bytes).collect::<Result<_>>()?;
        if next == "0" {
            scan.at += 1;
            scan.generation = None;
        }
        scan.cursor = next;
        let more = scan.at < scan.nodes.len();
        if more {
            self.scans.put_back(number, scan);
        } else if self.link.slots(self.deadline()).await? != scan.slots {
            return Err(interrupted("slots of the cluster moved while keys were listed"));
        }
        Ok(Page { items, more })
    }

    /// Gives a list up.
    pub fn end(&self, number: u32) {
        self.scans.drop_one(number);
    }

    /// What a key holds: `string`, `hash`, `set` …, or `none`.
    pub async fn type_of(&self, key: &[u8]) -> Result<String> {
        match self.send(cmd("TYPE").arg(key)).await? {
            Value::SimpleString(text) => Ok(text),
            Value::BulkString(text) => String::from_utf8(text).map_err(|_| unexpected()),
            _ => Err(unexpected()),
        }
    }

    /// What keys hold, in their order; `None` for those that do not exist. Not by MGET, which takes a key of another
    /// type for one that does not exist.
    pub async fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut values = Vec::with_capacity(keys.len());
        for some in keys.chunks(PIPELINED) {
            let answers =
                some.iter().map(
                    async |key| match self.ask(cmd("GET").arg(key), key, "string").await? {
                        Value::Nil => Ok(None),
                        found => bytes(found).map(Some),
                    },
                );
            values.extend(try_join_all(answers).await?);
        }
        Ok(values)
    }

    /// The fields of a hash and their values; none if there is no such key.
    pub async fn hash(&self, key: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.ask(cmd("HLEN").arg(key), key, "hash").await? {
            Value::Int(fields) if fields > HASH_AT_ONCE => self.scan_hash(key).await,
            Value::Int(_) => pairs(self.ask(cmd("HGETALL").arg(key), key, "hash").await?),
            _ => Err(unexpected()),
        }
    }

    async fn scan_hash(&self, key: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut fields = HashMap::new();
        let mut cursor = "0".to_owned();
        let mut connection = None;
        loop {
            let mut command = cmd("HSCAN");
            command.arg(key).arg(&cursor).arg("COUNT").arg(COUNT);
            let (next, found) = read_scan(self.ask(&command, key, "hash").await?)?;
            let node = self.link.node_of(key);
            let now = (self.link.generation(node.as_ref()), node);
            if connection.get_or_insert_with(|| now.clone()) != &now {
                return Err(interrupted("the connection was lost while a hash was read"));
            }
            fields.extend(pairs(Value::Array(found))?);
            if next == "0" {
                return Ok(fields.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// The members of a set; none if there is no such key.
    pub async fn members(&self, key: &[u8]) -> Result<Vec<Vec<u8>>> {
        match self.ask(cmd("SMEMBERS").arg(key), key, "set").await? {
            Value::Array(members) | Value::Set(members) => members.into_iter().map(bytes).collect(),
            _ => Err(unexpected()),
        }
    }

    /// What a field of a hash holds; `None` if there is none.
    pub async fn field(&self, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.ask(cmd("HGET").arg(key).arg(field), key, "hash").await? {
            Value::Nil => Ok(None),
            found => bytes(found).map(Some),
        }
    }

    /// How many items a stream has.
    pub async fn stream_length(&self, key: &[u8]) -> Result<u64> {
        match self.ask(cmd("XLEN").arg(key), key, "stream").await? {
            Value::Int(length) => u64::try_from(length).map_err(|_| unexpected()),
            _ => Err(unexpected()),
        }
    }

    /// The server's time, in milliseconds since 1970.
    pub async fn time(&self) -> Result<u64> {
        let answer = self.send(&cmd("TIME")).await?;
        let (seconds, micros): (u64, u64) = redis::from_redis_value(answer).map_err(|_| unexpected())?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// For how many milliseconds a key lives on; `None` if for ever, or if there is no such key.
    pub async fn lifetime(&self, key: &[u8]) -> Result<Option<u64>> {
        match self.send(cmd("PTTL").arg(key)).await? {
            Value::Int(left) => Ok(u64::try_from(left).ok()),
            _ => Err(unexpected()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    async fn send(&self, command: &Cmd) -> Result<Value> {
        Ok(self.link.send(command, self.deadline()).await?)
    }

    /// Asks for what `key` holds, which must be a `wanted`.
    async fn ask(&self, command: &Cmd, key: &[u8], wanted: &str) -> Result<Value> {
        match self.link.send(command, self.deadline()).await {
            Ok(answer) => Ok(answer),
            Err(Fault::Redis(cause, _)) if cause.code() == Some("WRONGTYPE") => {
                let key = String::from_utf8_lossy(key);
                let text = format!("the key {key:?} holds something else than a {wanted}");
                Err(Error::new(Kind::Corrupt, LAYER, text).with("key", key.into_owned()))
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Drop for ForeignRedis {
    fn drop(&mut self) {
        self.link.give_back();
    }
}

/// A cursor is worth nothing to another server, and a new connection may lead to one.
fn interrupted(what: &'static str) -> Error {
    Error::new(Kind::Unavailable, LAYER, format!("{what}; begin again"))
}

fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected()),
    }
}

fn pairs(answer: Value) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    match answer {
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(field, value)| Ok((bytes(field)?, bytes(value)?)))
            .collect(),
        Value::Array(items) => {
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let Some(field) = items.next() {
                let value = items.next().ok_or_else(unexpected)?;
                pairs.push((bytes(field)?, bytes(value)?));
            }
            Ok(pairs)
        }
        _ => Err(unexpected()),
    }
}
