//! Whether the indexes may be believed that something is absent.
//!
//! Records and sessions are found through indexes, and a damaged index says "not found" of what is there. So what they
//! hold is summed up where it is written, and the first time that something is not found the sum is compared, once for
//! each session as long as the store is open: damage comes while a file lies on a disk. That reads the keys alone.

use std::collections::HashSet;

use parking_lot::Mutex;
use rusqlite::{Connection, ffi};

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

    /// Of a query's first column.
    fn of(db: &Connection, query: &str, session: Option<i64>) -> rusqlite::Result<Self> {
        let mut sum = Self::default();
        let mut statement = db.prepare_cached(query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(session))?;
        while let Some(row) = rows.next()? {
            sum.add(row.get_ref(0)?.as_bytes()?);
        }
        Ok(sum)
    }
}

const RECORDS: &str = "SELECT key FROM record INDEXED BY record_key WHERE session = ?1";
const SESSIONS: &str = "SELECT name FROM session INDEXED BY sqlite_autoindex_session_1 ORDER BY name";
const SESSION_ROWS: &str = "SELECT name FROM session NOT INDEXED";

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
            if Sum::of(db, SESSIONS, None)? != Sum::of(db, SESSION_ROWS, None)? {
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
            if Sum::of(db, RECORDS, Some(session))? != written {
                return Err(damaged());
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
