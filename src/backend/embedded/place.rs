//! Whether the files that are open are still those that their names lead to.
//!
//! What is written to a file that has lost its name is gone when it is closed, and a lock on one keeps nobody out. Both
//! are looked at before a write and again before it is acknowledged. Looking at three files each time would cost as
//! much as a small write, so it is the folder that is looked at: whenever a name in it comes, goes or changes, its time
//! does too, and only then are the files.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::failure::{self, LAYER};
use super::files::{Files, Identity};
use super::lock::FolderLock;
use crate::error::{Error, Kind, Result};

/// A folder's time may stay the same for changes that follow one another within a tick of the system's clock, so that
/// one younger than this proves nothing.
const SETTLED: Duration = Duration::from_millis(50);
/// How long the folder's time is believed at all: not every file system keeps it.
const BELIEVED: Duration = Duration::from_millis(100);

/// The files of an open store.
pub(super) struct Place {
    pub files: Files,
    pub database: Identity,
    log: Mutex<Option<Identity>>,
    lock: Mutex<Option<FolderLock>>,
    seen: Mutex<Option<Seen>>,
}

/// When all was found in place.
struct Seen {
    folder: Stamp,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    folder: Identity,
    changed: SystemTime,
}

impl Place {
    /// Of the database that is in `files` now.
    pub fn new(files: Files, lock: FolderLock) -> Result<Self> {
        let database = Identity::at(&files.database)
            .map_err(|error| failure::file(&files.database, "cannot find", &error))?;
        Ok(Self {
            files,
            database,
            log: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            seen: Mutex::default(),
        })
    }

    /// Fails if a file has lost its name: what is written now would be gone when it is closed. `Fenced` if somebody
    /// else has the folder by now.
    pub fn check(&self) -> Result<()> {
        let stamp = Stamp::of(&self.files.folder);
        let mut seen = self.seen.lock();
        if let (Some(stamp), Some(seen)) = (stamp, &*seen)
            && seen.folder == stamp
            && seen.at.elapsed() < BELIEVED
        {
            return Ok(());
        }
        *seen = None;
        self.look()?;
        *seen = stamp.filter(Stamp::is_settled).map(|folder| Seen {
            folder,
            at: Instant::now(),
        });
        Ok(())
    }

    /// [`Place::check`] without regard to what was seen before.
    pub fn look(&self) -> Result<()> {
        self.look_at_files()?;
        if let Some(lock) = &mut *self.lock.lock()
            && !lock.keep(&self.files)?
        {
            return Err(self.lost_lock());
        }
        Ok(())
    }

    /// [`Place::look`] for what runs by itself: that takes no folder that whoever deleted its lock may want for another
    /// process.
    pub fn look_only(&self) -> Result<()> {
        self.look_at_files()?;
        match &*self.lock.lock() {
            Some(lock) if !lock.is_in_place(&self.files) => Err(self.lost_lock()),
            _ => Ok(()),
        }
    }

    fn lost_lock(&self) -> Error {
        let text = format!(
            "{} was deleted or replaced, and another process may have the folder now",
            self.files.lock.display()
        );
        Error::new(Kind::Fenced, LAYER, text)
    }

    fn look_at_files(&self) -> Result<()> {
        self.check_file(&self.files.database, self.database)?;
        match *self.log.lock() {
            Some(log) => self.check_file(&self.files.wal, log),
            None => Ok(()),
        }
    }

    fn check_file(&self, path: &Path, identity: Identity) -> Result<()> {
        let gone = |what: &str| {
            let mut text = format!("{} {what} while open", path.display());
            if path == self.files.wal {
                text += "; closing the store brings what was acknowledged into the database";
            }
            Error::new(Kind::Unavailable, LAYER, text)
        };
        match Identity::at(path) {
            Ok(now) if now == identity => Ok(()),
            Ok(_) => Err(gone("was replaced")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(gone("was moved or deleted").because(&error))
            }
            Err(error) => Err(failure::file(path, "cannot find", &error)),
        }
    }

    /// Whether the database is in its place.
    pub fn has_database(&self) -> bool {
        self.check_file(&self.files.database, self.database).is_ok()
    }

    /// Whether the folder is still ours.
    pub fn keeps_folder(&self) -> bool {
        let mut lock = self.lock.lock();
        lock.as_mut()
            .is_none_or(|lock| lock.keep(&self.files).unwrap_or(false))
    }

    /// Notes which file the log is, once there is one.
    pub fn note_log(&self) {
        let mut log = self.log.lock();
        if log.is_none() {
            *log = Identity::at(&self.files.wal).ok();
        }
    }

    /// Whether the name of the log leads to the log that is open.
    pub fn has_log(&self) -> bool {
        self.log
            .lock()
            .is_none_or(|log| self.check_file(&self.files.wal, log).is_ok())
    }

    /// Which file the log is, where that is known.
    pub fn log(&self) -> Option<Identity> {
        *self.log.lock()
    }

    /// Lets others have the folder.
    pub fn release(&self) {
        drop(self.lock.lock().take());
    }
}

impl Stamp {
    fn of(folder: &Path) -> Option<Self> {
        let found = std::fs::metadata(folder).ok()?;
        Some(Self {
            folder: Identity::of(&found),
            changed: found.modified().ok()?,
        })
    }

    fn is_settled(&self) -> bool {
        SystemTime::now()
            .duration_since(self.changed)
            .is_ok_and(|age| age > SETTLED)
    }
}
