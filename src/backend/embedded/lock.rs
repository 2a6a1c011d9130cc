//! Who has the folder.
//!
//! The lock is the operating system's on `vault.lock`: it ends with the process, however that ends. Who holds it
//! is written beside it, in `vault.holder`, because on Windows a locked file cannot be read.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::failure::{self, LAYER};
use super::files::{Files, open_private};
use crate::backend::Owner;
use crate::error::{Error, Kind, Result};

/// How often a waiting open looks again: another process, closed or dead, is succeeded within this time.
const POLL: Duration = Duration::from_millis(10);

/// Folders open in this process. Shared locks do not exclude each other, and a process must not open one database
/// twice by itself: closing any descriptor of a file drops all POSIX locks that the process has on it.
static OPEN: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// The folder is ours while this lives.
pub(super) struct FolderLock {
    // Dropped in this order: the lock ends before the name is free, and then it is told.
    file: File,
    _name: Name,
    _end: End,
}

/// Tells who waits in this process.
struct End;

static ENDED: Notify = Notify::const_new();

impl Drop for End {
    fn drop(&mut self) {
        ENDED.notify_waiters();
    }
}

struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        OPEN.lock().remove(&self.0);
    }
}

impl FolderLock {
    /// Waits up to `timeout` for the folder. `SessionBusy` with the detail `holder` if somebody else keeps it.
    pub async fn take(files: &Files, exclusive: bool, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut ended = std::pin::pin!(ENDED.notified());
            ended.as_mut().enable();
            if let Some(lock) = Self::try_take(files, exclusive)? {
                return Ok(lock);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(busy(files));
            }
            let _ = tokio::time::timeout(POLL.min(deadline - now), ended).await;
        }
    }

    fn try_take(files: &Files, exclusive: bool) -> Result<Option<Self>> {
        if !OPEN.lock().insert(files.folder.clone()) {
            return Ok(None);
        }
        let name = Name(files.folder.clone());
        let file = open_private(&files.lock, OpenOptions::new().create(true).truncate(false))
            .map_err(|error| failure::file(&files.lock, "cannot open the lock file", &error))?;
        let locked = if exclusive {
            file.try_lock()
        } else {
            file.try_lock_shared()
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(failure::file(&files.lock, "cannot lock", &error));
            }
        }
        let lock = Self {
            file,
            _name: name,
            _end: End,
        };
        sign(files)?;
        Ok(Some(lock))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file ends the lock too, but not at once where a child process inherited the descriptor.
        let _ = self.file.unlock();
    }
}

/// Writes down who holds the folder; of several that share it, the last.
fn sign(files: &Files) -> Result<()> {
    let owner = serde_json::to_vec(Owner::current()).expect("an owner is plain text and numbers");
    open_private(&files.holder, OpenOptions::new().create(true).truncate(true))
        .and_then(|mut file| file.write_all(&owner))
        .map_err(|error| failure::file(&files.holder, "cannot write", &error))
}

fn busy(files: &Files) -> Error {
    let folder = files.folder.display();
    let holder = fs::read(&files.holder)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
    let message = match &holder {
        Some(owner) if owner == Owner::current() => format!("{folder} is open already in this process"),
        Some(owner) => format!("{folder} is in use by {owner}"),
        None => format!("{folder} is in use by another process"),
    };
    let error = Error::new(Kind::SessionBusy, LAYER, message).with("folder", folder.to_string());
    match holder {
        Some(owner) => error.with(
            "holder",
            serde_json::to_value(owner).expect("an owner is plain text and numbers"),
        ),
        None => error,
    }
}
