//! Which leases still stand.

use futures_util::future::{join_all, try_join_all};
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::unexpected;
use super::connection::Link;
use super::keys::Keys;
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// Leases asked about by one command.
const ASKED_AT_ONCE: usize = 200;

/// In the order asked.
pub(super) async fn held(
    link: &Link,
    keys: &Keys,
    leases: &[(SessionId, Token)],
    deadline: Instant,
) -> Result<Vec<bool>> {
    if link.is_cluster() {
        // A node that does not answer is no news for the sessions of the others; `acquire` says so for its own.
        let calls = leases.chunks(1).map(async |one| {
            let held = some_held(link, keys, one, deadline).await;
            held.unwrap_or_else(|_| vec![false])
        });
        return Ok(join_all(calls).await.concat());
    }
    let calls = leases
        .chunks(ASKED_AT_ONCE)
        .map(|some| some_held(link, keys, some, deadline));
    Ok(try_join_all(calls).await?.concat())
}

/// Of sessions of one node.
async fn some_held(
    link: &Link,
    keys: &Keys,
    leases: &[(SessionId, Token)],
    deadline: Instant,
) -> Result<Vec<bool>> {
    let mut command = cmd("MGET");
    for (session, _) in leases {
        command.arg(keys.lease(session));
    }
    let found = match link.send(&command, deadline).await? {
        Value::Array(found) if found.len() == leases.len() => found,
        _ => return Err(unexpected()),
    };
    let held = found.iter().zip(leases).map(|(found, (_, token))| {
        matches!(found, Value::BulkString(lease) if lease.starts_with(format!("{token} ").as_bytes()))
    });
    Ok(held.collect())
}
