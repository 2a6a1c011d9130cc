//! What the database file looks like, and whether a file is one of ours.
//!
//! A database is made under another name and put in place complete, so `vault.db` is never legitimately empty or
//! half made: whatever is not ours is left untouched and reported.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::failure::{self, LAYER};
use super::files::{Files, open_private};
use super::mark::{self, Mark};
use crate::error::{Error, Kind, Result};

/// Marks a database as ours: `BVlt`, big-endian at offset 68 of the file.
const APPLICATION_ID: u32 = 0x4256_6c74;
/// The layout below: the low byte of what stands big-endian at offset 60 (see [`mark`]). A release reads all layouts up
/// to its own.
const LAYOUT: u32 = 1;

/// A session whose `version` is 0 has no records: opened but never written, or deleted. Its row stays, so that
/// fencing tokens keep growing and an owner from before the deletion is still refused.
///
/// `record` is a rowid table with an index, not WITHOUT ROWID: a record of 1.9 KB fits a table page, but not an
/// index page, so that WITHOUT ROWID costs 2 to 4 times as much per write and twice the disk. `record_key` is
/// what a record is found by; overwriting one leaves the index alone. A `note` outlives the deletion of its session.
const CREATE: &str = "
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        token INTEGER NOT NULL,
        claim INTEGER,
        version INTEGER NOT NULL,
        commit_id INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER,
        records INTEGER NOT NULL,
        checksums INTEGER NOT NULL
    );
    CREATE TABLE record (
        session INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL
    );
    CREATE TABLE note (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE UNIQUE INDEX record_key ON record (session, key);
";

/// Fails to compile unless the tables are there.
const CHECK: [&str; 3] = [
    "SELECT id, name, token, claim, version, commit_id, updated_at, expires_at, records, checksums FROM session",
    "SELECT session, key, value FROM record INDEXED BY record_key WHERE session = 1 AND key = x''",
    "SELECT id, session, text FROM note",
];

const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Makes the database if there is none.
pub(super) fn create_if_absent(files: &Files) -> Result<()> {
    let failed = |action: &'static str| move |error| failure::file(&files.database, action, &error);
    if files.database.try_exists().map_err(failed("cannot look for"))? {
        return Ok(());
    }
    if let Some(trace) = files.trace().map_err(failed("cannot look into the folder of"))? {
        return Err(lost(files, &trace));
    }
    let draft = files.folder.join("vault.db.new");
    [
        "vault.db.new",
        "vault.db.new-journal",
        "vault.db.new-wal",
        "vault.db.new-shm",
    ]
    .iter()
    .try_for_each(|left_by_a_crash| remove(&files.folder.join(left_by_a_crash)))
    .and_then(|()| open_private(&draft, OpenOptions::new().create_new(true)))
    .map_err(failed("cannot create"))?;
    make(&draft).map_err(|error| failure::database(&files.database, None, &error))?;
    File::options()
        .write(true)
        .open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&draft, &files.database))
        .and_then(|()| files.sync_folder())
        .map_err(failed("cannot create"))
}

fn make(draft: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(draft, flags())?;
    connection.execute_batch(&format!(
        "BEGIN; {CREATE} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; COMMIT;
         PRAGMA journal_mode = WAL;"
    ))?;
    connection.close().map_err(|(_, error)| error)
}

/// How the database is opened: never created by `SQLite`, and by one thread at a time.
pub(super) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Looks at the file and its log before `SQLite` does, which may write to any database that it opens. What the file
/// alone says about its log. No connection to the database may be open in this process: see `lock::OPEN`.
pub(super) fn check_file(files: &Files) -> Result<Mark> {
    let path = &files.database;
    let failed = |error| failure::file(path, "cannot read", &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut header = Vec::with_capacity(HEADER);
    (&mut file)
        .take(HEADER as u64)
        .read_to_end(&mut header)
        .map_err(failed)?;
    if header.len() < HEADER || !header.starts_with(MAGIC) {
        return Err(corrupt(path, "is not a database"));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mark = Mark::new(number(60));
    check_marks(path, number(68), mark)?;
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let length = file.metadata().map_err(failed)?.len();
    // While there is a log, the file may rightly be behind its header: a checkpoint was interrupted.
    let log = fs::metadata(&files.wal).map_or(0, |wal| wal.len());
    if log == 0 && length < page * u64::from(number(28)) {
        return Err(corrupt(path, "is cut short"));
    }
    if mark.has_log {
        let begins =
            first_bytes(&files.wal).map_err(|error| failure::file(&files.wal, "cannot read", &error))?;
        if !mark::is_log(&begins) {
            return Err(without_log(files, begins.is_empty()));
        }
    }
    Ok(mark)
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(HEADER as u64).read_to_end(&mut bytes).map(drop)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

/// Checks the marks and the tables as `SQLite` sees them, the log included. `alone` is what the file alone says.
pub(super) fn check_tables(files: &Files, alone: Mark, connection: &Connection) -> Result<Mark> {
    let path = &files.database;
    let failed = |error| failure::database(path, Some(connection), &error);
    let mark = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, u32>(0))
            .map_err(failed)
    };
    let together = Mark::new(mark("user_version")?);
    check_marks(path, mark("application_id")?, together)?;
    if !alone.goes_with(together) {
        return Err(corrupt(
            &files.wal,
            "is not the log of the database beside it: one of them is from another time",
        ));
    }
    for statement in CHECK {
        match connection.prepare(statement) {
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => {
                return Err(corrupt(path, "lacks a table").because(&error));
            }
            Err(rusqlite::Error::SqlInputError { msg, .. }) => {
                return Err(corrupt(path, "lacks a table").because(&msg));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(together)
}

fn check_marks(path: &Path, application: u32, mark: Mark) -> Result<()> {
    if application != APPLICATION_ID {
        return Err(Error::new(
            Kind::Config,
            LAYER,
            format!("{} is a database of another program", path.display()),
        ));
    }
    let version = mark.layout;
    if version > LAYOUT {
        return Err(Error::new(
            Kind::Config,
            LAYER,
            format!(
                "{} was written by a newer release (layout {version}, this one knows {LAYOUT})",
                path.display()
            ),
        )
        .with("layout", version)
        .with("newestKnownLayout", LAYOUT));
    }
    if version == 0 {
        return Err(corrupt(path, "has no layout number"));
    }
    Ok(())
}

/// There was a database; a new one in its place would be a new identity.
fn lost(files: &Files, trace: &Path) -> Error {
    let text = format!(
        "{} is missing, but {} says that it was there: put it back. To begin anew, remove what is left of it in the folder",
        files.database.display(),
        trace.file_name().unwrap_or_default().display()
    );
    Error::new(Kind::Corrupt, LAYER, text)
}

fn without_log(files: &Files, missing: bool) -> Error {
    let what = if missing { "is missing" } else { "is damaged" };
    let text = format!(
        "{} {what}, and part of what was stored is in it alone: put it back, or restore a backup of the whole folder; {} \
         was left as it is",
        files.wal.display(),
        files.database.display()
    );
    Error::new(Kind::Corrupt, LAYER, text)
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        LAYER,
        format!("{} {what}; it was left as it is", path.display()),
    )
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
