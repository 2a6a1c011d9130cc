//! Since when master keys have been in use here.
//!
//! They are notes of no session, so that an older release reads the folder as before.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::session::number;
use crate::record::KeyId;

/// No row of `session` has this id.
const NO_SESSION: i64 = 0;
const SEEN: &str = "SELECT text FROM note WHERE session = ?1 AND text LIKE ?2 ORDER BY id LIMIT 1";
const SEE: &str = "INSERT INTO note (session, text) VALUES (?1, ?2)";

/// What is written down of `key`.
pub(super) fn seen(db: &Connection, key: KeyId) -> rusqlite::Result<Option<u64>> {
    let text: Option<String> = db
        .prepare_cached(SEEN)?
        .query_row(params![NO_SESSION, format!("key {key} seen %")], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|text| text.rsplit(' ').next()?.parse().ok()))
}

/// What is written down of `key`; if nothing is, `now` from here on.
pub(super) fn see(db: &Connection, key: KeyId, now: u64) -> rusqlite::Result<u64> {
    if let Some(seen) = seen(db, key)? {
        return Ok(seen);
    }
    db.prepare_cached(SEE)?
        .execute(params![NO_SESSION, format!("key {key} seen {}", number(now))])?;
    Ok(now)
}
