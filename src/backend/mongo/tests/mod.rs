//! Tests against a server; every test uses a database of its own.

mod clocks;
mod commits;
mod cost;
mod crashes;
mod outage;
mod owners;
mod renewals;

use std::time::Duration;

use bytes::Bytes;
use mongodb::bson::doc;

use super::{MongoBackend, MongoConfig};
use crate::backend::Seen;
use crate::backend::contract::renewals;
use crate::backend::contract::{self, acquire, change, commit, commit_one, key};
use crate::backend::servers::{connected, mongo_for};
use crate::backend::{Acquire, Acquired, Backend, Commit, Fence, Grant, SessionId};
use crate::record::Change;

/// A database that no other test uses.
fn config(url: &str) -> MongoConfig {
    let database = format!("vault_test_{:016x}", super::documents::random());
    MongoConfig {
        database: Some(database),
        ..MongoConfig::new(url)
    }
}

/// Removes a test's database.
async fn drop_database(backend: &MongoBackend) {
    let dropped = backend.0.connection.run(doc! { "dropDatabase": 1 }).await;
    dropped.expect("the test's database is dropped");
}

/// Runs `test` with the configuration of an empty database, or skips it.
async fn with_server<F: Future<Output = ()>>(name: &str, test: impl FnOnce(MongoConfig) -> F) {
    let Some(url) = mongo_for(name) else { return };
    let config = config(&url);
    test(config.clone()).await;
    drop_database(&connect(&config).await).await;
}

async fn connect(config: &MongoConfig) -> MongoBackend {
    connected(async || MongoBackend::connect(config).await).await
}

async fn granted(backend: &MongoBackend, session: &SessionId) -> Grant {
    grant(backend, acquire(session)).await
}

/// As a process that knows the holder dead.
async fn succeed(backend: &MongoBackend, session: &SessionId, token: u64) -> Grant {
    let request = Acquire {
        preempt: Some(token),
        ..acquire(session)
    };
    grant(backend, request).await
}

async fn grant(backend: &MongoBackend, request: Acquire) -> Grant {
    match backend.acquire(request).await.expect("acquire works") {
        Acquired::Granted(grant) => grant,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

/// What a record says; `None` if there is none.
async fn get(backend: &MongoBackend, session: &SessionId, id: &str) -> Option<String> {
    let found = backend
        .read(session, &[key("session", id)], Seen::NOTHING)
        .await
        .unwrap();
    found[0]
        .as_ref()
        .map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn owned(session: &SessionId, token: u64, base: u64, changes: Vec<Change>) -> Commit {
    commit(session, Fence::Owner(token), base, changes)
}

/// Passes the commit point and stops there, as a process that is killed does.
async fn commit_and_die(backend: &MongoBackend, commit: Commit) {
    let (answers, _) = backend.0.committer.commit_points(vec![commit]).await;
    for answer in answers {
        answer.expect("the commit point is passed");
    }
}

/// How many records stand in the database, tombstones aside.
async fn stored(backend: &MongoBackend) -> usize {
    let connection = &backend.0.connection;
    let live = doc! { "r.d": { "$exists": true } };
    connection
        .find(&connection.records, live, Some(doc! { "_id": 1 }), 0)
        .await
        .unwrap()
        .len()
}

async fn staged(backend: &MongoBackend) -> usize {
    let connection = &backend.0.connection;
    connection
        .find(&connection.staged, doc! {}, Some(doc! { "_id": 1 }), 0)
        .await
        .unwrap()
        .len()
}

/// Waits until the records have caught up.
async fn settled(backend: &MongoBackend, session: &SessionId) {
    let slot = backend.0.slots.get_or_make(session);
    backend.0.applier.start([slot.clone()]);
    slot.settle().await;
    assert_eq!(slot.queued(), 0, "all patches are applied");
}

#[tokio::test]
async fn the_contract_is_kept() {
    with_server("the_contract_is_kept", async |config| {
        let backend = connect(&config).await;
        contract::run(&backend).await;
        contract::closed(&backend).await;
    })
    .await;
}

#[tokio::test]
async fn the_sweeper_removes_only_what_is_nobodys() {
    with_server("the_sweeper_removes_only_what_is_nobodys", async |config| {
        let backend = connect(&config).await;
        let sessions: Vec<SessionId> = ["gone", "gone/too", "here"].map(Into::into).to_vec();
        for session in &sessions {
            let token = granted(&backend, session).await.token;
            let changes = vec![change("session", "a", "1"), change("pre-key", "b", "2")];
            commit_one(&backend, owned(session, token, 0, changes))
                .await
                .unwrap();
            settled(&backend, session).await;
        }
        // As the TTL index does.
        let reaped = doc! { "_id": { "$in": ["gone", "gone/too"] } };
        let connection = &backend.0.connection;
        connection.remove(&connection.sessions, reaped).await.unwrap();
        assert_eq!(backend.sweep().await.unwrap(), 4);
        assert_eq!(stored(&backend).await, 2);
        assert_eq!(get(&backend, &sessions[2], "a").await.as_deref(), Some("1"));
        assert_eq!(backend.sweep().await.unwrap(), 0);
    })
    .await;
}

fn bytes(length: usize) -> Bytes {
    Bytes::from(vec![7; length])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
