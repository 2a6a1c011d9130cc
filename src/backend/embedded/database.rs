//! The connection: opening, transactions, group commit, checkpoints.

use std::fs::OpenOptions;
use std::io;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::config::Durability;
use super::failure::{self, LAYER};
use super::files::{Files, Identity, open_private};
use super::grants::Grants;
use super::schema;
use super::session::{self, Now};
use crate::backend::{Commit, Head};
use crate::error::{Error, Kind, Result};

/// How long a call waits for another process's write (`exclusive: false`). It holds up the thread, so not long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Pages in KiB that a database may keep in memory. More gains nothing: the system caches the file, and the
/// session layer the records.
const CACHE_KIB: u32 = 1024;

/// Larger than the number of different statements in `session`, so that each is compiled once.
const STATEMENTS: usize = 32;

/// An open database.
pub(super) struct Database {
    connection: Connection,
    files: Files,
    identity: Identity,
}

impl Database {
    /// Opens the database, created if there is none; the caller holds the folder's lock. `on_commit` is told how
    /// many pages are in the log after each commit.
    pub fn open(
        files: &Files,
        durability: Durability,
        mut on_commit: impl FnMut(u32) + Send + 'static,
    ) -> Result<Self> {
        schema::check_file(files)?;
        let identity = files
            .identity()
            .map_err(|error| failure::file(&files.database, "cannot find", &error))?;
        let mut connection = connect(files, durability)?;
        let failed = |error| failure::database(&files.database, None, &error);
        schema::check_tables(&files.database, &connection)?;
        if connection.is_readonly("main").map_err(failed)? {
            return Err(Error::new(
                Kind::Unavailable,
                LAYER,
                format!(
                    "the database cannot be written; check its permissions ({})",
                    files.database.display()
                ),
            ));
        }
        connection
            .wal_hook(Some(move |_: &mut _, pages| {
                on_commit(u32::try_from(pages).unwrap_or(0));
                Ok(())
            }))
            .map_err(failed)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(failed)?;
        Ok(Self {
            connection,
            files: files.clone(),
            identity,
        })
    }

    /// Which file is open.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the name still leads to the file that is open, as far as can be seen.
    pub fn is_in_place(&self) -> bool {
        match self.files.identity() {
            Ok(now) => now == self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Answers if the file is in its place and can be read.
    pub fn ping(&self) -> Result<()> {
        check_in_place(&self.files, self.identity)?;
        self.read(|db| db.prepare_cached("SELECT 1 FROM session LIMIT 1")?.exists([]))
            .map(drop)
    }

    /// Runs `work` in a transaction that sees one state of the database.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.transaction("BEGIN", work)
            .map_err(|error| self.failed(&error))
    }

    /// Runs `work` in a transaction of its own: all of it is committed, or, after an error, nothing.
    pub fn write<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        check_in_place(&self.files, self.identity)?;
        self.transaction("BEGIN IMMEDIATE", work)
            .map_err(|error| self.failed(&error))
    }

    /// Commits all in one transaction; should that fail for the sake of one, each in its own.
    pub fn commit(&self, commits: &[Commit], grants: &Grants) -> Vec<Result<Head>> {
        let now = Now::get();
        let together = self.write(|db| {
            commits
                .iter()
                .map(|commit| session::commit(db, commit, grants, now))
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        match together {
            Ok(answers) => answers,
            // What is wrong with the whole database will not be better one by one.
            Err(error) if commits.len() == 1 || error.kind() == Kind::Unavailable => {
                commits.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => commits
                .iter()
                .flat_map(|commit| self.commit(std::slice::from_ref(commit), grants))
                .collect(),
        }
    }

    fn transaction<T>(
        &self,
        begin: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let run = |statement| self.connection.prepare_cached(statement)?.execute([]).map(drop);
        // Only if an earlier rollback failed as well.
        if !self.connection.is_autocommit() {
            run("ROLLBACK")?;
        }
        run(begin)?;
        let done = work(&self.connection).and_then(|done| run("COMMIT").map(|()| done));
        // After some errors SQLite has rolled back already.
        if done.is_err() && !self.connection.is_autocommit() {
            let _ = run("ROLLBACK");
        }
        done
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        failure::database(&self.files.database, Some(&self.connection), error)
    }

    /// Moves the log into the database, empties it and closes the files.
    pub fn close(self) -> Result<()> {
        let truncated = checkpoint(&self.connection, "TRUNCATE").map_err(|error| self.failed(&error));
        let closed = self.connection.close().map_err(|(connection, error)| {
            failure::database(&self.files.database, Some(&connection), &error)
        });
        truncated.and(closed)
    }

    #[cfg(test)]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn connect(files: &Files, durability: Durability) -> Result<Connection> {
    let path = &files.database;
    let connection = Connection::open_with_flags(path, schema::flags())
        .map_err(|error| failure::database(path, None, &error))?;
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Full => "FULL",
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| {
            // Until the file is known for ours and sound, leaving it must not write to it.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // `fullfsync` makes macOS flush the disk's own cache as well; elsewhere it means nothing.
            connection.execute_batch(&format!(
                "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
                 PRAGMA synchronous = {synchronous}; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1;
                 PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 4194304;"
            ))
        })
        .map_err(|error| failure::database(path, Some(&connection), &error))?;
    Ok(connection)
}

/// A connection for checkpoints, which run beside the commits.
pub(super) struct Checkpointer {
    connection: Connection,
    files: Files,
}

impl Checkpointer {
    pub fn open(files: &Files, identity: Identity) -> Result<Self> {
        check_in_place(files, identity)?;
        Ok(Self {
            connection: connect(files, Durability::Process)?,
            files: files.clone(),
        })
    }

    /// Moves what is in the log now into the database, without waiting for anybody. How many of the log's pages
    /// are there then.
    pub fn run(&self) -> Result<u32> {
        checkpoint(&self.connection, "PASSIVE")
            .map_err(|error| failure::database(&self.files.database, Some(&self.connection), &error))
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<u32> {
    // Busy, pages in the log, pages moved (-1 if somebody else is at it: none, as far as we know).
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let moved: i64 = row.get(2)?;
        Ok(u32::try_from(moved).unwrap_or(0))
    })
}

/// Fails if the database was deleted or moved: what is written now would be gone when it is closed.
fn check_in_place(files: &Files, identity: Identity) -> Result<()> {
    let gone = |what: &str| {
        Error::new(
            Kind::Unavailable,
            LAYER,
            format!("{} {what} while open", files.database.display()),
        )
    };
    match files.identity() {
        Ok(now) if now == identity => Ok(()),
        Ok(_) => Err(gone("was replaced")),
        Err(error) => Err(gone("was moved or deleted").because(&error)),
    }
}

/// Makes what is in the log survive power loss. Through a descriptor of its own, which is safe for the log and
/// only for the log: `SQLite` keeps its POSIX locks on the other two files.
pub(super) fn flush(files: &Files) -> Result<()> {
    open_private(&files.wal, &mut OpenOptions::new())
        .and_then(|wal| wal.sync_data())
        .map_err(|error| failure::file(&files.wal, "cannot flush", &error))
}
