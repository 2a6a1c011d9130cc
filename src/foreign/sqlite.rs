//! Rows of any table of an SQLite file.
//!
//! All that one [`ForeignSqlite`] reads is of one moment, beside whoever writes: its first statement begins a read
//! transaction, which ends when it is closed.
//!
//! A file that nobody has open is read without a trace. An ordinary reader would make a log and its index beside a file in
//! WAL mode, leave them there, and need a folder that it may write to. So such a file is opened as one that does not
//! change, and that it has not changed is seen to after each read.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde::Deserialize;

use super::cursors::{Cursors, Page};
use crate::backend::embedded::sqlite_error;
use crate::error::{Error, Kind, Result};

const LAYER: &str = "sqlite";
/// Most rows in one page, and about as many bytes.
const PAGE_ROWS: usize = 1000;
const PAGE_BYTES: usize = 4 << 20;

/// A file whose tables are read. Its calls run on the caller's thread.
pub struct ForeignSqlite {
    path: PathBuf,
    /// How the file was before it was opened, if nobody had it open.
    quiet: Option<Stamp>,
    connection: Mutex<Connection>,
    lists: Cursors<Rows>,
}

/// Which rows, and what of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteQuery {
    columns: Vec<String>,
    /// Each a column and what it must be equal to.
    #[serde(default)]
    equals: Vec<(String, serde_json::Value)>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type that it was declared with, in capitals; may be empty.
    pub declared: String,
}

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "SQLite's own types")]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    /// UTF-8, unless whoever wrote it did not care.
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

struct Rows {
    statement: String,
    equals: Vec<Value>,
    read: i64,
}

impl ForeignSqlite {
    /// Opens a file that is there. A writer that holds the lock for a moment is waited for up to `patience`.
    pub fn open(path: &Path, patience: Duration) -> Result<Self> {
        if !path.is_file() {
            let text = format!("there is no such file ({})", path.display());
            return Err(Error::new(Kind::Config, LAYER, text).with("field", "path"));
        }
        let quiet =
            Stamp::of(path).filter(|_| ["-wal", "-journal"].iter().all(|end| !beside(path, end).exists()));
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match quiet {
            Some(_) => {
                let url = format!("{}?immutable=1", url_of(path));
                Connection::open_with_flags(url, read_only | OpenFlags::SQLITE_OPEN_URI)
            }
            None => Connection::open_with_flags(path, read_only),
        };
        let connection = opened.map_err(|error| sqlite_error(LAYER, path, None, &error))?;
        let begin = || {
            connection.busy_timeout(patience)?;
            // A name in quotes that is no column must be an error, not a text. What a schema says is not to be run.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.execute_batch("PRAGMA query_only = 1; PRAGMA cell_size_check = 1; BEGIN")?;
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })
        };
        begin().map_err(|error| sqlite_error(LAYER, path, Some(&connection), &error))?;
        Ok(Self {
            path: path.to_owned(),
            quiet,
            connection: Mutex::new(connection),
            lists: Cursors::new(LAYER),
        })
    }

    /// The names of its tables, without those of SQLite itself.
    pub fn tables(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                         ORDER BY name";
            connection
                .prepare(names)?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// The columns of a table, in its order; none if there is no such table.
    pub fn columns(&self, table: &str) -> Result<Vec<Column>> {
        self.read(|connection| {
            connection
                .prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?
                .query_map([table], |row| {
                    Ok(Column {
                        name: row.get(0)?,
                        declared: row.get::<_, String>(1)?.to_ascii_uppercase(),
                    })
                })?
                .collect()
        })
    }

    /// Begins to read the rows of a table that match.
    pub fn rows(&self, table: &str, query: &SqliteQuery) -> Result<u32> {
        let columns: Vec<_> = query.columns.iter().map(|name| quoted(name)).collect();
        let conditions: Vec<_> = query
            .equals
            .iter()
            .map(|(column, _)| format!(" AND {} IS ?", quoted(column)))
            .collect();
        let statement = format!(
            "SELECT {} FROM {} WHERE 1{} LIMIT {PAGE_ROWS} OFFSET ?",
            columns.join(", "),
            quoted(table),
            conditions.concat(),
        );
        let equals = query.equals.iter().map(|(_, value)| parameter(value));
        let equals = equals.collect::<Result<_>>()?;
        // What is wrong with the query is said now, and not with its first page.
        self.read(|connection| connection.prepare(&statement).map(drop))?;
        Ok(self.lists.add(Rows {
            statement,
            equals,
            read: 0,
        }))
    }

    /// The next rows, each with one cell for each column asked for.
    pub fn next_rows(&self, number: u32) -> Result<Page<Vec<Cell>>> {
        let mut rows = self.lists.take(number)?;
        let (items, more) = self.read(|connection| {
            let mut statement = connection.prepare_cached(&rows.statement)?;
            let width = statement.column_count();
            let offset = std::iter::once(Value::Integer(rows.read));
            let mut found = statement.query(params_from_iter(rows.equals.iter().cloned().chain(offset)))?;
            let mut items = Vec::new();
            let mut bytes = 0;
            while bytes < PAGE_BYTES {
                let Some(row) = found.next()? else {
                    let more = items.len() == PAGE_ROWS;
                    return Ok((items, more));
                };
                let cells: Vec<_> = (0..width)
                    .map(|at| row.get_ref(at).map(cell))
                    .collect::<rusqlite::Result<_>>()?;
                bytes += cells.iter().map(size).sum::<usize>();
                items.push(cells);
            }
            Ok((items, true))
        })?;
        rows.read += i64::try_from(items.len()).unwrap_or(i64::MAX);
        if more {
            self.lists.put_back(number, rows);
        }
        Ok(Page { items, more })
    }

    /// Gives a list up.
    pub fn end(&self, number: u32) {
        self.lists.drop_one(number);
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.connection.lock();
        let found = work(&connection);
        if self.quiet.is_some() && self.quiet != Stamp::of(&self.path) {
            let text = format!(
                "the file was written while it was read; begin again ({})",
                self.path.display()
            );
            return Err(Error::new(Kind::SessionBusy, LAYER, text));
        }
        found.map_err(|error| {
            if matches!(error, rusqlite::Error::SqlInputError { .. }) {
                let text = format!("there is no such table or column ({})", self.path.display());
                return Error::new(Kind::Corrupt, LAYER, text).because(&error);
            }
            sqlite_error(LAYER, &self.path, Some(&connection), &error)
        })
    }
}

/// What changes with every write to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, SystemTime);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self(found.len(), found.modified().ok()?))
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A path as SQLite takes one that options follow.
fn url_of(path: &Path) -> String {
    let mut url = "file:".to_owned();
    let text = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
    if !text.starts_with('/') && path.is_absolute() {
        url.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~:".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn parameter(value: &serde_json::Value) -> Result<Value> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => Value::Null,
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) if number.is_i64() => Value::Integer(number.as_i64().unwrap_or_default()),
        Json::Number(number) => Value::Real(number.as_f64().unwrap_or_default()),
        _ => {
            let text = "a column is compared with null, a text or a number";
            return Err(Error::new(Kind::InvalidValue, LAYER, text));
        }
    })
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(text.to_vec()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Text(bytes) | Cell::Blob(bytes) => bytes.len() + 8,
        _ => 8,
    }
}
