//! Reads. Each is one statement, so what it shows is of one version.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::LAYER;
use super::connection::Connection;
use super::dial::column;
use super::errors::corrupt;
use super::ids::{id_columns, key_of, session_of, unsigned};
use crate::backend::{Cursor, Fence, Head, Page, Seen, SessionId, Token, fenced, session_lost};
use crate::error::{Error, Result};
use crate::record::RecordKey;

/// Records of one page at most: what is answered stands in memory as a whole.
const PAGE: usize = 1000;

/// Reads sessions and their records.
pub(super) struct Reader {
    pub connection: Arc<Connection>,
}

impl Reader {
    pub(super) async fn head(&self, session: &SessionId) -> Result<Head> {
        let id = session.as_bytes();
        let rows = self
            .connection
            .ask(&self.connection.statements.head, &[(&id, Type::BYTEA)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(Head::default());
        };
        Ok(head_of(unsigned(column(row, 0)?), unsigned(column(row, 1)?)))
    }

    pub(super) async fn read(
        &self,
        session: &SessionId,
        keys: &[RecordKey],
        seen: Seen,
    ) -> Result<Vec<Option<Bytes>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let id = session.as_bytes();
        let (kinds, ids) = names_of(keys);
        let parameters: [super::connection::Parameter<'_>; 3] = [
            (&id, Type::BYTEA),
            (&kinds, Type::BYTEA_ARRAY),
            (&ids, Type::BYTEA_ARRAY),
        ];
        let rows = self
            .connection
            .ask(&self.connection.statements.read, &parameters)
            .await?;
        let version = ensure_seen(seen, rows.first())?;
        match rows.first() {
            Some(row) if version > 0 => records_of(row, 2, keys.len()),
            _ => Ok(vec![None; keys.len()]),
        }
    }

    pub(super) async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        let limit = limit.clamp(1, PAGE);
        let (after_kind, after_id) = read_cursor(cursor.as_deref())?;
        let (id, most) = (session.as_bytes(), i64::try_from(limit).unwrap_or(i64::MAX));
        let kind = kind.map(str::as_bytes);
        let statements = &self.connection.statements;
        let statement = if kind.is_some() {
            &statements.scan_kind
        } else {
            &statements.scan
        };
        let parameters: [super::connection::Parameter<'_>; 5] = [
            (&id, Type::BYTEA),
            (&after_kind, Type::BYTEA),
            (&after_id, Type::BYTEA),
            (&most, Type::INT8),
            (&kind, Type::BYTEA),
        ];
        let rows = self.connection.ask(statement, &parameters).await?;
        let version = ensure_seen(seen, rows.first())?;
        let mut items = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in rows.iter().filter(|_| version > 0) {
            let Some(kind) = column::<Option<&[u8]>>(row, 2)? else {
                continue;
            };
            let (id, long_id) = (column::<&[u8]>(row, 3)?, column::<Option<&[u8]>>(row, 4)?);
            let value = column::<&[u8]>(row, 5)?;
            items.push((key_of(kind, id, long_id)?, Bytes::copy_from_slice(value)));
            last = Some((kind, id));
        }
        let next = last.filter(|_| items.len() >= limit);
        Ok(Page {
            next: next.map(|(kind, id)| format!("{}.{}", hex::encode(kind), hex::encode(id)).into()),
            items,
        })
    }

    pub(super) async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        let limit = limit.max(1);
        let after = cursor.as_deref().unwrap_or_default().as_bytes();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [super::connection::Parameter<'_>; 2] = [(&after, Type::BYTEA), (&most, Type::INT8)];
        let rows = self
            .connection
            .ask(&self.connection.statements.list, &parameters)
            .await?;
        let items: Vec<SessionId> = rows
            .iter()
            .map(|row| session_of(column(row, 0)?))
            .collect::<Result<_>>()?;
        let next = items.last().filter(|_| items.len() >= limit).cloned();
        Ok(Page { items, next })
    }
}

/// A session that does not exist may have a row, which says when it ended.
pub(super) fn head_of(version: u64, updated_at: u64) -> Head {
    if version == 0 {
        return Head::default();
    }
    Head { version, updated_at }
}

/// The names of records as two columns.
pub(super) fn names_of(keys: &[RecordKey]) -> (Vec<&[u8]>, Vec<Vec<u8>>) {
    keys.iter()
        .map(|key| (key.kind().as_bytes(), id_columns(key).0))
        .unzip()
}

/// Records as one array.
pub(super) fn records_of(row: &Row, at: usize, count: usize) -> Result<Vec<Option<Bytes>>> {
    let values: Option<Vec<Option<Vec<u8>>>> = column(row, at)?;
    let values = values.unwrap_or_default();
    if values.len() != count {
        return Err(corrupt("not as many records as were asked for"));
    }
    Ok(values.into_iter().map(|value| value.map(Bytes::from)).collect())
}

fn read_cursor(cursor: Option<&str>) -> Result<(Vec<u8>, Vec<u8>)> {
    let Some(cursor) = cursor else {
        return Ok(Default::default());
    };
    let parts = cursor.split_once('.').unwrap_or_default();
    let decode = |part| hex::decode(part).map_err(|_| corrupt("not a cursor of this storage"));
    Ok((decode(parts.0)?, decode(parts.1)?))
}

/// The version that a row (token, version) says, if it is no less than what the reader has seen.
fn ensure_seen(seen: Seen, row: Option<&Row>) -> Result<u64> {
    let (token, version) = match row {
        Some(row) => (Some(unsigned(column(row, 0)?)), unsigned(column(row, 1)?)),
        None => (None, 0),
    };
    let is_owner = match seen.fence {
        Fence::Shared => true,
        Fence::Owner(owner) => token == Some(owner),
    };
    if is_owner && version >= seen.version {
        return Ok(version);
    }
    Err(refused(seen, token, version))
}

/// Why somebody who has seen that much of a session is refused by a row with `token` and `version`.
pub(super) fn refused(seen: Seen, token: Option<Token>, version: u64) -> Error {
    const OLDER: &str = "PostgreSQL has an older state of the session than this owner has written: after a failover \
                         to a standby that was behind, or a restored backup";
    match (seen.fence, token) {
        (Fence::Owner(_), None) if seen.version == 0 => fenced(LAYER, None),
        // An older owner's token came back.
        (Fence::Owner(owner), Some(token)) if token < owner && version < seen.version => {
            session_lost(LAYER, OLDER, Some(seen.version), version)
        }
        (Fence::Owner(owner), Some(token)) if token != owner => fenced(LAYER, Some(token)),
        _ => session_lost(LAYER, OLDER, Some(seen.version), version),
    }
}
