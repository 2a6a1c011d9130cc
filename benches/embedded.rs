//! What the calls of the embedded backend cost, at 10 and at 100,000 stored records.
//!
//! `cargo bench --bench embedded`

use std::time::{Duration, Instant};

use baileys_vault::backend::embedded::{Durability, Embedded, EmbeddedConfig};
use baileys_vault::backend::{Acquire, Acquired, Backend, Commit, Fence, Owner, Seen, SessionId, Token};
use baileys_vault::record::{Change, RecordKey};
use bytes::Bytes;
use tempfile::TempDir;

/// Bytes of a sealed session record.
const SIZE: usize = 1900;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("the system gives a thread its event queue")
        .block_on(async {
            for durability in [Durability::Process, Durability::Full] {
                for stored in [10, 100_000] {
                    measure(durability, stored).await;
                }
            }
        });
}

fn session() -> SessionId {
    "measured".into()
}

fn key(id: u64) -> RecordKey {
    RecordKey::new("session", &id.to_string()).expect("a short id")
}

fn put(id: u64, value: &Bytes) -> Change {
    Change {
        key: key(id),
        value: Some(value.clone()),
    }
}

fn commit(session: &SessionId, token: Token, base: u64, changes: Vec<Change>) -> Commit {
    Commit {
        session: session.clone(),
        fence: Fence::Owner(token),
        base,
        patches: 1,
        expected: false,
        id: base + 1,
        changes,
        ttl: None,
        note: None,
    }
}

async fn grant(store: &Embedded, session: &SessionId) -> Token {
    let request = Acquire {
        session: session.clone(),
        owner: Owner::current().clone(),
        lease: Duration::from_secs(5),
        client_token: None,
        preempt: None,
        read: Vec::new(),
    };
    match store.acquire(request).await {
        Ok(Acquired::Granted(grant)) => grant.token,
        other => panic!("the session is ours: {other:?}"),
    }
}

async fn measure(durability: Durability, stored: u64) {
    let say = |what: &str, time: Duration| println!("{durability:?}, {stored} stored, {what}: {time:?}");
    // On the disk of the sources: the folder for temporary files may be in memory.
    let folder = TempDir::new_in(".").unwrap();
    let config = EmbeddedConfig {
        durability,
        ..EmbeddedConfig::new(folder.path())
    };
    let store = Embedded::open(config.clone()).await.unwrap();
    let mut writer = Writer {
        token: grant(&store, &session()).await,
        store: &store,
        base: 0,
    };
    for first in (0..stored).step_by(1000) {
        writer.put(first..stored.min(first + 1000)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let rounds = if durability == Durability::Full { 500 } else { 4000 };
    for records in [1, 5] {
        let mut times = Vec::new();
        for round in 0..rounds {
            let ids = (0..records).map(|at| (round * 7919 + at * 131) % stored);
            times.push(writer.put(ids).await);
        }
        say(&format!("overwrite {records}"), median(times));
        let mut times = Vec::new();
        for round in 0..rounds {
            let first = 1_000_000 * records + round * records;
            times.push(writer.put(first..first + records).await);
        }
        say(&format!("insert {records}"), median(times));
    }
    let mut times = Vec::new();
    for round in 0..rounds {
        let keys = [key(round * 7919 % stored)];
        let start = Instant::now();
        assert!(store.read(&session(), &keys, Seen::NOTHING).await.unwrap()[0].is_some());
        times.push(start.elapsed());
    }
    say("read 1", median(times));
    say("64 sessions x 5", group(&store).await);

    let fence = Fence::Owner(writer.token);
    let start = Instant::now();
    assert!(store.delete(&session(), fence).await.unwrap());
    say("delete", start.elapsed());
    let start = Instant::now();
    store.close().await.unwrap();
    say("close", start.elapsed());
    let start = Instant::now();
    let store = Embedded::open(config).await.unwrap();
    say("open", start.elapsed());
    grant(&store, &session()).await;
    say("open and acquire", start.elapsed());
    store.close().await.unwrap();
}

struct Writer<'a> {
    store: &'a Embedded,
    token: Token,
    base: u64,
}

impl Writer<'_> {
    async fn put(&mut self, ids: impl Iterator<Item = u64>) -> Duration {
        let record = Bytes::from(vec![7; SIZE]);
        let changes = ids.map(|id| put(id, &record)).collect();
        let next = commit(&session(), self.token, self.base, changes);
        let start = Instant::now();
        let answers = self.store.commit(vec![next]).await;
        assert!(answers[0].is_ok());
        let took = start.elapsed();
        self.base += 1;
        tokio::task::yield_now().await;
        took
    }
}

/// Commits that many sessions make at once.
async fn group(store: &Embedded) -> Duration {
    let record = Bytes::from(vec![7; SIZE]);
    let mut owners = Vec::new();
    for at in 0..64 {
        let name: SessionId = format!("s{at}").into();
        owners.push((name.clone(), grant(store, &name).await));
    }
    let mut times = Vec::new();
    for base in 0..100 {
        let commits = owners
            .iter()
            .map(|(name, token)| {
                let changes = (0..5).map(|id| put(id, &record)).collect();
                commit(name, *token, base, changes)
            })
            .collect();
        let start = Instant::now();
        let answers = store.commit(commits).await;
        times.push(start.elapsed());
        assert!(answers.iter().all(Result::is_ok));
        tokio::task::yield_now().await;
    }
    median(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
