//! What commits and maintenance tell each other of the log.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::failure;
use crate::error::{Error, Result};

/// Log to let grow before a checkpoint: 4 MiB. More makes opening after a crash slower, less copies hot pages
/// more often.
const CHECKPOINT_PAGES: u32 = 1000;
/// Log at which the rest of a checkpoint holds up commits for a moment: as long as commits keep coming while it
/// runs, the log cannot begin anew, and would grow without bound.
const LIMIT_PAGES: u32 = 4 * CHECKPOINT_PAGES;

/// The state of the log, and of the task that maintains it.
#[derive(Default)]
pub(super) struct WalMonitor {
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

impl WalMonitor {
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

    /// Pages in the log.
    pub fn pages(&self) -> u32 {
        self.pages.load(Ordering::SeqCst)
    }

    fn backlog(&self) -> u32 {
        self.pages().saturating_sub(self.done.load(Ordering::SeqCst))
    }

    /// Whether the log has pages that are not in the database.
    pub fn has_backlog(&self) -> bool {
        self.backlog() > 0
    }

    /// Whether those are so many that a checkpoint is due.
    pub fn is_checkpoint_due(&self) -> bool {
        self.backlog() >= CHECKPOINT_PAGES
    }

    /// Whether the log is so long that commits have to wait for a checkpoint.
    pub fn is_at_limit(&self) -> bool {
        self.pages() >= LIMIT_PAGES
    }

    /// The first `pages` of the log are in the database.
    pub fn checkpointed(&self, pages: u32) {
        self.done.store(pages, Ordering::SeqCst);
    }

    /// A checkpoint's own mark grew the log from `before` pages to what it is now: nothing that waits to be moved.
    pub fn marked(&self, before: u32) {
        let after = self.pages();
        let marks = if after > before { after - before } else { after };
        self.done.fetch_add(marks, Ordering::SeqCst);
    }

    /// Whether something was committed since this was last asked.
    pub fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::SeqCst)
    }

    /// After a flush that failed. `dirty`, so that maintenance goes on until a checkpoint has made up for it.
    pub fn note_failed_flush(&self, error: &Error) {
        if failure::is_failed_flush(error) {
            self.flush_failed(error.clone());
        }
    }

    /// [`WalMonitor::note_failed_flush`] of what is known to be one.
    pub fn flush_failed(&self, error: Error) {
        *self.flush_failed.lock() = Some(error);
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// How a checkpoint ended: whether it moved everything that was in the log when it began.
    pub fn checkpoint_ended(&self, outcome: Result<bool>) {
        if matches!(outcome, Ok(true)) {
            *self.flush_failed.lock() = None;
        }
        *self.checkpoint_failed.lock() = outcome.err();
    }

    /// Fails once acknowledged commits could not be flushed, until a checkpoint has brought them all into the
    /// database: more of them would be promises not kept. Another flush that works proves nothing, since the system
    /// tells of a failed one once and may have dropped what it was to write.
    pub fn check_flushed(&self) -> Result<()> {
        self.flush_failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Fails after a checkpoint that did.
    pub fn check_checkpoint(&self) -> Result<()> {
        self.checkpoint_failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Fails while a flush or a checkpoint does.
    pub fn check(&self) -> Result<()> {
        self.check_flushed()?;
        self.check_checkpoint()
    }

    /// To be called after a write: wakes the maintenance task where it is needed at once, and starts it by `spawn`
    /// unless it runs.
    pub fn after_write(&self, spawn: impl FnOnce() -> JoinHandle<()>) {
        if !self.dirty.load(Ordering::SeqCst) {
            return;
        }
        if self.is_checkpoint_due() {
            self.wake.notify_one();
        }
        if !self.running.swap(true, Ordering::SeqCst) {
            *self.task.lock() = Some(spawn());
        }
    }

    /// Ends when the task is needed before its time.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether the task is to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Whether the task may end: nothing was committed since it looked last.
    pub fn rest(&self) -> bool {
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
