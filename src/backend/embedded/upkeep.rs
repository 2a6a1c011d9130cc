//! What happens beside the commits: flushing, checkpoints, removing expired sessions.
//!
//! The first commit after a pause starts a task; when nothing has been written for a while it brings the log into
//! the database and ends, so that an idle store costs no timer. Its work runs on the runtime's blocking threads.
//!
//! ```text
//! commit ─> dirty ─(every second)─> flushed ─(two quiet seconds, or 4 MiB of log)─> checkpointed ─> task ends
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backend::{Store, on_blocking_thread};
use super::config::Durability;
use super::database::{Beside, Database, flush};
use super::failure;
use crate::error::{Error, Result};
use crate::runtime;

/// What power loss may take in [`Durability::Process`].
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Flush periods without a commit until the store counts as idle.
const QUIET: u32 = 2;
/// Log to let grow before a checkpoint: 4 MiB. More makes opening after a crash slower, less copies hot pages
/// more often.
const CHECKPOINT_PAGES: u32 = 1000;
/// Log at which the rest of a checkpoint holds up commits for a moment: as long as commits keep coming while it
/// runs, the log cannot begin anew, and would grow without bound.
const LIMIT_PAGES: u32 = 4 * CHECKPOINT_PAGES;
/// Rounds of a checkpoint, each for what was committed during the one before.
const ROUNDS: usize = 3;
/// Expired sessions removed in one go; their records are deleted on the committing thread.
const PURGE: usize = 8;

/// What the commits tell the task, and the task the commits.
#[derive(Default)]
pub(super) struct Pulse {
    /// Something was committed that is not flushed yet.
    dirty: AtomicBool,
    /// Pages in the log, and how many of them were in the database after the last checkpoint.
    pages: AtomicU32,
    done: AtomicU32,
    running: AtomicBool,
    closing: AtomicBool,
    wake: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
    flush_failed: Mutex<Option<Error>>,
    checkpoint_failed: Mutex<Option<Error>>,
}

impl Pulse {
    /// Called by the database after each commit.
    pub fn committed(&self, pages: u32) {
        self.dirty.store(true, Ordering::SeqCst);
        self.pages.store(pages, Ordering::SeqCst);
        if pages < self.done.load(Ordering::SeqCst) {
            // The log began anew.
            self.done.store(0, Ordering::SeqCst);
        }
    }

    /// The log was emptied.
    pub fn emptied(&self) {
        self.pages.store(0, Ordering::SeqCst);
        self.done.store(0, Ordering::SeqCst);
    }

    fn backlog(&self) -> u32 {
        let pages = self.pages.load(Ordering::SeqCst);
        pages.saturating_sub(self.done.load(Ordering::SeqCst))
    }

    /// After a flush that failed. `dirty`, so that the task goes on until a checkpoint has made up for it.
    pub fn note_failed_flush(&self, error: &Error) {
        if failure::is_failed_flush(error) {
            self.flush_failed(error.clone());
        }
    }

    fn flush_failed(&self, error: Error) {
        *self.flush_failed.lock() = Some(error);
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Fails once acknowledged commits could not be flushed, until a checkpoint has brought them all into the
    /// database: more of them would be promises not kept. Another flush that works proves nothing, since the system
    /// tells of a failed one once and may have dropped what it was to write.
    pub fn check_flushed(&self) -> Result<()> {
        self.flush_failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Fails while a flush or a checkpoint does.
    pub fn check(&self) -> Result<()> {
        self.check_flushed()?;
        self.checkpoint_failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Whether the task may end: nothing was committed since it looked last.
    fn rest(&self) -> bool {
        self.running.store(false, Ordering::SeqCst);
        let more = self.dirty.load(Ordering::SeqCst);
        // Unless a commit has started another task by now, this one goes on.
        !more || self.running.swap(true, Ordering::SeqCst)
    }

    /// Whether the task has ended, having nothing to do.
    #[cfg(test)]
    pub fn is_at_rest(&self) -> bool {
        !self.running.load(Ordering::SeqCst)
    }

    /// Ends the task and waits for it.
    pub async fn stop(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        let task = self.task.lock().take();
        if let Some(task) = task {
            // Its only other end is a panic, which has been reported where it happened.
            let _ = task.await;
        }
    }
}

/// To be called after a write.
pub(super) fn after_write(store: &Arc<Store>) {
    let pulse = &store.pulse;
    if !pulse.dirty.load(Ordering::SeqCst) {
        return;
    }
    if pulse.backlog() >= CHECKPOINT_PAGES {
        pulse.wake.notify_one();
    }
    if !pulse.running.swap(true, Ordering::SeqCst) {
        let task = runtime::spawn(run(Arc::downgrade(store), pulse.clone()));
        *pulse.task.lock() = Some(task);
    }
}

async fn run(store: Weak<Store>, pulse: Arc<Pulse>) {
    let mut next_flush = Instant::now() + FLUSH_EVERY;
    let mut quiet = 0;
    while !pulse.closing.load(Ordering::SeqCst) {
        tokio::select! {
            () = tokio::time::sleep_until(next_flush) => {}
            () = pulse.wake.notified() => {}
        }
        let Some(store) = store.upgrade() else { return };
        let flush_due = Instant::now() >= next_flush;
        if flush_due {
            next_flush = Instant::now() + FLUSH_EVERY;
            if pulse.check_flushed().is_err() {
                quiet = 0;
                checkpoint(&store).await;
            } else if pulse.dirty.swap(false, Ordering::SeqCst) {
                quiet = 0;
                flush_log(&store).await;
            } else {
                quiet += 1;
            }
        }
        let idle = quiet >= QUIET;
        if pulse.backlog() >= CHECKPOINT_PAGES || (idle && flush_due && pulse.backlog() > 0) {
            checkpoint(&store).await;
        }
        if idle && flush_due {
            // Stops at an error, which the next commit will meet as well.
            let purged = (0..PURGE)
                .take_while(|_| matches!(store.purge_one(), Ok(true)))
                .count();
            if purged == 0 && pulse.checkpoint_failed.lock().is_none() && pulse.rest() {
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
    store.pulse.check_flushed()
}

async fn flush_log(store: &Arc<Store>) {
    if store.durability == Durability::Full {
        return;
    }
    let place = store.place.clone();
    if let Err(error) = on_blocking_thread(move || flush(&place.files, place.log())).await {
        store.pulse.flush_failed(error);
    }
}

async fn checkpoint(store: &Arc<Store>) {
    let theirs = store.clone();
    let done = on_blocking_thread(move || checkpoint_in_rounds(&theirs)).await;
    if matches!(done, Ok(true)) {
        *store.pulse.flush_failed.lock() = None;
    }
    *store.pulse.checkpoint_failed.lock() = done.err();
}

/// Whether everything was moved that was in the log when it began.
fn checkpoint_in_rounds(store: &Store) -> Result<bool> {
    let pulse = &store.pulse;
    let pages = || pulse.pages.load(Ordering::SeqCst);
    let _alone = store.moving.lock();
    let _turn = store.turn()?;
    if !store.with(Database::before_checkpoint)? {
        return Ok(true);
    }
    let began = pages();
    let beside = Beside::open(&store.place.files)?;
    let mut moved = beside.run()?;
    let mut complete = moved.is_complete();
    for _ in 1..ROUNDS {
        if pages() <= moved.pages {
            break;
        }
        moved = beside.run()?;
        complete |= moved.is_complete();
    }
    if pages() > moved.pages && pages() >= LIMIT_PAGES {
        let _no_commits = store.database.lock();
        moved = beside.run()?;
        complete |= moved.is_complete();
    }
    // What was committed meanwhile may be left, but not what was there before.
    complete |= began > 0 && moved.pages >= began;
    pulse.done.store(moved.pages, Ordering::SeqCst);
    if complete {
        store.with(|database| {
            let before = pages();
            database.after_checkpoint()?;
            // The mark itself is nothing that waits to be moved.
            let after = pages();
            let marks = if after > before { after - before } else { after };
            pulse.done.fetch_add(marks, Ordering::SeqCst);
            Ok(())
        })?;
    }
    Ok(complete)
}
