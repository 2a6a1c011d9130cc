//! Files, their modes, and what happens beside the commits.

use std::time::Instant;

use super::*;

#[cfg(unix)]
#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("a/b");
    let store = open(&folder).await;
    grant(&store, &session()).await;
    assert_eq!(mode(&folder), 0o700);
    let mut seen = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "vault.db",
            "vault.db-shm",
            "vault.db-wal",
            "vault.holder",
            "vault.lock"
        ]
    );
    store.close().await.unwrap();

    // Our own files are tightened, others and the folder are the user's.
    let foreign = folder.join("creds.json");
    fs::write(&foreign, "{}").unwrap();
    for path in [&folder, &foreign, &folder.join("vault.db")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    open(&folder).await.close().await.unwrap();
    assert_eq!(mode(&folder.join("vault.db")), 0o600);
    assert_eq!((mode(&folder), mode(&foreign)), (0o755, 0o755));
    assert_eq!(fs::read(&foreign).unwrap(), b"{}");
}

#[tokio::test]
async fn closing_leaves_one_complete_file() {
    let folder = TempDir::new().unwrap();
    filled(folder.path()).await;
    let left: Vec<_> = snapshot(folder.path())
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(left, [folder.path().join("vault.db")]);
    let store = open(folder.path()).await;
    assert_eq!(
        store
            .read(&session(), &[key("session", "199")], Seen::NOTHING)
            .await
            .unwrap(),
        [Some(value(1900))]
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_goes_away_takes_no_writes() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("store");
    let store = open(&folder).await;
    let token = grant(&store, &session()).await.token;
    let next = |base| {
        commit(
            &session(),
            Fence::Owner(token),
            base,
            vec![change("session", "a", "1")],
        )
    };
    commit_one(&store, next(0)).await.unwrap();
    let away = parent.path().join("away");
    fs::rename(&folder, &away).unwrap();
    let second = next(1);
    let error = commit_one(&store, second.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(store.ping().await.unwrap_err().kind(), Kind::Unavailable);
    assert!(!folder.exists(), "not made anew");
    // Another file in its place is not it either.
    fs::create_dir(&folder).unwrap();
    fs::copy(away.join("vault.db"), folder.join("vault.db")).unwrap();
    let error = commit_one(&store, second.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(commit_one(&store, second).await.unwrap().version, 2);

    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        commit_one(&store, next(2)).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    store.close().await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn the_log_stays_small_under_load_and_is_emptied_when_idle() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let token = grant(&store, &session()).await.token;
    let big = value(40_000);
    let wal = folder.path().join("vault.db-wal");
    let mut largest = 0;
    for base in 0..4000 {
        commit_one(
            &store,
            commit(&session(), Fence::Owner(token), base, vec![put(base % 10, &big)]),
        )
        .await
        .unwrap();
        if base % 50 == 0 {
            // Nothing else gives the task its turn on this one thread.
            tokio::task::yield_now().await;
            largest = largest.max(fs::metadata(&wal).unwrap().len());
        }
    }
    // 160 MB went through it.
    assert!(largest < 64 << 20, "{largest}");
    assert!(fs::metadata(folder.path().join("vault.db")).unwrap().len() > 400_000);

    let deadline = Instant::now() + PATIENCE;
    while !store.store.wal.is_at_rest() {
        assert!(Instant::now() < deadline, "the task does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // All of it is in the database now: another program reads it there without the log.
    let copy = TempDir::new().unwrap();
    fs::copy(folder.path().join("vault.db"), copy.path().join("vault.db")).unwrap();
    let alone = rusqlite::Connection::open(copy.path().join("vault.db")).unwrap();
    let version: u32 = alone
        .query_row("SELECT version FROM session", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 4000);
    store.close().await.unwrap();
}

#[tokio::test]
async fn after_a_failed_flush_only_a_checkpoint_is_believed() {
    let folder = TempDir::new().unwrap();
    for durability in [Durability::Process, Durability::Full] {
        let store = Embedded::open(EmbeddedConfig {
            durability,
            ..config(folder.path())
        })
        .await
        .unwrap();
        let grant = grant(&store, &session()).await;
        let (token, base) = (grant.token, grant.head.version);
        let next = |base| {
            commit(
                &session(),
                Fence::Owner(token),
                base,
                vec![change("session", "a", "1")],
            )
        };
        commit_one(&store, next(base)).await.unwrap();
        // Who reads an old state keeps checkpoints from coming to the end of the log.
        let reader = rusqlite::Connection::open(folder.path().join("vault.db")).unwrap();
        reader
            .execute_batch("BEGIN; SELECT * FROM session; SELECT 1")
            .unwrap();
        reader
            .query_row("SELECT count(*) FROM session", [], |row| row.get::<_, u32>(0))
            .unwrap();
        commit_one(&store, next(base + 1)).await.unwrap();
        let failed = Error::new(Kind::Unavailable, "embedded", "cannot flush")
            .with("sqliteCode", rusqlite::ffi::SQLITE_IOERR_FSYNC);
        store.store.wal.note_failed_flush(&failed);
        let refused = commit_one(&store, next(base + 2)).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Unavailable);
        // Longer than it takes to flush again, which works.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let refused = commit_one(&store, next(base + 2)).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Unavailable);
        reader.execute_batch("COMMIT").unwrap();
        drop(reader);
        let deadline = Instant::now() + PATIENCE;
        while store.ping().await.is_err() {
            assert!(Instant::now() < deadline, "no checkpoint clears it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(
            commit_one(&store, next(base + 2)).await.unwrap().version,
            base + 3
        );
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn records_of_expired_sessions_are_removed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for at in 0..3 {
        let short = Commit {
            ttl: Some(Duration::from_millis(1)),
            ..commit(
                &format!("s{at}").into(),
                Fence::Shared,
                0,
                vec![change("session", "a", "1")],
            )
        };
        commit_one(&store, short).await.unwrap();
    }
    let records = || {
        let count = |database: &crate::backend::embedded::database::Database| {
            let connection = database.connection();
            Ok(connection
                .query_row("SELECT count(*) FROM record", [], |row| row.get::<_, u32>(0))
                .unwrap())
        };
        store.store.with(count).unwrap()
    };
    assert_eq!(records(), 3);
    let deadline = Instant::now() + PATIENCE;
    while records() > 0 {
        assert!(Instant::now() < deadline, "they stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await.unwrap();
}
