//! What the embedded backend adds to the contract: its files, its lock, and what it survives.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Durability, Embedded, EmbeddedConfig};
use crate::backend::contract::{self, acquire, change, commit, commit_one, key};
use crate::backend::{Acquired, Backend, Commit, Fence, Grant, Owner, SessionId};
use crate::error::{Error, Kind};
use crate::record::Change;

/// How long something that must come to pass is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        open_timeout: Duration::ZERO,
        ..EmbeddedConfig::new(folder)
    }
}

async fn open(folder: &Path) -> Embedded {
    Embedded::open(config(folder)).await.unwrap()
}

async fn open_error(config: EmbeddedConfig) -> Error {
    Embedded::open(config).await.err().expect("must not open")
}

async fn grant(store: &Embedded, session: &SessionId) -> Grant {
    match store.acquire(acquire(session)).await.unwrap() {
        Acquired::Granted(grant) => grant,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

fn session() -> SessionId {
    "bot".into()
}

fn value(size: usize) -> Bytes {
    (0..size)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect::<Vec<_>>()
        .into()
}

fn put(id: u64, value: &Bytes) -> Change {
    Change {
        key: key("session", &id.to_string()),
        value: Some(value.clone()),
    }
}

/// Every file of the folder but those that say who has it, and its bytes.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("vault.lock") && !path.ends_with("vault.holder"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A store with one session of 200 records, closed.
async fn filled(folder: &Path) {
    let store = open(folder).await;
    let token = grant(&store, &session()).await.token;
    let changes = (0..200).map(|id| put(id, &value(1900))).collect();
    commit_one(&store, commit(&session(), Fence::Owner(token), 0, changes))
        .await
        .unwrap();
    store.close().await.unwrap();
}

mod contract_is_kept {
    use super::*;

    #[tokio::test]
    async fn in_process_durability() {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path()).await;
        contract::run(&store).await;
        contract::closed(&store).await;
    }

    #[tokio::test]
    async fn in_full_durability() {
        let folder = TempDir::new().unwrap();
        let store = Embedded::open(EmbeddedConfig {
            durability: Durability::Full,
            ..config(folder.path())
        })
        .await
        .unwrap();
        contract::run(&store).await;
        contract::closed(&store).await;
    }

    #[tokio::test]
    async fn in_a_shared_folder() {
        let folder = TempDir::new().unwrap();
        let store = Embedded::open(EmbeddedConfig {
            exclusive: false,
            ..config(folder.path())
        })
        .await
        .unwrap();
        contract::run(&store).await;
        contract::closed(&store).await;
    }
}

/// Runs this test program again, as another process: the test `child::main` with a role to play.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backend::embedded::tests::child::main", "--nocapture"])
            .env("VAULT_TEST_ROLE", role)
            .env("VAULT_TEST_FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line that it says after `word`.
    fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "it ended without `{word}`"
            );
            if let Some((_, rest)) = line.trim_end().split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Everything that it had said before it died.
    fn kill(&mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (&mut self.output).lines().map_while(Result::ok).collect()
    }

    /// Lets it end by itself.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

mod child {
    use super::*;

    /// Does nothing unless started by [`Process::start`].
    #[tokio::test]
    async fn main() {
        let Ok(role) = std::env::var("VAULT_TEST_ROLE") else {
            return;
        };
        let folder = PathBuf::from(std::env::var_os("VAULT_TEST_FOLDER").unwrap());
        match role.as_str() {
            "hold" => hold(config(&folder)).await,
            "share" => {
                hold(EmbeddedConfig {
                    exclusive: false,
                    ..config(&folder)
                })
                .await;
            }
            "write" => write_on(&folder).await,
            "merge" => merge(&folder).await,
            role => panic!("no such role: {role}"),
        }
    }

    async fn hold(config: EmbeddedConfig) {
        let store = Embedded::open(config).await.unwrap();
        println!("holding");
        std::io::stdin().lines().for_each(drop);
        store.close().await.unwrap();
    }

    /// Writes until killed, saying each version once it is acknowledged.
    async fn write_on(folder: &Path) {
        let store = open(folder).await;
        let grant = grant(&store, &session()).await;
        for base in grant.head.version.. {
            let text = Bytes::from((base + 1).to_string());
            let changes = vec![put(base % 7, &text), put(100 + base % 3, &text), put(1000, &text)];
            commit_one(
                &store,
                commit(&session(), Fence::Owner(grant.token), base, changes),
            )
            .await
            .unwrap();
            println!("acknowledged {}", base + 1);
        }
    }

    /// Commits 200 times beside others.
    async fn merge(folder: &Path) {
        let store = Embedded::open(EmbeddedConfig {
            exclusive: false,
            ..config(folder)
        })
        .await
        .unwrap();
        let me = std::process::id().to_string();
        for at in 0..200 {
            let changes = vec![
                change("session", &format!("{me}-{at}"), "1"),
                change("creds", "", &me),
            ];
            commit_one(&store, commit(&session(), Fence::Shared, 0, changes))
                .await
                .unwrap();
        }
        store.close().await.unwrap();
        println!("merged {me}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill() {
    let folder = TempDir::new().unwrap();
    let mut version = 0;
    for round in 0..5_u32 {
        let mut writer = Process::start("write", folder.path());
        for _ in 0..=(round * 40) {
            writer.hear("acknowledged");
        }
        let last = writer.kill();
        let said: u64 = last
            .iter()
            .filter_map(|line| line.split_once("acknowledged ")?.1.parse().ok())
            .max()
            .unwrap_or(0);

        let store = open(folder.path()).await;
        let head = store.head(&session()).await.unwrap();
        assert!(
            head.version >= said && head.version > version,
            "{head:?}, said {said}"
        );
        version = head.version;
        // The last patch is there whole, and nothing of one after it.
        let found = store
            .read(
                &session(),
                &[
                    key("session", "1000"),
                    key("session", &((version - 1) % 7).to_string()),
                    key("session", &(100 + (version - 1) % 3).to_string()),
                ],
            )
            .await
            .unwrap();
        let expected = Some(Bytes::from(version.to_string()));
        assert!(found.iter().all(|value| *value == expected), "{found:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn another_process_is_told_who_has_the_folder() {
    let folder = TempDir::new().unwrap();
    let mut holder = Process::start("hold", folder.path());
    holder.hear("holding");
    let error = open_error(config(folder.path())).await;
    assert_eq!(error.kind(), Kind::SessionBusy);
    let named: Owner = serde_json::from_value(error.detail("holder").unwrap().clone()).unwrap();
    assert_eq!(named.pid, holder.child.id());
    assert_eq!(named.host, Owner::current().host);
    let folder_name = folder.path().canonicalize().unwrap().display().to_string();
    assert!(
        error.message().contains(&folder_name) && error.message().contains(&named.to_string()),
        "{error}"
    );
    // Nor may it come in by sharing.
    let shared = EmbeddedConfig {
        exclusive: false,
        ..config(folder.path())
    };
    assert_eq!(open_error(shared).await.kind(), Kind::SessionBusy);

    holder.end();
    open(folder.path()).await.close().await.unwrap();
}

#[tokio::test]
async fn a_dead_holder_is_succeeded_at_once() {
    let folder = TempDir::new().unwrap();
    let mut holder = Process::start("hold", folder.path());
    holder.hear("holding");
    let path = folder.path().to_owned();
    let waiting = tokio::spawn(async move {
        Embedded::open(EmbeddedConfig {
            open_timeout: PATIENCE,
            ..EmbeddedConfig::new(path)
        })
        .await
    });
    // The runtime has one thread: that this goes on shows that waiting does not hold it.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
    }
    holder.kill();
    let store = waiting.await.unwrap().unwrap();
    store.ping().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_same_process_is_told_too() {
    let folder = TempDir::new().unwrap();
    for exclusive in [true, false] {
        let mine = EmbeddedConfig {
            exclusive,
            ..config(folder.path())
        };
        let store = Embedded::open(mine.clone()).await.unwrap();
        let error = open_error(mine.clone()).await;
        assert_eq!(error.kind(), Kind::SessionBusy);
        assert!(error.message().contains("already in this process"), "{error}");
        store.ping().await.unwrap();
        store.close().await.unwrap();
        Embedded::open(mine).await.unwrap().close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_dropped_without_closing_frees_the_folder() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let token = grant(&store, &session()).await.token;
    commit_one(
        &store,
        commit(
            &session(),
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1")],
        ),
    )
    .await
    .unwrap();
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(store.head(&session()).await.unwrap().version, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn processes_share_a_folder_and_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let mut writers: Vec<_> = (0..3).map(|_| Process::start("merge", folder.path())).collect();
    let names: Vec<String> = writers.iter_mut().map(|writer| writer.hear("merged")).collect();
    writers.iter_mut().for_each(Process::end);

    let mut sharer = Process::start("share", folder.path());
    sharer.hear("holding");
    assert_eq!(
        open_error(config(folder.path())).await.kind(),
        Kind::SessionBusy,
        "exclusive is exclusive"
    );
    let store = Embedded::open(EmbeddedConfig {
        exclusive: false,
        ..config(folder.path())
    })
    .await
    .unwrap();
    assert_eq!(store.head(&session()).await.unwrap().version, 600);
    for name in &names {
        let keys: Vec<_> = (0..200)
            .map(|at| key("session", &format!("{name}-{at}")))
            .collect();
        let found = store.read(&session(), &keys).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{name}");
    }
    store.close().await.unwrap();
    sharer.end();
}

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
        store.read(&session(), &[key("session", "199")]).await.unwrap(),
        [Some(value(1900))]
    );
}

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
                let read = store.read(&session(), &[key("session", "1")]).await;
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
                0,
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
    let error = commit_one(&store, next(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(store.ping().await.unwrap_err().kind(), Kind::Unavailable);
    assert!(!folder.exists(), "not made anew");
    // Another database in its place is not it either.
    filled(&folder).await;
    assert_eq!(
        commit_one(&store, next(1)).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(commit_one(&store, next(1)).await.unwrap().version, 2);

    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        commit_one(&store, next(2)).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    store.close().await.unwrap();
    assert!(!folder.exists());
}

/// Fills the storage until a commit is refused, then lets `make_room` do so.
async fn fill_up(store: &Embedded, make_room: impl FnOnce()) {
    let token = grant(store, &session()).await.token;
    let big = value(20_000);
    let next = |base: u64| {
        commit(
            &session(),
            Fence::Owner(token),
            base,
            vec![put(base, &big), put(9999, &big)],
        )
    };
    let mut base = 0;
    let refused: Commit = loop {
        let next = next(base);
        match commit_one(store, next.clone()).await {
            Ok(head) => base = head.version,
            Err(error) => {
                assert_eq!(error.kind(), Kind::StorageFull, "{error:?}");
                assert!(error.retryable());
                break next;
            }
        }
        assert!(base < 10_000, "the storage does not fill up");
    };
    assert!(base > 2);
    // What was there is there still, and nothing of the commit that failed.
    assert_eq!(store.head(&session()).await.unwrap().version, base);
    let keys = [
        key("session", &(base - 1).to_string()),
        key("session", &base.to_string()),
    ];
    assert_eq!(
        store.read(&session(), &keys).await.unwrap(),
        [Some(big.clone()), None]
    );
    make_room();
    assert_eq!(commit_one(store, refused).await.unwrap().version, base + 1);
    assert!(store.read(&session(), &keys).await.unwrap()[1].is_some());
}

#[tokio::test]
async fn a_full_database_works_again_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()).await);
    let limit = |pages: u32| {
        let set = |database: &super::database::Database| {
            let connection = database.connection();
            connection.pragma_update(None, "max_page_count", pages).unwrap();
            Ok(())
        };
        store.store.with(set).unwrap();
    };
    limit(200);
    fill_up(&store, || limit(100_000)).await;
    store.close().await.unwrap();
}

/// Needs the right to mount; elsewhere the test above stands for it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_works_again_when_there_is_room() {
    struct Mounted(TempDir);
    impl Mounted {
        fn mount(&self, options: &str) -> bool {
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(self.0.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        }
    }
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }
    let disk = Mounted(TempDir::new().unwrap());
    if !disk.mount("size=1m") {
        println!("not allowed to mount: not tested");
        return;
    }
    let store = open(disk.0.path()).await;
    fill_up(&store, || assert!(disk.mount("remount,size=64m"))).await;
    store.close().await.unwrap();
    let store = open(disk.0.path()).await;
    assert!(store.head(&session()).await.unwrap().version > 2);
    store.close().await.unwrap();
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
    while !store.store.pulse.is_at_rest() {
        assert!(Instant::now() < deadline, "the task does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // All of it is in the database now: it can be read without the log.
    let copy = TempDir::new().unwrap();
    fs::copy(folder.path().join("vault.db"), copy.path().join("vault.db")).unwrap();
    let other = open(copy.path()).await;
    assert_eq!(other.head(&session()).await.unwrap().version, 4000);
    other.close().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_flush_that_fails_stops_commits_until_one_works() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
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
    let wal = folder.path().join("vault.db-wal");
    let aside = folder.path().join("aside");
    fs::rename(&wal, &aside).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while store.ping().await.is_ok() {
        assert!(Instant::now() < deadline, "the flush does not fail");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        commit_one(&store, next(1)).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    fs::rename(&aside, &wal).unwrap();
    while store.ping().await.is_err() {
        assert!(Instant::now() < deadline, "the flush does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(commit_one(&store, next(1)).await.unwrap().version, 2);
    store.close().await.unwrap();
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
        let count = |database: &super::database::Database| {
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

/// Prints what commits cost; asserts nothing about time. `cargo test --release -- --ignored --nocapture costs`
#[tokio::test]
#[ignore = "a measurement"]
async fn costs() {
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let record = value(1900);
    for durability in [Durability::Process, Durability::Full] {
        for stored in [10_u64, 100_000] {
            let folder = TempDir::new_in(".").unwrap();
            let store = Embedded::open(EmbeddedConfig {
                durability,
                ..config(folder.path())
            })
            .await
            .unwrap();
            let token = grant(&store, &session()).await.token;
            let mut base = 0;
            for chunk in (0..stored).collect::<Vec<_>>().chunks(1000) {
                let changes = chunk.iter().map(|&id| put(id, &record)).collect();
                commit_one(&store, commit(&session(), Fence::Owner(token), base, changes))
                    .await
                    .unwrap();
                base += 1;
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let rounds = if durability == Durability::Full { 500 } else { 4000 };
            for (what, fresh, records) in [
                ("overwrite 1", false, 1),
                ("overwrite 5", false, 5),
                ("insert 1", true, 1),
                ("insert 5", true, 5),
            ] {
                let mut times = Vec::new();
                for round in 0..rounds {
                    let changes = (0..records)
                        .map(|at| {
                            let id = if fresh {
                                1_000_000 * records + round * records + at
                            } else {
                                (round * 7919 + at * 131) % stored
                            };
                            put(id, &record)
                        })
                        .collect();
                    let next = commit(&session(), Fence::Owner(token), base, changes);
                    let start = Instant::now();
                    commit_one(&store, next).await.unwrap();
                    times.push(start.elapsed());
                    base += 1;
                    tokio::task::yield_now().await;
                }
                println!("{durability:?}, {stored} stored, {what}: {:?}", median(times));
            }
            let mut times = Vec::new();
            for round in 0..rounds {
                let start = Instant::now();
                store
                    .read(
                        &session(),
                        &[key("session", &(round * 7919 % stored).to_string())],
                    )
                    .await
                    .unwrap();
                times.push(start.elapsed());
            }
            println!("{durability:?}, {stored} stored, read 1: {:?}", median(times));
            let sessions: Vec<SessionId> = (0..64).map(|at| format!("s{at}").into()).collect();
            let mut tokens = Vec::new();
            for name in &sessions {
                tokens.push(grant(&store, name).await.token);
            }
            let mut times = Vec::new();
            for base in 0..100 {
                let group = sessions
                    .iter()
                    .zip(&tokens)
                    .map(|(name, &token)| {
                        let changes = (0..5).map(|id| put(id, &record)).collect();
                        commit(name, Fence::Owner(token), base, changes)
                    })
                    .collect();
                let start = Instant::now();
                let answers = store.commit(group).await;
                times.push(start.elapsed());
                assert!(answers.iter().all(Result::is_ok));
                tokio::task::yield_now().await;
            }
            println!(
                "{durability:?}, {stored} stored, 64 sessions x 5: {:?}",
                median(times)
            );
            let start = Instant::now();
            assert!(store.delete(&session(), Fence::Owner(token)).await.unwrap());
            println!("{durability:?}, {stored} stored, delete: {:?}", start.elapsed());
            let start = Instant::now();
            store.close().await.unwrap();
            println!("{durability:?}, {stored} stored, close: {:?}", start.elapsed());
            let start = Instant::now();
            let store = open(folder.path()).await;
            grant(&store, &session()).await;
            println!(
                "{durability:?}, {stored} stored, open and acquire: {:?}",
                start.elapsed()
            );
            store.close().await.unwrap();
        }
    }
}
