//! The Lua scripts and how they are called.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script, Value};
use tokio::time::Instant;

use super::connection::{Fault, Link};
use super::errors::is_unknown_script;
use crate::error::Error;
use crate::time;

/// Commits of owners.
pub(super) static COMMIT: LazyLock<Call> = LazyLock::new(|| Call::of_many(include_str!("commit.lua")));
/// Commits without an owner.
pub(super) static MERGE: LazyLock<Call> = LazyLock::new(|| Call::of_many(include_str!("merge.lua")));
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

/// Has replicas confirm what stands there.
pub(super) static CONFIRM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("confirm.lua")));

/// A script.
pub(crate) struct Call {
    text: Cow<'static, str>,
    hash: String,
}

impl Call {
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self {
            hash: Script::new(&text).get_hash().to_owned(),
            text,
        }
    }

    /// A script that commits for many sessions; see `batch.lua`.
    pub fn of_many(text: &str) -> Self {
        Self::new(format!("{}{text}", include_str!("batch.lua")))
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
        command.arg("EVAL").arg(&*self.text);
        arguments(&mut command);
        command
    }
}

/// A time to live as the scripts want it: 0 is for ever.
pub(crate) fn milliseconds(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| time::millis(ttl).clamp(1, 1 << 52))
}
