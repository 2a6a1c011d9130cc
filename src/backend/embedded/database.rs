//! The connection: opening, transactions, group commit, checkpoints.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::checked::Checked;
use super::config::Durability;
use super::failure::{self, LAYER};
use super::files::{Files, Identity, open_private};
use super::grants::Grants;
use super::mark::{self, Mark};
use super::place::Place;
use super::schema;
use super::session::{self, Now};
use super::turn::Turn;
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
    place: Arc<Place>,
    shared: bool,
    /// The file says that there is a log; see [`mark`].
    raised: Cell<bool>,
    /// The log says so too, and is to say the contrary with the next write.
    lower: Cell<bool>,
}

impl Database {
    /// Opens the database; the caller holds the folder's lock, `shared` with others or not. `on_commit` is told how
    /// many pages are in the log after each commit.
    pub fn open(
        place: Arc<Place>,
        durability: Durability,
        shared: bool,
        mut on_commit: impl FnMut(u32) + Send + 'static,
    ) -> Result<Self> {
        let files = &place.files;
        let turn = Turn::take(files, shared)?;
        let alone = schema::check_file(files)?;
        let mut connection = connect(files, durability)?;
        let together = schema::check_tables(files, alone, &connection)?;
        drop(turn);
        let failed = |error| failure::database(&files.database, None, &error);
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
        place.note_log();
        Ok(Self {
            connection,
            shared,
            raised: Cell::new(alone.is_raised_for(together)),
            lower: Cell::new(together.has_log),
            place,
        })
    }

    /// Answers if the files are in their place and can be read.
    pub fn ping(&self) -> Result<()> {
        self.place.look_only()?;
        self.read(|db| db.prepare_cached("SELECT 1 FROM session LIMIT 1")?.exists([]))
            .map(drop)
    }

    /// Runs `work` in a transaction that sees one state of the database.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.transaction("BEGIN", work)
            .map_err(|error| self.failed(&error))
    }

    /// Runs `work` in a transaction of its own: all of it is committed, or, after an error of `SQLite`, nothing. If the
    /// files have lost their place meanwhile that is the answer, whether it was committed or not.
    pub fn write<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.place.check()?;
        if !self.raised.get() {
            let _turn = Turn::take(&self.place.files, self.shared)?;
            self.begin_log()?;
        }
        let done = self
            .transaction("BEGIN IMMEDIATE", |db| {
                if self.lower.get() {
                    mark::lower(db)?;
                }
                work(db)
            })
            .map_err(|error| self.failed(&error))?;
        self.lower.set(false);
        self.place.check()?;
        Ok(done)
    }

    /// Makes the file say that there is a log: before this nothing may be acknowledged that is in the log alone.
    fn begin_log(&self) -> Result<()> {
        self.lower.set(true);
        let begun = self
            .log_mode()
            .and_then(|()| self.raise())
            .and_then(|()| checkpoint(&self.connection, "FULL"))
            .map_err(|error| self.failed(&error))?;
        if !begun.is_complete() {
            return Err(self.busy());
        }
        self.place.note_log();
        self.raised.set(true);
        Ok(())
    }

    /// A copy that another tool has made need not be in this mode.
    fn log_mode(&self) -> rusqlite::Result<()> {
        self.connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
    }

    fn raise(&self) -> rusqlite::Result<()> {
        self.transaction("BEGIN IMMEDIATE", mark::raise)
    }

    fn lower(&self) -> rusqlite::Result<()> {
        self.transaction("BEGIN IMMEDIATE", mark::lower)?;
        self.lower.set(false);
        Ok(())
    }

    /// To be called before the log is moved beside the commits; `false` if there is nothing to move.
    pub fn before_checkpoint(&self) -> Result<bool> {
        self.place.look_only()?;
        if self.raised.get() {
            self.raise().map_err(|error| self.failed(&error))?;
        }
        Ok(self.raised.get())
    }

    /// To be called after the log was moved, at least up to what [`Database::before_checkpoint`] left there.
    pub fn after_checkpoint(&self) -> Result<()> {
        self.lower().map_err(|error| self.failed(&error))
    }

    /// Moves all of the log into the file and empties it: the file alone is complete then, and says so.
    pub fn settle(&self) -> Result<()> {
        let settled = if self.raised.get() || self.lower.get() {
            self.raise()
                .and_then(|()| checkpoint(&self.connection, "FULL"))
                .and_then(|moved| {
                    if moved.is_complete() {
                        self.lower()?;
                        checkpoint(&self.connection, "TRUNCATE")
                    } else {
                        Ok(moved)
                    }
                })
        } else {
            checkpoint(&self.connection, "TRUNCATE")
        };
        if !settled.map_err(|error| self.failed(&error))?.is_complete() {
            return Err(self.busy());
        }
        self.raised.set(false);
        Ok(())
    }

    /// Leaves nothing in the files of what was overwritten or deleted. In a folder that is shared the log keeps it
    /// until all have closed.
    pub fn scrub(&self) -> Result<()> {
        self.place.look()?;
        if self.shared {
            self.begin_log()?;
            self.after_checkpoint()
        } else {
            self.settle()
        }
    }

    fn busy(&self) -> Error {
        Error::new(
            Kind::Unavailable,
            LAYER,
            format!(
                "another program keeps reading {}, so that its log cannot be emptied",
                self.place.files.database.display()
            ),
        )
    }

    /// Commits all in one transaction; should that fail for the sake of one, each in its own.
    pub fn commit(&self, commits: &[Commit], grants: &Grants, checked: &Checked) -> Vec<Result<Head>> {
        let now = Now::get();
        let together = self.write(|db| {
            commits
                .iter()
                .map(|commit| session::commit(db, commit, grants, checked, now))
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        match together {
            Ok(answers) => answers,
            // What is wrong with the whole database will not be better one by one.
            Err(error) if commits.len() == 1 || matches!(error.kind(), Kind::Unavailable | Kind::Fenced) => {
                commits.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => commits
                .iter()
                .flat_map(|commit| self.commit(std::slice::from_ref(commit), grants, checked))
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
        failure::database(&self.place.files.database, Some(&self.connection), error)
    }

    /// Moves the log into the database, empties it and closes the files. A database that has lost its name, or its
    /// folder to somebody else, is left as it is, and so is what stands in its place.
    pub fn close(self) -> Result<()> {
        let ours = self.place.has_database() && self.place.keeps_folder();
        let mut settled = Ok(());
        // Held to the end: the last who closes a shared folder empties the log.
        let _turn = if ours {
            let turn = Turn::take(&self.place.files, self.shared)?;
            settled = if self.shared { self.leave() } else { self.settle() };
            Some(turn)
        } else {
            None
        };
        // `SQLite` empties and deletes whatever log the name leads to.
        if ours && settled.is_ok() && self.place.has_log() {
            settled = self
                .connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
                .map(drop)
                .map_err(|error| self.failed(&error));
        }
        let closed = self.connection.close().map_err(|(connection, error)| {
            failure::database(&self.place.files.database, Some(&connection), &error)
        });
        settled.and(closed)
    }

    /// Others may go on writing. The last of them lets `SQLite` empty the log, for which it must not say that there
    /// is one.
    fn leave(&self) -> Result<()> {
        if self.read(Mark::read)?.has_log {
            self.begin_log()?;
            self.after_checkpoint()?;
        }
        Ok(())
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
    // `secure_delete`: what was deleted or overwritten is overwritten with zeros.
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| {
            // Leaving it must not write to it: it may not be ours, or not sound, and only what [`Database::close`] leaves
            // behind is complete and says so.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // `fullfsync` makes macOS flush the disk's own cache as well; elsewhere it means nothing.
            connection.execute_batch(&format!(
                "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
                 PRAGMA synchronous = {synchronous}; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1;
                 PRAGMA secure_delete = 1; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 4194304;"
            ))
        })
        .map_err(|error| failure::database(path, Some(&connection), &error))?;
    Ok(connection)
}

/// A connection for what runs beside the commits.
pub(super) struct Beside {
    connection: Connection,
    files: Files,
}

/// How far a checkpoint came, in pages of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    log: u32,
    pub pages: u32,
}

impl Moved {
    /// Whether all of the log was moved.
    pub fn is_complete(self) -> bool {
        self.pages >= self.log
    }
}

impl Beside {
    /// Beside a connection to the same files, which were just found in place.
    pub fn open(files: &Files) -> Result<Self> {
        Ok(Self {
            connection: connect(files, Durability::Process)?,
            files: files.clone(),
        })
    }

    /// Fails unless everything in the database is as `SQLite` wrote it, indexes and their tables included.
    pub fn verify(&self) -> Result<()> {
        let found: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(|error| failure::database(&self.files.database, Some(&self.connection), &error))?;
        if found == "ok" {
            return Ok(());
        }
        let text = format!("the database is damaged ({})", self.files.database.display());
        Err(Error::new(Kind::Corrupt, LAYER, text).because(&found))
    }

    /// Moves what is in the log now into the database, without waiting for anybody.
    pub fn run(&self) -> Result<Moved> {
        checkpoint(&self.connection, "PASSIVE")
            .map_err(|error| failure::database(&self.files.database, Some(&self.connection), &error))
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Moved> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        // -1 if there is no log, and if somebody else is at it: nothing was moved then, as far as we know.
        let (busy, log, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let pages = |found: i64| u32::try_from(found).unwrap_or(0);
        Ok(Moved {
            log: if busy { u32::MAX } else { pages(log) },
            pages: pages(moved),
        })
    })
}

/// Makes what is in the log survive power loss. Through a descriptor of its own, which is safe for the log and
/// only for the log: `SQLite` keeps its POSIX locks on the other two files.
pub(super) fn flush(files: &Files, log: Option<Identity>) -> Result<()> {
    let failed = |error| failure::file(&files.wal, "cannot flush", &error);
    let file = open_private(&files.wal, &mut OpenOptions::new()).map_err(failed)?;
    if log.is_some_and(|log| file.metadata().is_ok_and(|found| Identity::of(&found) != log)) {
        return Err(Error::new(
            Kind::Unavailable,
            LAYER,
            format!("{} was replaced while open", files.wal.display()),
        ));
    }
    file.sync_data().map_err(failed)
}
