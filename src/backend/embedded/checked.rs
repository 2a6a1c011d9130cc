//! Whether the indexes may be believed that something is absent.
//!
//! Records and sessions are found through indexes, and a damaged index says "not found" of what is there. So what they
//! hold is summed up where it is written, and the first time that something is not found the sum is compared, once for
//! each session as long as the store is open: damage comes while a file lies on a disk. That reads the keys alone.

use std::collections::HashSet;

use parking_lot::Mutex;
use rusqlite::{Connection, ffi, params};

/// How many keys there are, and the sum of their checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub keys: i64,
    pub checksums: i64,
}

impl Sum {
    pub fn add(&mut self, key: &[u8]) {
        self.keys += 1;
        self.checksums = self.checksums.wrapping_add(i64::from(crc32fast::hash(key)));
    }

    pub fn remove(&mut self, key: &[u8]) {
        self.keys -= 1;
        self.checksums = self.checksums.wrapping_sub(i64::from(crc32fast::hash(key)));
    }

    fn of(keys: &[Vec<u8>]) -> Self {
        let mut sum = Self::default();
        for key in keys {
            sum.add(key);
        }
        sum
    }
}

const RECORDS: &str = "SELECT key, session FROM record INDEXED BY record_key WHERE session = ?1";
const RECORD: &str = "SELECT 1 FROM record INDEXED BY record_key WHERE session = ?1 AND key = ?2";
const SESSIONS: &str = "SELECT name FROM session INDEXED BY sqlite_autoindex_session_1 ORDER BY name";
const SESSION_ROWS: &str = "SELECT name FROM session NOT INDEXED";

/// Records of a session up to which each is sought: a search may also be led astray by damage to what is another
/// session's. Some 20 ms for as many.
const SOUGHT: usize = 10_000;

/// A session's keys as the index holds them, which must come one after the other. What is text and what are bytes
/// matters to their order.
fn record_keys(db: &Connection, session: i64) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = db.prepare_cached(RECORDS)?;
    let mut rows = statement.query([session])?;
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_blob()?.to_vec();
        if row.get::<_, i64>(1)? != session || keys.last().is_some_and(|last| key <= *last) {
            return Err(damaged());
        }
        keys.push(key);
    }
    Ok(keys)
}

fn names(db: &Connection, query: &str) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query([])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(row.get_ref(0)?.as_str()?.as_bytes().to_vec());
    }
    Ok(names)
}

/// What was compared since the store was opened.
#[derive(Default)]
pub(super) struct Checked(Mutex<Done>);

#[derive(Default)]
struct Done {
    sessions: bool,
    records: HashSet<i64>,
}

impl Checked {
    /// To be called where no session was found, or before all are listed: fails if one may be missed.
    pub fn no_session(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut done = self.0.lock();
        if !done.sessions {
            let indexed = names(db, SESSIONS)?;
            if !indexed.is_sorted_by(|one, next| one < next)
                || Sum::of(&indexed) != Sum::of(&names(db, SESSION_ROWS)?)
            {
                return Err(damaged());
            }
            done.sessions = true;
        }
        Ok(())
    }

    /// To be called where a record of a session was not found, or before all are read: fails if one may be missed.
    pub fn no_record(&self, db: &Connection, session: i64, written: Sum) -> rusqlite::Result<()> {
        let mut done = self.0.lock();
        if !done.records.contains(&session) {
            let keys = record_keys(db, session)?;
            if Sum::of(&keys) != written {
                return Err(damaged());
            }
            if keys.len() <= SOUGHT {
                let mut statement = db.prepare_cached(RECORD)?;
                for key in &keys {
                    if !statement.exists(params![session, key])? {
                        return Err(damaged());
                    }
                }
            }
            done.records.insert(session);
        }
        Ok(())
    }
}

pub(super) fn damaged() -> rusqlite::Error {
    let text = "a row and what leads to it do not agree".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT_INDEX), Some(text))
}
