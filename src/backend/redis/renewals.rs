//! How renewals of leases reach the server: by a connection of their own. On the one that all commands share, they
//! would wait until a large patch before them is sent and a large answer before theirs is read.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::config::RedisConfig;
use super::connection::{Fault, Link};
use super::scripts::Call;
use crate::backend::renewal_limit;

/// See the module.
pub(crate) struct Renewals {
    own: Arc<Link>,
    shared: Arc<Link>,
}

impl Renewals {
    pub fn new(config: &RedisConfig, shared: &Arc<Link>) -> Self {
        Self {
            own: Link::apart(config),
            shared: shared.clone(),
        }
    }

    /// Runs a script that renews leases which last `lease`. Where the server has no place for a second connection, the
    /// shared one serves.
    pub async fn run(
        &self,
        script: &Call,
        lease: Duration,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, Fault> {
        let limit = renewal_limit(lease) / 10 * 9;
        let deadline = Instant::now() + limit;
        // So that there is time for the shared one if a second one cannot be had.
        let first = if self.own.is_cluster() || self.own.was_connected() {
            limit
        } else {
            limit / 2
        };
        match script.run(&self.own, Instant::now() + first, &arguments).await {
            // With hardly any time left it would take the shared connection for dead.
            Err(Fault::Connect(_)) if Instant::now() + limit / 4 < deadline => {
                script.run(&self.shared, deadline, arguments).await
            }
            answer => answer,
        }
    }

    /// The store is closed.
    pub fn give_back(&self) {
        self.own.give_back();
    }
}
