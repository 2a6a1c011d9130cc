//! Files that are not what they should be are reported and left alone.

use super::process::Process;
use super::*;

#[tokio::test]
async fn a_damaged_database_is_an_error_and_stays_as_it_is() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("emptied", Vec::clear),
        ("a text", |bytes| *bytes = b"{\"noiseKey\":1}".repeat(20)),
        ("header", |bytes| bytes[..16].fill(0)),
        ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
        ("schema page", |bytes| bytes[100..4096].fill(0xA5)),
        ("all pages but the first", |bytes| bytes[4096..].fill(0xA5)),
    ];
    for (what, damage) in damages {
        let folder = TempDir::new().unwrap();
        filled(folder.path()).await;
        let path = folder.path().join("vault.db");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let kind = match Embedded::open(config(folder.path())).await {
            Err(error) => error.kind(),
            Ok(store) => {
                // Damage deeper down is found where it is.
                let read = store
                    .read(&session(), &[key("session", "1")], Seen::NOTHING)
                    .await;
                let kind = read.expect_err(what).kind();
                assert_eq!(
                    store.acquire(acquire(&session())).await.expect_err(what).kind(),
                    kind
                );
                drop(store);
                kind
            }
        };
        assert_eq!(kind, Kind::Corrupt, "{what}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: changed");
        assert_eq!(
            snapshot(folder.path())
                .iter()
                .filter(|(path, _)| path.ends_with("vault.db"))
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn damage_to_one_session_is_not_the_others() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let (bad, good): (SessionId, SessionId) = ("bad".into(), "good".into());
    let token = grant(&store, &good).await.token;
    let bad_token = grant(&store, &bad).await.token;
    let first = commit(
        &bad,
        Fence::Owner(bad_token),
        0,
        vec![change("session", "a", "0")],
    );
    assert_eq!(store.commit(vec![first]).await[0].as_ref().unwrap().version, 1);
    // A version that no release writes stands for damage that is met only when the row is read.
    store
        .store
        .with(|database| {
            database
                .connection()
                .execute("UPDATE session SET version = -1 WHERE name = 'bad'", [])
                .unwrap();
            Ok(())
        })
        .unwrap();
    let answers = store
        .commit(vec![
            commit(&good, Fence::Owner(token), 0, vec![change("session", "a", "1")]),
            commit(
                &bad,
                Fence::Owner(bad_token),
                1,
                vec![change("session", "a", "1")],
            ),
            commit(&good, Fence::Owner(token), 1, vec![change("session", "a", "2")]),
        ])
        .await;
    assert_eq!(answers[0].as_ref().unwrap().version, 1);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(answers[2].as_ref().unwrap().version, 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_log_without_its_database_is_an_error() {
    let folder = TempDir::new().unwrap();
    let mut writer = Process::start("write", folder.path());
    writer.hear("acknowledged");
    writer.kill();
    fs::remove_file(folder.path().join("vault.db")).unwrap();
    let before = snapshot(folder.path());
    assert_eq!(open_error(config(folder.path())).await.kind(), Kind::Corrupt);
    assert!(snapshot(folder.path()) == before);
}

#[tokio::test]
async fn a_database_of_others_is_refused_unchanged() {
    let make = |statements: &str| {
        let folder = TempDir::new().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("vault.db")).unwrap();
        connection.execute_batch(statements).unwrap();
        connection.close().unwrap();
        folder
    };
    let other = make("PRAGMA journal_mode = WAL; CREATE TABLE session (id); INSERT INTO session VALUES (1);");
    let no_tables = make("PRAGMA application_id = 0x42566c74; PRAGMA user_version = 1; CREATE TABLE x (id);");
    let newer = TempDir::new().unwrap();
    filled(newer.path()).await;
    let connection = rusqlite::Connection::open(newer.path().join("vault.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    connection.close().unwrap();
    for (folder, kind, word) in [
        (other, Kind::Config, "another program"),
        (no_tables, Kind::Corrupt, "lacks a table"),
        (newer, Kind::Config, "newer release"),
    ] {
        let before = snapshot(folder.path());
        let error = open_error(config(folder.path())).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(word), "{error}");
        let database = folder.path().join("vault.db");
        assert!(fs::read(database).unwrap() == before[0].1, "{word}: changed");
    }
}

#[tokio::test]
async fn a_newer_layout_in_the_log_is_refused_unchanged() {
    let folder = TempDir::new().unwrap();
    filled(folder.path()).await;
    let path = folder.path().join("vault.db");
    // A newer release was killed after it had changed the layout: only the log says so.
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    connection.close().unwrap();
    let (database, log) = (
        fs::read(&path).unwrap(),
        fs::read(folder.path().join("vault.db-wal")).unwrap(),
    );
    assert!(!log.is_empty());
    let error = open_error(config(folder.path())).await;
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(fs::read(&path).unwrap() == database);
    assert!(fs::read(folder.path().join("vault.db-wal")).unwrap() == log);
}

#[tokio::test]
async fn leftovers_of_a_crash_while_creating_do_not_matter() {
    let folder = TempDir::new().unwrap();
    for name in ["vault.db.new", "vault.db.new-journal", "vault.db.new-wal"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    filled(folder.path()).await;
    assert_eq!(snapshot(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_path_that_cannot_be_a_store_is_unavailable() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = open_error(config(&file.join("store"))).await;
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("store"), "{error}");

    fs::create_dir(folder.path().join("vault.db")).unwrap();
    let error = open_error(config(folder.path())).await;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_flipped_bit_never_makes_something_absent() {
    const RECORDS: u64 = 120;
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for at in 0..20 {
        let session: SessionId = format!("bot-{at}").into();
        let token = grant(&store, &session).await.token;
        let count = if at == 7 { RECORDS } else { 3 };
        let changes = (0..count).map(|id| put(id, &value(60))).collect();
        commit_one(&store, commit(&session, Fence::Owner(token), 0, changes))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let sound = fs::read(folder.path().join("vault.db")).unwrap();

    let session: SessionId = "bot-7".into();
    let keys: Vec<_> = (0..RECORDS).map(|id| key("session", &id.to_string())).collect();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let (mut noticed, mut flips, mut absent) = (0, 0, Vec::new());
    let until = std::time::Instant::now() + Duration::from_secs(6);
    while std::time::Instant::now() < until {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random >> 8).unwrap() % sound.len();
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (random % 8);
        fs::write(folder.path().join("vault.db"), &bytes).unwrap();
        flips += 1;
        let where_ = format!(
            "page {}, byte {} of it, bit {}",
            at / 4096 + 1,
            at % 4096,
            random % 8
        );
        let Ok(store) = Embedded::open(config(folder.path())).await else {
            noticed += 1;
            continue;
        };
        match store.acquire(acquire(&session)).await {
            Ok(Acquired::Granted(grant)) if grant.head.version > 0 => {}
            Ok(_) => absent.push(format!("the session: {where_}")),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Corrupt, "{where_}: {error}");
                noticed += 1;
            }
        }
        for key in &keys {
            match store
                .read(&session, std::slice::from_ref(key), Seen::NOTHING)
                .await
            {
                Ok(found) if found[0].is_some() => {}
                Ok(_) => absent.push(format!("{key:?}: {where_}")),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Corrupt, "{where_}: {error}");
                    noticed += 1;
                    break;
                }
            }
        }
        drop(store);
    }
    assert_eq!(absent, [""; 0], "of {flips}");
    assert!(flips > 100 && noticed > 10, "{noticed} of {flips}");
}

#[tokio::test]
async fn verifying_finds_an_entry_that_is_missing_from_the_index() {
    let folder = TempDir::new().unwrap();
    filled(folder.path()).await;
    let store = open(folder.path()).await;
    store.verify().await.unwrap();
    store.close().await.unwrap();
    let path = folder.path().join("vault.db");
    let mut bytes = fs::read(&path).unwrap();
    // The last byte of a key that stands in the index and in the table: the first of them in the file is enough.
    let needle = key("session", "150");
    let at = bytes
        .windows(needle.as_bytes().len())
        .position(|window| window == needle.as_bytes())
        .unwrap();
    bytes[at + needle.as_bytes().len() - 1] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.verify().await.unwrap_err().kind(), Kind::Corrupt);
    drop(store);
}
