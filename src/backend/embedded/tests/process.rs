//! Other processes: who has the folder, what a kill leaves.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use super::*;

/// Runs this test program again, as another process: the test `child::main` with a role to play.
pub(super) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(super) fn start(role: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "backend::embedded::tests::process::child::main",
                "--nocapture",
            ])
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
    pub(super) fn hear(&mut self, word: &str) -> String {
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
    pub(super) fn kill(&mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (&mut self.output).lines().map_while(Result::ok).collect()
    }

    /// Lets it end by itself.
    pub(super) fn end(&mut self) {
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
            "try" => match Embedded::open(config(&folder)).await {
                Ok(store) => {
                    println!("opened OK");
                    drop(store);
                }
                Err(error) => println!("opened {}", error.kind().code()),
            },
            "write once" => write_once(&folder).await,
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

    /// Commits once and stays until told to close.
    async fn write_once(folder: &Path) {
        let store = open(folder).await;
        let grant = grant(&store, &session()).await;
        let base = grant.head.version;
        let changes = vec![change("session", "theirs", "1")];
        commit_one(
            &store,
            commit(&session(), Fence::Owner(grant.token), base, changes),
        )
        .await
        .unwrap();
        println!("acknowledged {}", base + 1);
        std::io::stdin().lines().for_each(drop);
        store.close().await.unwrap();
    }

    /// Commits 200 times beside others.
    async fn merge(folder: &Path) {
        let store = Embedded::open(EmbeddedConfig {
            exclusive: false,
            open_timeout: PATIENCE,
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
                Seen::NOTHING,
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
async fn who_waits_in_the_same_process_comes_in_once_it_is_closed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let patient = EmbeddedConfig {
        open_timeout: PATIENCE,
        ..config(folder.path())
    };
    let waiting = tokio::spawn(Embedded::open(patient));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
    }
    store.close().await.unwrap();
    waiting.await.unwrap().unwrap().close().await.unwrap();
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
        let found = store.read(&session(), &keys, Seen::NOTHING).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{name}");
    }
    store.close().await.unwrap();
    sharer.end();
}
