//! Tests against real servers.

mod answers;
mod commits;
mod cost;
mod faults;
mod leases;
mod losses;
pub(crate) mod midway;
mod nodes;
mod operators;
mod promises;
mod renewals;
pub(crate) mod replicas;
pub(crate) mod topologies;

use std::time::Duration;

use bytes::Bytes;

use super::{RedisBackend, RedisConfig};
use crate::backend::Seen;
use crate::backend::contract::renewals;
use crate::backend::{Acquire, Acquired, Backend, Commit, Fence, Grant, Head, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

fn backend(url: &str) -> RedisBackend {
    RedisBackend::new(&config(url)).unwrap()
}

pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig {
        operation_timeout: Duration::from_secs(10),
        ..RedisConfig::from_url(url).unwrap()
    }
}

pub(crate) fn owner(name: &str) -> Owner {
    Owner {
        instance: name.to_owned(),
        ..Owner::current().clone()
    }
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new("session", id).unwrap()
}

pub(crate) fn put(id: &str, value: &str) -> Change {
    Change {
        key: key(id),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

pub(crate) fn drop_record(id: &str) -> Change {
    Change {
        key: key(id),
        value: None,
    }
}

fn request(session: &str, name: &str) -> Acquire {
    Acquire {
        session: session.into(),
        owner: owner(name),
        lease: LEASE,
        client_token: None,
        preempt: None,
        read: Vec::new(),
    }
}

async fn grant(backend: &RedisBackend, session: &str) -> Grant {
    granted(backend.acquire(request(session, "first")).await.unwrap())
}

fn granted(acquired: Acquired) -> Grant {
    match acquired {
        Acquired::Granted(grant) => grant,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

fn commit(session: &str, token: Token, base: u64, changes: Vec<Change>) -> Commit {
    Commit {
        session: session.into(),
        fence: Fence::Owner(token),
        base,
        patches: 1,
        expected: false,
        id: getrandom::u64().unwrap(),
        changes,
        ttl: None,
        note: None,
    }
}

fn shared(session: &str, changes: Vec<Change>) -> Commit {
    Commit {
        fence: Fence::Shared,
        ..commit(session, 0, 0, changes)
    }
}

async fn commit_one(backend: &RedisBackend, commit: Commit) -> Result<Head> {
    let mut results = backend.commit(vec![commit]).await;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

async fn read_one(backend: &RedisBackend, session: &str, id: &str) -> Option<String> {
    let records = backend
        .read(&session.into(), &[key(id)], Seen::NOTHING)
        .await
        .unwrap();
    assert_eq!(records.len(), 1);
    records[0]
        .as_ref()
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}

/// Does again what failed because the server could not be reached, as the layer above would.
pub(crate) async fn persist<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = std::time::Instant::now();
    loop {
        match attempt().await {
            Err(error) if is_outage(&error) && start.elapsed() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

async fn all_sessions(backend: &RedisBackend, limit: usize) -> Result<Vec<SessionId>> {
    let (mut sessions, mut cursor) = (Vec::new(), None);
    loop {
        let page = backend.list(cursor, limit).await?;
        sessions.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            sessions.sort();
            sessions.dedup();
            return Ok(sessions);
        }
    }
}
