//! Which leases still stand.

use futures_util::future::{join_all, try_join_all};
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::unexpected;
use super::connection::Link;
use crate::backend::Token;
use crate::error::Result;

/// Leases asked about by one command.
const ASKED_AT_ONCE: usize = 200;

/// Of the leases at `keys`, each with its token, in the order asked.
pub(crate) async fn held(link: &Link, leases: &[(String, Token)], deadline: Instant) -> Result<Vec<bool>> {
    if link.is_cluster() {
        // A node that does not answer is no news for the sessions of the others; `acquire` says so for its own.
        let calls = leases.chunks(1).map(async |one| {
            let held = some_held(link, one, deadline).await;
            held.unwrap_or_else(|_| vec![false])
        });
        return Ok(join_all(calls).await.concat());
    }
    let calls = leases
        .chunks(ASKED_AT_ONCE)
        .map(|some| some_held(link, some, deadline));
    Ok(try_join_all(calls).await?.concat())
}

/// Of sessions of one node.
async fn some_held(link: &Link, leases: &[(String, Token)], deadline: Instant) -> Result<Vec<bool>> {
    let mut command = cmd("MGET");
    for (key, _) in leases {
        command.arg(key);
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
