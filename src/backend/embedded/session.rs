//! What is done to one session, inside a transaction of the caller.
//!
//! Every function checks before it writes, so that an answer such as `Fenced` leaves the transaction as it was and
//! the commits that share it can go on. Its outer result is `SQLite`'s, which does end the transaction.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::checked::{Checked, Sum, damaged};
use super::failure::LAYER;
use super::grants::Grants;
use crate::backend::{
    Acquire, Commit, Fence, Grant, Head, Token, client_token_refused, fenced, version_mismatch,
};
use crate::error::Result;
use crate::record::{Change, RecordKey};
use crate::time::since_epoch;

// The name comes after what is in the row alone, so that it is the row's and not the index's.
const FIND: &str =
    "SELECT id, token, claim, version, commit_id, updated_at, expires_at, name = ?1, records, checksums
    FROM session WHERE name = ?1";
const INSERT: &str =
    "INSERT INTO session (name, token, claim, version, commit_id, updated_at, records, checksums)
    VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)";
const GRANT: &str = "UPDATE session SET token = ?2, claim = ?3 WHERE id = ?1";
const ADVANCE: &str =
    "UPDATE session SET version = ?2, commit_id = ?3, updated_at = ?4, expires_at = ?5, token = ?6,
    records = ?7, checksums = ?8 WHERE id = ?1";
const TOUCH: &str = "UPDATE session SET expires_at = ?2 WHERE id = ?1";
const FORGET: &str =
    "UPDATE session SET version = 0, commit_id = 0, updated_at = 0, expires_at = NULL, records = 0, checksums = 0
    WHERE id = ?1";
const FORGET_RECORDS: &str = "DELETE FROM record WHERE session = ?1";
const EXPIRED: &str = "SELECT id FROM session WHERE expires_at <= ?1 LIMIT 1";

// Overwriting is the common case, and an UPDATE that finds its record costs half of an upsert.
const OVERWRITE: &str = "UPDATE record SET value = ?3 WHERE session = ?1 AND key = ?2";
const PUT: &str = "INSERT INTO record (session, key, value) VALUES (?1, ?2, ?3)";
const REMOVE: &str = "DELETE FROM record WHERE session = ?1 AND key = ?2";
const GET: &str = "SELECT value FROM record WHERE session = ?1 AND key = ?2";
const NOTE: &str = "INSERT INTO note (session, text) VALUES (?1, ?2)";
const NOTES: &str = "SELECT note.text FROM note JOIN session ON session.id = note.session
    WHERE session.name = ?1 ORDER BY note.id";

/// A point in time, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(u64);

impl Now {
    pub fn get() -> Self {
        Self(u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX))
    }

    pub fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// In milliseconds, rounded up, so that a session never lives shorter than it was told to.
    fn after(self, ttl: Duration) -> i64 {
        let ttl = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        number(self.0.saturating_add(ttl).div_ceil(1000))
    }
}

/// `SQLite`'s integers are signed; ours stay far below.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A row of `session`, seen at a point in time.
pub(super) struct Row {
    pub id: i64,
    token: Token,
    client_token: Option<Token>,
    head: Head,
    commit_id: u64,
    /// What is known of its records.
    pub sum: Sum,
    /// Its time is over: `head` is that of a session that does not exist, but the records are there still.
    pub expired: bool,
}

pub(super) fn find(
    db: &Connection,
    session: &str,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Option<Row>> {
    let found = find_row(db, session, now)?;
    match &found {
        None => checked.no_session(db)?,
        // Neither of a session that was never written nor of a deleted one.
        Some(row) if row.head.version == 0 && !row.expired => {
            checked.no_record(db, row.id, Sum::default())?;
        }
        Some(_) => {}
    }
    Ok(found)
}

fn find_row(db: &Connection, session: &str, now: Now) -> rusqlite::Result<Option<Row>> {
    let unsigned = |row: &rusqlite::Row<'_>, at| {
        let value: i64 = row.get(at)?;
        u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
    };
    db.prepare_cached(FIND)?
        .query_row([session], |row| {
            let expires_at: Option<i64> = row.get(6)?;
            let ends_before_it_was_written = expires_at.is_some_and(|at| at < row.get(5).unwrap_or(0));
            if ends_before_it_was_written || row.get(7) != Ok(true) {
                return Err(damaged());
            }
            let expired = expires_at.is_some_and(|at| at <= number(now.millis()));
            let head = Head {
                version: unsigned(row, 3)?,
                updated_at: unsigned(row, 5)?,
            };
            Ok(Row {
                id: row.get(0)?,
                token: unsigned(row, 1)?,
                client_token: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
                head: if expired { Head::default() } else { head },
                commit_id: row.get::<_, i64>(4)?.cast_unsigned(),
                sum: Sum {
                    keys: row.get(8)?,
                    checksums: row.get(9)?,
                },
                expired,
            })
        })
        .optional()
}

/// The row, if the fence lets the caller write; `Ok(None)` where there is no row yet.
fn admit(row: Option<Row>, session: &str, fence: Fence, grants: &Grants) -> Result<Option<Row>> {
    let Fence::Owner(token) = fence else {
        return Ok(row);
    };
    // What was stored counts too: if the lock on the folder was got around, another process has granted the session.
    let current = grants.current(session).max(row.as_ref().map(|row| row.token));
    if current == Some(token) {
        Ok(row)
    } else {
        Err(fenced(LAYER, current))
    }
}

fn forget(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached(FORGET_RECORDS)?.execute([id])?;
    db.prepare_cached(FORGET)?.execute([id])?;
    Ok(())
}

/// Grants the session without writing anything: while the folder is ours, nobody else has to read of it, and the
/// first commit stores the token. `None` if something has to be written: a claim, or the end of an expired session.
pub(super) fn grant(
    db: &Connection,
    request: &Acquire,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Option<Grant>> {
    let row = find(db, &request.session, checked, now)?;
    if request.client_token.is_some() || !grants.are_kept() || row.as_ref().is_some_and(|row| row.expired) {
        return Ok(None);
    }
    let (records, head) = match &row {
        Some(row) => (get(db, row.id, row.sum, &request.read, checked)?, row.head),
        None => (vec![None; request.read.len()], Head::default()),
    };
    Ok(Some(Grant {
        token: grants.issue(&request.session, row.map_or(0, |row| row.token), now.0),
        head,
        records,
        expires: false,
    }))
}

/// Grants the session: that the folder is ours makes everybody who held it before in this process a thing of the
/// past, and the new token says so.
pub(super) fn acquire(
    db: &Connection,
    request: &Acquire,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<Grant>> {
    let row = find(db, &request.session, checked, now)?;
    let accepted = row.as_ref().and_then(|row| row.client_token);
    if let (Some(client_token), Some(accepted)) = (request.client_token, accepted)
        && client_token < accepted
    {
        return Ok(Err(client_token_refused(LAYER, client_token, accepted)));
    }
    let client_token = request.client_token.or(accepted).map(u64::cast_signed);
    let token = grants.issue(&request.session, row.as_ref().map_or(0, |row| row.token), now.0);
    let (id, head, sum) = if let Some(row) = row {
        if row.expired {
            forget(db, row.id)?;
        }
        db.prepare_cached(GRANT)?
            .execute(params![row.id, number(token), client_token])?;
        let sum = if row.expired { Sum::default() } else { row.sum };
        (row.id, row.head, sum)
    } else {
        db.prepare_cached(INSERT)?
            .execute(params![&*request.session, number(token), client_token])?;
        (db.last_insert_rowid(), Head::default(), Sum::default())
    };
    Ok(Ok(Grant {
        token,
        head,
        records: get(db, id, sum, &request.read, checked)?,
        expires: false,
    }))
}

/// Whether the lease is still the one that was granted.
pub(super) fn renew(
    db: &Connection,
    session: &str,
    token: Token,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<()>> {
    Ok(admit(
        find(db, session, checked, now)?,
        session,
        Fence::Owner(token),
        grants,
    )
    .map(drop))
}

pub(super) fn head(db: &Connection, session: &str, checked: &Checked, now: Now) -> rusqlite::Result<Head> {
    Ok(find(db, session, checked, now)?.map_or_else(Head::default, |row| row.head))
}

pub(super) fn read(
    db: &Connection,
    session: &str,
    keys: &[RecordKey],
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Vec<Option<Bytes>>> {
    match find(db, session, checked, now)? {
        Some(row) if !row.expired => get(db, row.id, row.sum, keys, checked),
        _ => Ok(vec![None; keys.len()]),
    }
}

fn get(
    db: &Connection,
    id: i64,
    sum: Sum,
    keys: &[RecordKey],
    checked: &Checked,
) -> rusqlite::Result<Vec<Option<Bytes>>> {
    let mut statement = db.prepare_cached(GET)?;
    keys.iter()
        .map(|key| {
            let found = statement
                .query_row(params![id, key.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
                .map(Bytes::from)
                .optional()?;
            if found.is_none() {
                checked.no_record(db, id, sum)?;
            }
            Ok(found)
        })
        .collect()
}

/// Where the session stands after the commit.
pub(super) fn commit(
    db: &Connection,
    commit: &Commit,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<Head>> {
    let row = match admit(
        find(db, &commit.session, checked, now)?,
        &commit.session,
        commit.fence,
        grants,
    ) {
        Ok(row) => row,
        Err(error) => return Ok(Err(error)),
    };
    let before = row.as_ref().map_or_else(Head::default, |row| row.head);
    if let Some(row) = &row
        && before.version > 0
        && row.commit_id == commit.id
        && (commit.fence == Fence::Shared || before.version == commit.version())
    {
        return Ok(Ok(before));
    }
    let checked = commit.expected || commit.fence != Fence::Shared;
    if checked && before.version != commit.base {
        return Ok(Err(version_mismatch(LAYER, commit.base, before.version)));
    }

    let head = Head {
        version: before.version + u64::from(commit.patches),
        updated_at: now.millis(),
    };
    let version = number(head.version);
    let updated_at = number(head.updated_at);
    let commit_id = commit.id.cast_signed();
    let expires_at = commit.ttl.map(|ttl| now.after(ttl));
    let owner = match commit.fence {
        Fence::Owner(token) => Some(number(token)),
        Fence::Shared => None,
    };
    let (id, token, mut sum) = match row {
        Some(row) if row.expired => {
            forget(db, row.id)?;
            (row.id, row.token, Sum::default())
        }
        Some(row) => (row.id, row.token, row.sum),
        None => {
            db.prepare_cached(INSERT)?
                .execute(params![&*commit.session, 0, None::<i64>])?;
            (db.last_insert_rowid(), 0, Sum::default())
        }
    };
    for change in &commit.changes {
        apply(db, id, change, &mut sum)?;
    }
    db.prepare_cached(ADVANCE)?.execute(params![
        id,
        version,
        commit_id,
        updated_at,
        expires_at,
        owner.unwrap_or(number(token)),
        sum.keys,
        sum.checksums
    ])?;
    if let Some(note) = &commit.note {
        db.prepare_cached(NOTE)?.execute(params![id, &**note])?;
    }
    Ok(Ok(head))
}

fn apply(db: &Connection, id: i64, change: &Change, sum: &mut Sum) -> rusqlite::Result<()> {
    let key = change.key.as_bytes();
    if let Some(value) = &change.value {
        let value = &value[..];
        let overwritten = db.prepare_cached(OVERWRITE)?.execute(params![id, key, value])?;
        if overwritten == 0 {
            db.prepare_cached(PUT)?.execute(params![id, key, value])?;
            sum.add(key);
        }
    } else {
        let removed = db.prepare_cached(REMOVE)?.execute(params![id, key])?;
        if removed > 0 {
            sum.remove(key);
        }
    }
    Ok(())
}

pub(super) fn notes(db: &Connection, session: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(NOTES)?
        .query_map([session], |row| row.get(0))?
        .collect()
}

/// Leaves the row, with its token and claim.
pub(super) fn delete(
    db: &Connection,
    session: &str,
    fence: Fence,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<bool>> {
    match admit(find(db, session, checked, now)?, session, fence, grants) {
        Ok(Some(row)) => {
            if row.expired || row.head.version > 0 {
                forget(db, row.id)?;
            }
            Ok(Ok(row.head.version > 0))
        }
        Ok(None) => Ok(Ok(false)),
        Err(error) => Ok(Err(error)),
    }
}

pub(super) fn touch(
    db: &Connection,
    session: &str,
    fence: Fence,
    ttl: Option<Duration>,
    grants: &Grants,
    checked: &Checked,
    now: Now,
) -> rusqlite::Result<Result<bool>> {
    match admit(find(db, session, checked, now)?, session, fence, grants) {
        Ok(Some(row)) if row.head.version > 0 => {
            db.prepare_cached(TOUCH)?
                .execute(params![row.id, ttl.map(|ttl| now.after(ttl))])?;
            Ok(Ok(true))
        }
        Ok(_) => Ok(Ok(false)),
        Err(error) => Ok(Err(error)),
    }
}

fn expired(db: &Connection, now: Now) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(EXPIRED)?
        .query_row([number(now.millis())], |row| row.get(0))
        .optional()
}

pub(super) fn has_expired(db: &Connection, now: Now) -> rusqlite::Result<bool> {
    Ok(expired(db, now)?.is_some())
}

/// Removes the records of one expired session; `false` if there is none.
pub(super) fn purge_one(db: &Connection, now: Now) -> rusqlite::Result<bool> {
    match expired(db, now)? {
        Some(id) => forget(db, id).map(|()| true),
        None => Ok(false),
    }
}
