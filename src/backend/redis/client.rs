//! What every store on Redis has: its connections, and how long an operation may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::config::RedisConfig;
use super::connection::Link;
use super::errors::LAYER;
use super::renewals::Renewals;
use super::{proof, warnings};
use crate::backend::store_closed;
use crate::error::Result;

/// Leases renewed by one call.
const RENEWED_AT_ONCE: usize = 200;

/// See the module. Given back when it is closed or dropped.
pub(crate) struct Client {
    pub link: Arc<Link>,
    pub renewals: Renewals,
    /// For what is acknowledged.
    pub commits: Arc<Link>,
    operation_timeout: Duration,
    closed: AtomicBool,
}

impl Client {
    /// Checks the options; connects when it is first used.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        config.validate()?;
        let link = Link::shared(config);
        Ok(Self {
            commits: Link::for_commits(config),
            renewals: Renewals::new(config, &link),
            link,
            operation_timeout: config.operation_timeout,
            closed: AtomicBool::new(false),
        })
    }

    /// When the operation that begins now must have ended.
    pub fn begin(&self) -> Result<Instant> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(store_closed(LAYER));
        }
        Ok(Instant::now() + self.operation_timeout)
    }

    /// Sends one command as an operation of its own.
    pub async fn send(&self, command: &Cmd) -> Result<Value> {
        let deadline = self.begin()?;
        Ok(self.link.send(command, deadline).await?)
    }

    /// How many leases one call may renew. In a cluster, its keys must be of one session; the calls are pipelined.
    pub fn renewed_at_once(&self) -> usize {
        if self.link.is_cluster() {
            1
        } else {
            RENEWED_AT_ONCE
        }
    }

    /// Fails if the user may not run a command of the scripts, or one of `more`; `keys` are two that no session has.
    pub async fn prove(&self, keys: &[String; 2], more: &[&str]) -> Result<()> {
        let wait = self.commits.wants_replicas().then_some("WAIT");
        let more: Vec<_> = more.iter().copied().chain(wait).collect();
        proof::check(&self.link, keys, &more, self.begin()?).await
    }

    /// What an operator should know about a server that holds the only copy, one sentence each: that it may evict keys,
    /// or does not write them to disk.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        warnings::check(&self.link, self.begin()?).await
    }

    /// The same about one whose data may be lost.
    pub async fn cache_warnings(&self) -> Result<Vec<String>> {
        warnings::check_answers(&self.link, self.begin()?).await
    }

    /// Gives the connections back.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.link.give_back();
            self.commits.give_back();
            self.renewals.give_back();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}
