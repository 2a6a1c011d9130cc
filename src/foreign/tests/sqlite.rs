use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::error::{Error, Kind, Result};
use crate::foreign::{Cell, Column, ForeignSqlite};

const PATIENCE: Duration = Duration::from_millis(200);

fn failed<T>(outcome: Result<T>) -> Error {
    outcome.err().expect("it fails")
}

/// A database in WAL mode, as Baileys' own store makes one, with its writer.
fn written(folder: &TempDir) -> (PathBuf, Connection) {
    let path = folder.path().join("auth ?mode=rwc#.db");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE signal_keys (type TEXT, id TEXT, value TEXT, PRIMARY KEY (type, id));
             CREATE TABLE \"odd \"\" name\" (i INTEGER, r REAL, b BLOB, n);
             INSERT INTO \"odd \"\" name\" VALUES (9007199254740993, 0.5, x'00ff', NULL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             INSERT INTO signal_keys SELECT CASE i % 2 WHEN 0 THEN 'session' ELSE 'pre-key' END, i, 'v' || i FROM n;",
        )
        .unwrap();
    (path, writer)
}

fn read(sqlite: &ForeignSqlite, table: &str, query: serde_json::Value) -> Result<Vec<Vec<Cell>>> {
    let list = sqlite.rows(table, &serde_json::from_value(query).unwrap())?;
    let mut rows = Vec::new();
    loop {
        let page = sqlite.next_rows(list)?;
        rows.extend(page.items);
        if !page.more {
            return Ok(rows);
        }
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.as_bytes().to_vec())
}

#[test]
fn rows_are_read_page_by_page_with_their_types() {
    let folder = TempDir::new().unwrap();
    let (path, _writer) = written(&folder);
    let sqlite = ForeignSqlite::open(&path, PATIENCE).unwrap();
    assert_eq!(sqlite.tables().unwrap(), ["odd \" name", "signal_keys"]);
    let column = |name: &str, declared: &str| Column {
        name: name.to_owned(),
        declared: declared.to_owned(),
    };
    assert_eq!(
        sqlite.columns("signal_keys").unwrap(),
        [
            column("type", "TEXT"),
            column("id", "TEXT"),
            column("value", "TEXT")
        ]
    );
    assert_eq!(sqlite.columns("gone").unwrap(), []);
    let all = read(&sqlite, "signal_keys", json!({ "columns": ["id"] })).unwrap();
    let mut ids: Vec<_> = all.iter().map(|row| format!("{row:?}")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2500);
    let some = json!({ "columns": ["value"], "equals": [["type", "session"], ["id", "2"]] });
    assert_eq!(read(&sqlite, "signal_keys", some).unwrap(), [[text("v2")]]);
    assert_eq!(
        read(&sqlite, "odd \" name", json!({ "columns": ["i", "r", "b", "n"] })).unwrap(),
        [[
            Cell::Integer(9_007_199_254_740_993),
            Cell::Real(0.5),
            Cell::Blob(vec![0, 255]),
            Cell::Null
        ]]
    );
    let no_such = read(&sqlite, "signal_keys", json!({ "columns": ["vlaue"] }));
    assert_eq!(failed(no_such).kind(), Kind::Corrupt);
    assert_eq!(failed(sqlite.next_rows(99)).kind(), Kind::InvalidValue);
}

#[test]
fn all_is_of_one_moment_beside_a_writer_whom_it_does_not_hold_up() {
    let folder = TempDir::new().unwrap();
    let (path, writer) = written(&folder);
    let sqlite = ForeignSqlite::open(&path, PATIENCE).unwrap();
    let list = sqlite
        .rows(
            "signal_keys",
            &serde_json::from_value(json!({ "columns": ["id"] })).unwrap(),
        )
        .unwrap();
    let first = sqlite.next_rows(list).unwrap().items.len();
    writer.execute_batch("DELETE FROM signal_keys").unwrap();
    let mut rest = 0;
    loop {
        let page = sqlite.next_rows(list).unwrap();
        rest += page.items.len();
        if !page.more {
            break;
        }
    }
    assert_eq!(first + rest, 2500);
    let later = ForeignSqlite::open(&path, PATIENCE).unwrap();
    assert_eq!(
        read(&later, "signal_keys", json!({ "columns": ["id"] })).unwrap(),
        Vec::<Vec<Cell>>::new()
    );
}

#[test]
fn the_file_is_not_changed_nor_made() {
    let folder = TempDir::new().unwrap();
    let (path, writer) = written(&folder);
    drop(writer);
    let before = std::fs::read(&path).unwrap();
    let sqlite = ForeignSqlite::open(&path, PATIENCE).unwrap();
    assert_eq!(
        read(&sqlite, "signal_keys", json!({ "columns": ["id"] }))
            .unwrap()
            .len(),
        2500
    );
    drop(sqlite);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [path.file_name().unwrap()]);

    let missing = folder.path().join("missing.db");
    assert_eq!(
        failed(ForeignSqlite::open(&missing, PATIENCE)).kind(),
        Kind::Config
    );
    assert_eq!(
        failed(ForeignSqlite::open(folder.path(), PATIENCE)).kind(),
        Kind::Config
    );
    assert!(!missing.exists());
}

#[test]
fn a_file_that_is_written_after_all_is_not_read_on() {
    let folder = TempDir::new().unwrap();
    let (path, writer) = written(&folder);
    drop(writer);
    let sqlite = ForeignSqlite::open(&path, PATIENCE).unwrap();
    let all = json!({ "columns": ["id"] });
    assert_eq!(read(&sqlite, "signal_keys", all.clone()).unwrap().len(), 2500);
    // What stands in the log alone is later than the moment that is read.
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("DELETE FROM signal_keys").unwrap();
    assert_eq!(read(&sqlite, "signal_keys", all.clone()).unwrap().len(), 2500);
    drop(writer);
    assert_eq!(
        failed(read(&sqlite, "signal_keys", all)).kind(),
        Kind::SessionBusy
    );
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_only_be_read_is_enough() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let (path, writer) = written(&folder);
    drop(writer);
    let mode = |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    let found = ForeignSqlite::open(&path, PATIENCE).and_then(|sqlite| sqlite.tables());
    mode(0o700);
    assert_eq!(found.unwrap().len(), 2);
}

#[test]
fn what_is_no_database_or_locked_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("no.db");
    std::fs::write(&path, "this is no database, whatever its name says ".repeat(50)).unwrap();
    let error = failed(ForeignSqlite::open(&path, PATIENCE));
    assert_eq!((error.kind(), error.layer()), (Kind::Corrupt, "sqlite"));

    let locked = folder.path().join("locked.db");
    let writer = Connection::open(&locked).unwrap();
    writer
        .execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(
        failed(ForeignSqlite::open(&locked, PATIENCE)).kind(),
        Kind::Unavailable
    );
    writer.execute_batch("COMMIT").unwrap();
    let sqlite = ForeignSqlite::open(&locked, PATIENCE).unwrap();
    assert_eq!(
        read(&sqlite, "t", json!({ "columns": ["a"] })).unwrap(),
        [[Cell::Integer(1)]]
    );
}
