//! Which leases still stand, and who holds them.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::{parse_lease, unexpected};
use super::connection::Link;
use super::errors::error;
use crate::backend::{Holder, Token};
use crate::error::{Kind, Result};

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

/// Who holds the lease at `key`.
pub(super) async fn holder(link: &Link, key: &str, deadline: Instant) -> Result<Option<Holder>> {
    // In this order: a lease that is renewed in between has more left than is said, and none is made up.
    let expires_in = match link.send(cmd("PTTL").arg(key), deadline).await? {
        Value::Int(-2) => return Ok(None),
        Value::Int(left) => u64::try_from(left).ok().map(Duration::from_millis),
        _ => return Err(unexpected()),
    };
    match link.send(cmd("GET").arg(key), deadline).await? {
        Value::Nil => Ok(None),
        Value::BulkString(lease) => {
            let unreadable = || error(Kind::Corrupt, "the session's lease cannot be read");
            let (token, owner) = parse_lease(&lease).ok_or_else(unreadable)?;
            Ok(Some(Holder {
                owner,
                token,
                expires_in,
            }))
        }
        _ => Err(unexpected()),
    }
}
