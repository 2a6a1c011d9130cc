//! Files that are lost or put back from another time, while the store is closed and while it is open.

use std::ffi::CString;

use super::process::Process;
use super::*;

fn path(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn next(token: u64, base: u64) -> Commit {
    let changes = vec![change("session", "a", &(base + 1).to_string())];
    commit(&session(), Fence::Owner(token), base, changes)
}

/// An open store of a session at version 3, of which 2 were there when it was opened.
async fn written(folder: &Path, durability: Durability) -> (Embedded, u64) {
    let config = EmbeddedConfig {
        durability,
        ..config(folder)
    };
    let store = Embedded::open(config.clone()).await.unwrap();
    let token = grant(&store, &session()).await.token;
    for base in 0..2 {
        commit_one(&store, next(token, base)).await.unwrap();
    }
    store.close().await.unwrap();
    let store = Embedded::open(config).await.unwrap();
    let token = grant(&store, &session()).await.token;
    commit_one(&store, next(token, 2)).await.unwrap();
    (store, token)
}

async fn version(folder: &Path) -> u64 {
    let store = open(folder).await;
    let head = store.head(&session()).await.unwrap();
    let found = store
        .read(&session(), &[key("session", "a")], Seen::NOTHING)
        .await
        .unwrap();
    assert_eq!(found, [Some(Bytes::from(head.version.to_string()))]);
    store.close().await.unwrap();
    head.version
}

async fn refused(folder: &Path, word: &str) {
    let before = snapshot(folder);
    let error = open_error(config(folder)).await;
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.message().contains(word), "{error}");
    assert!(snapshot(folder) == before, "{word}: changed");
}

#[tokio::test]
async fn a_database_that_was_there_is_not_made_anew() {
    for (name, content) in [
        ("vault.holder", Some("{}")),
        ("vault.db-wal", Some("")),
        ("vault.db-shm", Some("")),
        ("creds.json", Some(r#"{"me":null,"baileysVault":{"a":1}}"#)),
        ("imported-2025-01-01", None),
    ] {
        let folder = TempDir::new().unwrap();
        match content {
            Some(content) => fs::write(path(&folder, name), content).unwrap(),
            None => fs::create_dir(path(&folder, name)).unwrap(),
        }
        for exclusive in [true, false] {
            let config = EmbeddedConfig {
                exclusive,
                ..config(folder.path())
            };
            let error = open_error(config).await;
            assert_eq!(error.kind(), Kind::Corrupt, "{name}: {error}");
            assert!(error.message().contains(name), "{error}");
            assert!(!path(&folder, "vault.db").exists(), "{name}");
        }
    }
    // What is not ours says nothing.
    let folder = TempDir::new().unwrap();
    fs::write(path(&folder, "creds.json"), r#"{"noiseKey":{}}"#).unwrap();
    fs::create_dir(path(&folder, "imported-by-somebody")).unwrap();
    open(folder.path()).await.close().await.unwrap();
    fs::remove_file(path(&folder, "vault.db")).unwrap();
    refused(folder.path(), "vault.holder").await;
}

#[tokio::test]
async fn a_database_without_its_log_is_refused() {
    for durability in [Durability::Process, Durability::Full] {
        let folder = TempDir::new().unwrap();
        let (store, _) = written(folder.path(), durability).await;
        let (alone, whole) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::copy(path(&folder, "vault.db"), path(&alone, "vault.db")).unwrap();
        for name in ["vault.db", "vault.db-wal"] {
            fs::copy(path(&folder, name), path(&whole, name)).unwrap();
        }
        refused(alone.path(), "vault.db-wal is missing").await;
        fs::write(path(&alone, "vault.db-wal"), [7; 4096]).unwrap();
        refused(alone.path(), "vault.db-wal is damaged").await;
        assert_eq!(version(whole.path()).await, 3);

        // As after a crash.
        drop(store);
        fs::remove_file(path(&folder, "vault.db-wal")).unwrap();
        refused(folder.path(), "vault.db-wal is missing").await;
    }
}

#[tokio::test]
async fn a_log_deleted_after_a_kill_is_missed_by_all() {
    let folder = TempDir::new().unwrap();
    let mut writer = Process::start("write", folder.path());
    (0..30).for_each(|_| drop(writer.hear("acknowledged")));
    writer.kill();
    fs::remove_file(path(&folder, "vault.db-wal")).unwrap();
    refused(folder.path(), "vault.db-wal is missing").await;
    let shared = EmbeddedConfig {
        exclusive: false,
        ..config(folder.path())
    };
    assert_eq!(open_error(shared).await.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_closed_database_is_whole_by_itself() {
    let folder = TempDir::new().unwrap();
    let (store, _) = written(folder.path(), Durability::Process).await;
    store.close().await.unwrap();
    let copy = TempDir::new().unwrap();
    fs::copy(path(&folder, "vault.db"), path(&copy, "vault.db")).unwrap();
    assert_eq!(version(copy.path()).await, 3);
    // Opening and reading changes nothing.
    let before = fs::read(path(&folder, "vault.db")).unwrap();
    assert_eq!(version(folder.path()).await, 3);
    assert!(fs::read(path(&folder, "vault.db")).unwrap() == before);
}

#[tokio::test]
async fn what_other_tools_leave_whole_is_whole() {
    let folder = TempDir::new().unwrap();
    let (store, token) = written(folder.path(), Durability::Process).await;
    let copies = TempDir::new().unwrap();
    let other = rusqlite::Connection::open(path(&folder, "vault.db")).unwrap();
    let vacuumed = copies.path().join("vacuumed");
    fs::create_dir(&vacuumed).unwrap();
    other
        .execute(
            "VACUUM INTO ?1",
            [vacuumed.join("vault.db").display().to_string()],
        )
        .unwrap();
    let backup = copies.path().join("backup");
    fs::create_dir(&backup).unwrap();
    back_up(&other, &backup.join("vault.db"));
    drop(other);
    for copy in [&vacuumed, &backup] {
        assert_eq!(version(copy).await, 3);
        // It goes on from there like any other.
        let store = open(copy).await;
        let token = grant(&store, &session()).await.token;
        commit_one(&store, next(token, 3)).await.unwrap();
        drop(store);
        assert_eq!(version(copy).await, 4);
    }

    // Another program that looks in after a crash empties the log and deletes it.
    commit_one(&store, next(token, 3)).await.unwrap();
    drop(store);
    assert!(fs::metadata(path(&folder, "vault.db-wal")).unwrap().len() > 0);
    let other = rusqlite::Connection::open(path(&folder, "vault.db")).unwrap();
    other
        .query_row("SELECT count(*) FROM record", [], |row| row.get::<_, u32>(0))
        .unwrap();
    drop(other);
    assert!(!path(&folder, "vault.db-wal").exists());
    assert_eq!(version(folder.path()).await, 4);
}

/// As `.backup` of SQLite's shell does.
fn back_up(from: &rusqlite::Connection, to: &Path) {
    use rusqlite::ffi;
    let to = CString::new(to.to_str().unwrap()).unwrap();
    let main = c"main".as_ptr();
    // SAFETY: every handle is used between its opening and its closing, on this thread alone.
    unsafe {
        let mut copy = std::ptr::null_mut();
        assert_eq!(ffi::sqlite3_open(to.as_ptr(), &raw mut copy), ffi::SQLITE_OK);
        let backup = ffi::sqlite3_backup_init(copy, main, from.handle(), main);
        assert_eq!(ffi::sqlite3_backup_step(backup, -1), ffi::SQLITE_DONE);
        ffi::sqlite3_backup_finish(backup);
        ffi::sqlite3_close(copy);
    }
}

#[tokio::test]
async fn a_log_of_another_time_is_refused() {
    let folder = TempDir::new().unwrap();
    let (store, _) = written(folder.path(), Durability::Process).await;
    store.close().await.unwrap();
    let backup = fs::read(path(&folder, "vault.db")).unwrap();
    let store = open(folder.path()).await;
    let token = grant(&store, &session()).await.token;
    commit_one(&store, next(token, 3)).await.unwrap();
    drop(store);
    fs::write(path(&folder, "vault.db"), &backup).unwrap();
    let error = open_error(config(folder.path())).await;
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.message().contains("from another time"), "{error}");
    assert!(fs::read(path(&folder, "vault.db")).unwrap() == backup);
    // As the message says: the one that was not restored has to go.
    fs::remove_file(path(&folder, "vault.db-wal")).unwrap();
    assert_eq!(version(folder.path()).await, 3);
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_lost_while_open_is_noticed_and_nothing_acknowledged_is_lost() {
    for durability in [Durability::Process, Durability::Full] {
        for replaced in [false, true] {
            let folder = TempDir::new().unwrap();
            let (store, token) = written(folder.path(), durability).await;
            fs::remove_file(path(&folder, "vault.db-wal")).unwrap();
            if replaced {
                fs::write(path(&folder, "vault.db-wal"), "").unwrap();
            }
            let error = commit_one(&store, next(token, 3)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(error.message().contains("vault.db-wal"), "{error}");
            assert!(!store.is_in_place());
            store.close().await.unwrap();
            assert_eq!(version(folder.path()).await, 3);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_replaced_while_open_is_noticed_and_left_alone() {
    for durability in [Durability::Process, Durability::Full] {
        let folder = TempDir::new().unwrap();
        let (store, token) = written(folder.path(), durability).await;
        let other = TempDir::new().unwrap();
        let (theirs, _) = written(other.path(), durability).await;
        theirs.close().await.unwrap();
        let replacement = fs::read(path(&other, "vault.db")).unwrap();
        fs::rename(path(&other, "vault.db"), path(&folder, "vault.db")).unwrap();
        let log = fs::read(path(&folder, "vault.db-wal")).unwrap();
        let error = commit_one(&store, next(token, 3)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(!store.is_in_place());
        store.close().await.unwrap();
        assert!(fs::read(path(&folder, "vault.db")).unwrap() == replacement);
        assert!(
            fs::read(path(&folder, "vault.db-wal")).unwrap() == log,
            "the log is not theirs"
        );
        let error = open_error(config(folder.path())).await;
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_lock_that_lost_its_file_is_not_relied_upon() {
    // Another process came: the first owner is fenced, also when the other has gone again.
    for stays in [true, false] {
        let folder = TempDir::new().unwrap();
        let (store, token) = written(folder.path(), Durability::Process).await;
        fs::remove_file(path(&folder, "vault.lock")).unwrap();
        let mut other = Process::start("write once", folder.path());
        assert_eq!(other.hear("acknowledged"), "4");
        if !stays {
            other.end();
        }
        let error = commit_one(&store, next(token, 3)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Fenced, "{error}");
        let error = commit_one(&store, next(token, 4)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Fenced, "{error}");
        store.close().await.unwrap();
        if stays {
            other.end();
        }
        let store = open(folder.path()).await;
        assert_eq!(store.head(&session()).await.unwrap().version, 4);
        let theirs = store
            .read(&session(), &[key("session", "theirs")], Seen::NOTHING)
            .await
            .unwrap();
        assert!(theirs[0].is_some());
        store.close().await.unwrap();
    }
    // Nobody came: the folder is held again before the next write is acknowledged.
    let folder = TempDir::new().unwrap();
    let (store, token) = written(folder.path(), Durability::Process).await;
    fs::remove_file(path(&folder, "vault.lock")).unwrap();
    commit_one(&store, next(token, 3)).await.unwrap();
    let mut other = Process::start("try", folder.path());
    assert_eq!(other.hear("opened"), "SESSION_BUSY");
    store.close().await.unwrap();
    assert_eq!(version(folder.path()).await, 4);
}
