//! What the calls and maintenance share.

use std::panic::resume_unwind;
use std::sync::Arc;

use parking_lot::Mutex;

use super::checked::Checked;
use super::config::Durability;
use super::database::Database;
use super::failure::LAYER;
use super::grants::Grants;
use super::place::Place;
use super::session::{self, Now};
use super::turn::Turn;
use super::wal_monitor::WalMonitor;
use crate::backend::store_closed;
use crate::error::{Error, Kind, Result};

/// An open store.
pub(super) struct Store {
    // Dropped in this order: the folder is free when the files are closed.
    pub database: Mutex<Option<Database>>,
    pub place: Arc<Place>,
    /// Held by whoever moves the log into the database; taken before `database`.
    pub moving: Mutex<()>,
    pub shared: bool,
    pub durability: Durability,
    pub wal: Arc<WalMonitor>,
    pub grants: Grants,
    pub checked: Checked,
}

impl Store {
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        match &*self.database.lock() {
            Some(database) => work(database),
            None => Err(store_closed(LAYER)),
        }
    }

    /// To be held by other processes' turn as well while the log is moved.
    pub fn turn(&self) -> Result<Turn> {
        Turn::take(&self.place.files, self.shared)
    }

    /// Removes the records of one expired session; `false` if there is none.
    pub fn purge_one(&self) -> Result<bool> {
        self.with(|database| {
            if database.read(|db| session::has_expired(db, Now::get()))? {
                database.write(|db| session::purge_one(db, Now::get()))
            } else {
                Ok(false)
            }
        })
    }
}

/// Runs work that waits for the disk where it holds nobody up.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            // The panic of whoever waits for it, so that the store hears of it.
            Ok(panic) => resume_unwind(panic),
            Err(ended) => Err(Error::new(Kind::Internal, LAYER, "a background task failed").because(&ended)),
        },
    }
}
