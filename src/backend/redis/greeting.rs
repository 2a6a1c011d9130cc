//! What a server says when a connection begins, or why there is none.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{ErrorKind, RedisError, Value};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::channel::Channel;
use super::config::{Address, Topology};
use super::errors;
use crate::backend::tls;
use crate::error::{Error, Kind, Result};

/// How long a server that ends a connection at once is listened to.
const FAREWELL: Duration = Duration::from_millis(250);
/// How long a server may take to show whether it speaks TLS.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

impl Channel {
    /// Finds out now what would otherwise fail in one command and not in another: a missing password, a server that
    /// loads its data, one of another kind than the URL says.
    pub(super) async fn greet(&self, connection: MultiplexedConnection) -> Result<MultiplexedConnection> {
        let mut node = connection.clone();
        let hello = redis::cmd("HELLO");
        let greeting = async {
            let hello = node.req_packed_command(&hello).await;
            let ping = node.req_packed_command(&redis::cmd("PING")).await;
            (hello, ping)
        };
        let Ok((hello, ping)) = timeout(self.config.connect_timeout, greeting).await else {
            let text = "the server did not answer in time";
            return Err(self.server.refused(Kind::Timeout, text));
        };
        match ping.and_then(Value::extract_error) {
            // Not every user may ask; what it may, the next command will tell.
            Err(cause) if cause.code() == Some("NOPERM") => {}
            Err(cause) => return Err(self.not_connected(cause).await),
            Ok(_) => {}
        }
        if self.node.is_some() {
            // Whether it is part of a cluster, its map tells.
            return Ok(connection);
        }
        match hello.ok().as_ref().and_then(mode).as_deref() {
            Some("sentinel") => Err(self.server.refused(Kind::Config, errors::SENTINEL)),
            Some("cluster") => Err(self.server.refused(Kind::Config, errors::CLUSTER)),
            _ => Ok(connection),
        }
    }

    /// Why the server ends connections at once, if it says so: it writes that before anything is asked, and the
    /// driver, which writes first, does not get to read it.
    async fn farewell(&self) -> Option<RedisError> {
        let (host, port) = match &self.config.topology {
            _ if self.config.tls.is_some() => return None,
            _ if self.node.is_some() => self.node.as_ref()?,
            Topology::Single(address) => address,
            _ => return None,
        };
        let listen = async {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
            let mut line = Vec::with_capacity(512);
            // A server that takes the connection says nothing, and one that does not ends it.
            let _ = timeout(FAREWELL, stream.read_to_end(&mut line)).await;
            if line.first() != Some(&b'-') {
                return None;
            }
            redis::parse_redis_value(&line).ok()?.extract_error().err()
        };
        timeout(self.config.connect_timeout, listen).await.ok().flatten()
    }

    /// Why there is no connection: by the server's word, if it gave one.
    pub(super) async fn not_connected(&self, cause: RedisError) -> Error {
        if let Some(refusal) = tls::refusal(errors::LAYER, &cause.to_string()) {
            return self.server.named(refusal.because(&cause));
        }
        let why = if cause.is_io_error() {
            self.farewell().await
        } else {
            None
        };
        let failed = self.server.map(why.as_ref().unwrap_or(&cause));
        let spoke = why.is_some() || matches!(cause.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        if spoke || failed.kind() != Kind::Unavailable {
            return failed;
        }
        self.misunderstood(failed).await
    }

    pub(super) async fn misunderstood(&self, failed: Error) -> Error {
        match self.misunderstanding().await {
            Some(message) => self.server.refused(Kind::Config, message).because(&failed),
            None => failed,
        }
    }

    /// Whether a server that never took a connection of ours speaks TLS where we do not, or the reverse: what comes of
    /// that looks like any other failed connection.
    async fn misunderstanding(&self) -> Option<&'static str> {
        if self.was_connected() {
            return None;
        }
        let address = match (&self.node, &self.config.topology) {
            (Some(node), _) => node,
            (None, Topology::Single(address)) => address,
            (None, Topology::Cluster(nodes) | Topology::Sentinel { sentinels: nodes, .. }) => {
                nodes.first()?
            }
            (None, Topology::Socket(_)) => return None,
        };
        if self.config.tls.is_some() {
            let answer = answer_of(address, b"PING\r\n").await?;
            matches!(answer, b'+' | b'-').then_some(tls::NOT_TLS)
        } else {
            let answer = answer_of(address, tls::HALF_A_HANDSHAKE).await?;
            (answer == tls::ALERT).then_some(
                "the server speaks TLS at this port: connect by TLS (rediss://, or the option tls), or give its other port",
            )
        }
    }
}

/// `standalone`, `cluster` or `sentinel`, from the answer to HELLO.
fn mode(hello: &Value) -> Option<String> {
    let pairs: HashMap<String, Value> = redis::from_redis_value(hello.clone()).ok()?;
    redis::from_redis_value(pairs.get("mode")?.clone()).ok()
}

/// The first byte that a server answers to `question`.
async fn answer_of(address: &Address, question: &[u8]) -> Option<u8> {
    let asked = async {
        let stream = TcpStream::connect((address.0.as_str(), address.1)).await.ok()?;
        stream.writable().await.ok()?;
        stream.try_write(question).ok()?;
        stream.readable().await.ok()?;
        let mut first = [0];
        stream.try_read(&mut first).ok().filter(|&read| read == 1)?;
        Some(first[0])
    };
    timeout(FIRST_ANSWER, asked).await.ok().flatten()
}
