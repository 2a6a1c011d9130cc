//! Who has the folder.
//!
//! The lock is the operating system's on `vault.lock`: it ends with the process, however that ends. Who holds it
//! is written beside it, in `vault.holder`, because on Windows a locked file cannot be read.
//!
//! A lock on a file that has lost its name keeps nobody out, so the file that is locked is compared with the one that
//! the name leads to, when it is taken and for as long as it is held.

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
use super::files::{Files, Identity, open_private};
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
    file: Locked,
    exclusive: bool,
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
        Ok(Locked::try_new(files, exclusive)?.map(|file| Self {
            file,
            exclusive,
            _name: name,
            _end: End,
        }))
    }

    /// Writes down who holds the folder; of several that share it, the last. Only where there is a database: without
    /// one, the file says that it was lost.
    #[expect(clippy::unused_self, reason = "only who holds the folder may sign")]
    pub fn sign(&self, files: &Files) -> Result<()> {
        let owner = serde_json::to_vec(Owner::current()).expect("an owner is plain text and numbers");
        open_private(&files.holder, OpenOptions::new().create(true).truncate(true))
            .and_then(|mut file| file.write_all(&owner))
            .map_err(|error| failure::file(&files.holder, "cannot write", &error))
    }

    /// Whether the file that is locked has its name still.
    pub fn is_in_place(&self, files: &Files) -> bool {
        self.file.is_in_place(files)
    }

    /// Makes sure that the lock still keeps others out. Where its file has lost its name, another one is locked in its
    /// place; `false` if somebody else has done so before.
    pub fn keep(&mut self, files: &Files) -> Result<bool> {
        if self.file.is_in_place(files) {
            return Ok(true);
        }
        match Locked::try_new(files, self.exclusive)? {
            Some(file) => {
                self.file = file;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// A locked file.
struct Locked {
    file: File,
    identity: Identity,
}

impl Locked {
    /// `None` if somebody else has locked it.
    fn try_new(files: &Files, exclusive: bool) -> Result<Option<Self>> {
        let failed = |action: &'static str| move |error| failure::file(&files.lock, action, &error);
        let file = open_private(&files.lock, OpenOptions::new().create(true).truncate(false))
            .map_err(failed("cannot open the lock file"))?;
        let locked = if exclusive {
            file.try_lock()
        } else {
            file.try_lock_shared()
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock")(error)),
        }
        let identity = file
            .metadata()
            .map(|found| Identity::of(&found))
            .map_err(failed("cannot read"))?;
        let locked = Self { file, identity };
        // It may have been deleted between opening and locking; who waits tries again.
        Ok(locked.is_in_place(files).then_some(locked))
    }

    fn is_in_place(&self, files: &Files) -> bool {
        Identity::at(&files.lock).is_ok_and(|now| now == self.identity)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing the file ends the lock too, but not at once where a child process inherited the descriptor.
        let _ = self.file.unlock();
    }
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
