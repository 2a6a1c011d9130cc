//! Whether the session that a server holds is the one that its reader or writer has seen: evicted, expired, restored from
//! an older copy or taken by another owner, it is not.

use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::{corrupt_head, fenced, parse_lease, unexpected};
use super::backend::RedisBackend;
use super::errors::{LAYER, error};
use super::keys::HeadField;
use crate::backend::{Fence, Seen, SessionId, version_mismatch};
use crate::error::{Error, Kind, Result};

impl RedisBackend {
    /// Fails unless the session with `head` in its `@`, read together with its records, is the one that was seen.
    pub(super) async fn ensure_seen(
        &self,
        session: &SessionId,
        seen: Seen,
        head: &Value,
        deadline: Instant,
    ) -> Result<()> {
        let head: &[u8] = match head {
            Value::BulkString(head) => head,
            Value::Nil => &[],
            _ => return Err(unexpected()),
        };
        match (seen.fence, HeadField::parse(head)) {
            (Fence::Shared, _) if seen.version == 0 => Ok(()),
            (Fence::Shared, Some(found)) if found.version >= seen.version => Ok(()),
            (Fence::Owner(token), Some(found)) if found.token == token => {
                if found.version >= seen.version {
                    return Ok(());
                }
                let error = lost("Redis holds an older copy of the session");
                let error = error.with("version", seen.version).with("found", found.version);
                Err(error.in_session(session))
            }
            _ => Err(self.explain(session, seen, head, deadline).await),
        }
    }

    /// Why somebody who has seen that much of a session is refused by one with `head` in its `@`.
    pub(super) async fn explain(
        &self,
        session: &SessionId,
        seen: Seen,
        head: &[u8],
        deadline: Instant,
    ) -> Error {
        let error = match (seen.fence, HeadField::parse(head)) {
            (_, None) if !head.is_empty() => corrupt_head(),
            // Without an owner a deletion looks the same.
            (Fence::Shared, _) => lost("Redis no longer holds what this writer has seen of the session"),
            (Fence::Owner(_), None) if seen.version == 0 => fenced(None),
            (Fence::Owner(token), None) => self.explain_absence(session, token, deadline).await,
            (Fence::Owner(token), Some(found)) if found.token > token => fenced(Some(found.token)),
            // An older owner's token came back: the server was restored from an old copy.
            (Fence::Owner(token), Some(found)) if found.token < token && found.version < seen.version => {
                gone()
            }
            (Fence::Owner(token), Some(found)) if found.token < token => fenced(Some(found.token)),
            (Fence::Owner(_), Some(found)) => version_mismatch(LAYER, seen.version, found.version),
        };
        error.in_session(session)
    }

    /// Gone with its token. If there is another owner, it deleted or replaced the session.
    async fn explain_absence(&self, session: &SessionId, token: u64, deadline: Instant) -> Error {
        let ask = cmd("GET").arg(self.keys.lease(session)).take();
        match self.client.link.send(&ask, deadline).await {
            Ok(Value::BulkString(lease)) => match parse_lease(&lease) {
                Some((holder, _)) if holder != token => fenced(Some(holder)),
                _ => gone(),
            },
            Ok(_) => gone(),
            Err(fault) => fault.into(),
        }
    }
}

fn gone() -> Error {
    lost("Redis no longer holds what this owner has written")
}

fn lost(message: &'static str) -> Error {
    error(Kind::SessionLost, message)
}
