//! The Lua scripts and how they are called.

use std::sync::LazyLock;

use redis::{Cmd, Script, Value};
use tokio::time::Instant;

use super::connection::{Fault, Link};
use super::errors::is_unknown_script;
use crate::error::Error;

/// Commits of owners.
pub(super) static COMMIT: LazyLock<Call> =
    LazyLock::new(|| Call::new(concat!(include_str!("batch.lua"), include_str!("commit.lua"))));
/// Commits without an owner.
pub(super) static MERGE: LazyLock<Call> =
    LazyLock::new(|| Call::new(concat!(include_str!("batch.lua"), include_str!("merge.lua"))));
/// Takes a lease.
pub(super) static ACQUIRE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("acquire.lua")));
/// Renews leases.
pub(super) static RENEW: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("renew.lua")));
/// Gives a lease back.
pub(super) static RELEASE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("release.lua")));
/// Reads a page of records.
pub(super) static SCAN: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("scan.lua")));
/// Deletes a session.
pub(super) static DELETE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("delete.lua")));
/// Sets a time to live.
pub(super) static TOUCH: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("touch.lua")));

/// Takes a commit into a hot copy and its outbox.
pub(super) static HOT_COMMIT: LazyLock<Call> =
    LazyLock::new(|| Call::new(concat!(include_str!("batch.lua"), include_str!("hot/commit.lua"))));
/// Keeps others from taking a session.
pub(super) static HOT_RESERVE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/reserve.lua")));
/// Shuts older owners out of an outbox.
pub(super) static HOT_FENCE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/fence.lua")));
/// Begins an ownership of a hot copy.
pub(super) static HOT_INSTALL: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/install.lua")));
/// Fills a hot copy.
pub(super) static HOT_WARM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/warm.lua")));
/// Makes the lease beside a hot copy last on.
pub(super) static HOT_RENEW: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/renew.lua")));
/// Gives the lease beside a hot copy back.
pub(super) static HOT_RELEASE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/release.lua")));
/// Removes entries of an outbox.
pub(super) static HOT_TRIM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/trim.lua")));
/// Removes a hot copy and its outbox.
pub(super) static HOT_PURGE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("hot/purge.lua")));

/// Has replicas confirm what stands there.
pub(super) static CONFIRM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("confirm.lua")));

/// A script.
pub(super) struct Call {
    text: &'static str,
    hash: String,
}

impl Call {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: Script::new(text).get_hash().to_owned(),
        }
    }

    /// Runs the script; `arguments` adds the number of keys, the keys and the rest. It is asked again with the
    /// whole script if the server does not know it by its hash: a fresh server, a flush, a failover.
    pub async fn run(
        &self,
        link: &Link,
        deadline: Instant,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, Fault> {
        match link.send(&self.by_hash(&arguments), deadline).await {
            Err(Fault::Redis(cause, _)) if is_unknown_script(&cause) => {
                link.send(&self.whole(arguments), deadline).await
            }
            answer => answer,
        }
    }

    /// [`Call::run`], and why what it did is not confirmed by as many replicas as must, if so.
    pub async fn run_confirmed(
        &self,
        link: &Link,
        deadline: Instant,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<(Value, Option<Error>), Fault> {
        match link.send_confirmed(&self.by_hash(&arguments), deadline).await {
            Err(Fault::Redis(cause, _)) if is_unknown_script(&cause) => {
                link.send_confirmed(&self.whole(arguments), deadline).await
            }
            answer => answer,
        }
    }

    fn by_hash(&self, arguments: impl Fn(&mut Cmd)) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&self.hash);
        arguments(&mut command);
        command
    }

    fn whole(&self, arguments: impl Fn(&mut Cmd)) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(self.text);
        arguments(&mut command);
        command
    }
}
