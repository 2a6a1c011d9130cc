//! Maintenance, beside the commits: flushing, checkpoints, removing expired sessions.
//!
//! The first commit after a pause starts a task; when nothing has been written for a while it brings the log into
//! the database and ends, so that an idle store costs no timer. Its work runs on the runtime's blocking threads.
//!
//! ```text
//! commit ─> dirty ─(every second)─> flushed ─(two quiet seconds, or 4 MiB of log)─> checkpointed ─> task ends
//! ```

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::config::Durability;
use super::database::{Beside, Database, flush};
use super::store::{Store, on_blocking_thread};
use super::wal_monitor::WalMonitor;
use crate::error::Result;
use crate::runtime;

/// What power loss may take in [`Durability::Process`].
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Flush periods without a commit until the store counts as idle.
const QUIET: u32 = 2;
/// Rounds of a checkpoint, each for what was committed during the one before.
const ROUNDS: usize = 3;
/// Expired sessions removed in one go; their records are deleted on the committing thread.
const PURGE: usize = 8;

/// To be called after a write.
pub(super) fn after_write(store: &Arc<Store>) {
    let start = || runtime::spawn(run(Arc::downgrade(store), store.wal.clone()));
    store.wal.after_write(start);
}

async fn run(store: Weak<Store>, wal: Arc<WalMonitor>) {
    let mut next_flush = Instant::now() + FLUSH_EVERY;
    let mut quiet = 0;
    while !wal.is_closing() {
        tokio::select! {
            () = tokio::time::sleep_until(next_flush) => {}
            () = wal.woken() => {}
        }
        let Some(store) = store.upgrade() else { return };
        let flush_due = Instant::now() >= next_flush;
        if flush_due {
            next_flush = Instant::now() + FLUSH_EVERY;
            if wal.check_flushed().is_err() {
                quiet = 0;
                checkpoint(&store).await;
            } else if wal.take_dirty() {
                quiet = 0;
                flush_log(&store).await;
            } else {
                quiet += 1;
            }
        }
        let idle = quiet >= QUIET;
        if wal.is_checkpoint_due() || (idle && flush_due && wal.has_backlog()) {
            checkpoint(&store).await;
        }
        if idle && flush_due {
            // Stops at an error, which the next commit will meet as well.
            let purged = (0..PURGE)
                .take_while(|_| matches!(store.purge_one(), Ok(true)))
                .count();
            if purged == 0 && wal.check_checkpoint().is_ok() && wal.rest() {
                return;
            }
        }
    }
}

/// Makes what was committed survive power loss now.
pub(super) async fn flush_now(store: &Arc<Store>) -> Result<()> {
    // Without a log everything is in the database, and flushed.
    if store.place.files.wal.exists() {
        flush_log(store).await;
    }
    store.wal.check_flushed()
}

async fn flush_log(store: &Arc<Store>) {
    if store.durability == Durability::Full {
        return;
    }
    let place = store.place.clone();
    if let Err(error) = on_blocking_thread(move || flush(&place.files, place.log())).await {
        store.wal.flush_failed(error);
    }
}

async fn checkpoint(store: &Arc<Store>) {
    let theirs = store.clone();
    let done = on_blocking_thread(move || checkpoint_in_rounds(&theirs)).await;
    store.wal.checkpoint_ended(done);
}

/// Whether everything was moved that was in the log when it began.
fn checkpoint_in_rounds(store: &Store) -> Result<bool> {
    let wal = &store.wal;
    let _alone = store.moving.lock();
    let _turn = store.turn()?;
    if !store.with(Database::before_checkpoint)? {
        return Ok(true);
    }
    let began = wal.pages();
    let beside = Beside::open(&store.place.files)?;
    let mut moved = beside.run()?;
    let mut complete = moved.is_complete();
    for _ in 1..ROUNDS {
        if wal.pages() <= moved.pages {
            break;
        }
        moved = beside.run()?;
        complete |= moved.is_complete();
    }
    if wal.pages() > moved.pages && wal.is_at_limit() {
        let _no_commits = store.database.lock();
        moved = beside.run()?;
        complete |= moved.is_complete();
    }
    // What was committed meanwhile may be left, but not what was there before.
    complete |= began > 0 && moved.pages >= began;
    wal.checkpointed(moved.pages);
    if complete {
        store.with(|database| {
            let before = wal.pages();
            database.after_checkpoint()?;
            wal.marked(before);
            Ok(())
        })?;
    }
    Ok(complete)
}
