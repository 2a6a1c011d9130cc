//! Whether the session that a server holds is the one that its reader or writer has seen: evicted, expired, restored from
//! an older copy or taken by another owner, it is not.

use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::{GONE, OLDER_COPY, corrupt_head, parse_lease, unexpected};
use super::backend::RedisBackend;
use super::errors::LAYER;
use super::keys::HeadField;
use crate::backend::{Fence, Seen, SessionId, fenced, session_lost, version_mismatch};
use crate::error::{Error, Result};

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
                let error = session_lost(LAYER, OLDER_COPY, Some(seen.version), found.version);
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
            (Fence::Shared, found) => {
                let text = "Redis no longer holds what this writer has seen of the session";
                session_lost(
                    LAYER,
                    text,
                    Some(seen.version),
                    found.map_or(0, |found| found.version),
                )
            }
            (Fence::Owner(_), None) if seen.version == 0 => fenced(LAYER, None),
            (Fence::Owner(token), None) => self.explain_absence(session, token, seen.version, deadline).await,
            (Fence::Owner(token), Some(found)) if found.token > token => fenced(LAYER, Some(found.token)),
            // An older owner's token came back: the server was restored from an old copy.
            (Fence::Owner(token), Some(found)) if found.token < token && found.version < seen.version => {
                gone(seen.version, found.version)
            }
            (Fence::Owner(token), Some(found)) if found.token < token => fenced(LAYER, Some(found.token)),
            (Fence::Owner(_), Some(found)) => version_mismatch(LAYER, seen.version, found.version),
        };
        error.in_session(session)
    }

    /// Gone with its token. If there is another owner, it deleted or replaced the session.
    async fn explain_absence(
        &self,
        session: &SessionId,
        token: u64,
        version: u64,
        deadline: Instant,
    ) -> Error {
        let ask = cmd("GET").arg(self.keys.lease(session)).take();
        match self.client.link.send(&ask, deadline).await {
            Ok(Value::BulkString(lease)) => match parse_lease(&lease) {
                Some((holder, _)) if holder != token => fenced(LAYER, Some(holder)),
                _ => gone(version, 0),
            },
            Ok(_) => gone(version, 0),
            Err(fault) => fault.into(),
        }
    }
}

fn gone(expected: u64, actual: u64) -> Error {
    session_lost(LAYER, GONE, Some(expected), actual)
}
