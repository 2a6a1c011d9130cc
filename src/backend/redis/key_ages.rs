//! Since when master keys have been in use here.

use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::unexpected;
use super::connection::Link;
use super::errors::error;
use crate::error::{Kind, Result};

/// What stands at `key`; if nothing does, `now` from here on.
pub(super) async fn seen(link: &Link, key: &str, now: u64, deadline: Instant) -> Result<u64> {
    link.send(cmd("SET").arg(key).arg(now).arg("NX"), deadline)
        .await?;
    match link.send(cmd("GET").arg(key), deadline).await? {
        Value::BulkString(seen) => std::str::from_utf8(&seen)
            .ok()
            .and_then(|seen| seen.parse().ok())
            .ok_or_else(|| error(Kind::Corrupt, "when a key was first seen cannot be read")),
        // Deleted in between, by whoever emptied the server.
        Value::Nil => Ok(now),
        _ => Err(unexpected()),
    }
}

/// The server's clock, in milliseconds since the Unix epoch.
pub(super) async fn clock(link: &Link, deadline: Instant) -> Result<u64> {
    let number = |part: &Value| match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let Value::Array(parts) = link.send(&cmd("TIME"), deadline).await? else {
        return Err(unexpected());
    };
    match parts.iter().map(number).collect::<Option<Vec<_>>>().as_deref() {
        Some([seconds, micros]) => Ok(seconds * 1000 + micros / 1000),
        _ => Err(unexpected()),
    }
}
