//! What the embedded backend adds to the contract: its files, its lock, and what it survives.

mod damage;
mod lost;
mod maintenance;
mod notes;
mod process;
mod room;
mod traces;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Durability, Embedded, EmbeddedConfig};
use crate::backend::Seen;
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
        .filter(|path| path.is_file() && !path.ends_with("vault.lock") && !path.ends_with("vault.holder"))
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
