//! Reading what there is, page by page.

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::checked::Checked;
use super::failure::LAYER;
use super::session::{Now, find, number};
use crate::backend::{Cursor, Page, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;

const LIST: &str = "SELECT name FROM session
    WHERE name > ?1 AND version > 0 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY name LIMIT ?3";
const SCAN: &str = "SELECT key, value FROM record
    WHERE session = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4";

/// Part of a session's records, as bounds on their keys.
pub(super) struct Range {
    from: Vec<u8>,
    before: Vec<u8>,
}

impl Range {
    /// The records of a type, or all, after the one that `cursor` names.
    pub fn new(kind: Option<&str>, cursor: Option<&Cursor>) -> Result<Self> {
        // A type's last byte, as any byte of UTF-8, is less than 0xFF.
        let (mut from, mut before) = (Vec::new(), vec![0xFF, 0xFF]);
        if let Some(kind) = kind {
            from = RecordKey::new(kind, "")?.as_bytes().to_vec();
            before.clone_from(&from);
            if let Some(last) = before.last_mut() {
                *last += 1;
            }
        }
        if let Some(cursor) = cursor {
            from = hex::decode(&**cursor)
                .map_err(|_| Error::new(Kind::InvalidValue, LAYER, "not a cursor of this backend"))?;
            from.push(0);
        }
        Ok(Self { from, before })
    }
}

pub(super) fn scan(
    db: &Connection,
    session: &str,
    range: &Range,
    limit: usize,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<Page<(RecordKey, Bytes)>>> {
    let mut items = Vec::new();
    let mut next = None;
    if let Some(row) = find(db, session, checked, now)?.filter(|row| !row.expired) {
        checked.no_record(db, row.id, row.sum)?;
        let mut statement = db.prepare_cached(SCAN)?;
        let mut rows = statement.query(params![row.id, range.from, range.before, page_size(limit)])?;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob()?;
            match RecordKey::from_bytes(key) {
                Ok(key) => items.push((key, Bytes::from(row.get::<_, Vec<u8>>(1)?))),
                Err(error) => return Ok(Err(error)),
            }
        }
        if items.len() >= limit.max(1) {
            next = items.last().map(|(key, _)| hex::encode(key.as_bytes()).into());
        }
    }
    Ok(Ok(Page { items, next }))
}

pub(super) fn list(
    db: &Connection,
    cursor: Option<&Cursor>,
    limit: usize,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Page<SessionId>> {
    checked.no_session(db)?;
    let after = cursor.map_or("", |cursor| cursor);
    let items = db
        .prepare_cached(LIST)?
        .query_map(
            params![after, number(now.millis()), page_size(limit)],
            |row| -> rusqlite::Result<SessionId> { Ok(row.get_ref(0)?.as_str()?.into()) },
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let next = if items.len() >= limit.max(1) {
        items.last().cloned()
    } else {
        None
    };
    Ok(Page { items, next })
}

fn page_size(limit: usize) -> i64 {
    i64::try_from(limit.max(1)).unwrap_or(i64::MAX)
}
