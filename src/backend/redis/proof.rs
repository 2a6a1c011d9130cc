//! Whether the user may run every command that scripts use: one that is refused midway leaves half a patch behind.

use futures_util::future::try_join_all;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::unexpected;
use super::config::Address;
use super::connection::Link;
use super::errors::{self, LAYER};
use crate::error::{Error, Kind, Result};

const SCRIPT: &str = include_str!("prove.lua");

/// Fails if a master refuses a command of the scripts, or one of `more`.
pub(super) async fn check(link: &Link, keys: &[String; 2], more: &[&str], deadline: Instant) -> Result<()> {
    match link.masters(deadline).await? {
        None => ask(link, None, keys, more, deadline).await,
        Some(masters) => {
            let asked = masters
                .iter()
                .map(|master| ask(link, Some(master), keys, more, deadline));
            try_join_all(asked).await.map(drop)
        }
    }
}

async fn ask(
    link: &Link,
    master: Option<&Address>,
    keys: &[String; 2],
    more: &[&str],
    deadline: Instant,
) -> Result<()> {
    let mut command = cmd("EVAL");
    command.arg(SCRIPT).arg(0).arg(&keys[..]);
    command.arg(u8::from(link.is_cluster())).arg(more);
    let refused = match link.send_to(master, &command, deadline).await? {
        Value::BulkString(refused) => String::from_utf8_lossy(&refused).into_owned(),
        _ => return Err(unexpected()),
    };
    if refused.is_empty() {
        return Ok(());
    }
    let text = format!("{}: {refused}", errors::NO_PERMISSION);
    Err(link
        .server
        .named(Error::new(Kind::Config, LAYER, text))
        .with("commands", refused))
}
