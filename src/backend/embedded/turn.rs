//! Who moves the log into the database.
//!
//! Only one at a time may say that there is a log and take it back (see [`mark`](super::mark)): in a process, and, in a
//! shared folder, among all processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::{Duration, Instant};

use super::failure::{self, LAYER};
use super::files::{Files, open_private};
use crate::error::{Error, Kind, Result};

/// How long another process's checkpoint is waited for. It holds up the thread, so not long.
const WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(2);

/// Ours while it lives.
pub(super) struct Turn(Option<File>);

impl Turn {
    /// Waits for other processes, if there may be any.
    pub fn take(files: &Files, shared: bool) -> Result<Self> {
        if !shared {
            return Ok(Self(None));
        }
        let failed = |action: &'static str| move |error| failure::file(&files.turn, action, &error);
        let file = open_private(&files.turn, OpenOptions::new().create(true).truncate(false))
            .map_err(failed("cannot open"))?;
        let deadline = Instant::now() + WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Some(file))),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::Unavailable,
                        LAYER,
                        format!(
                            "another process keeps working on the log of {}",
                            files.database.display()
                        ),
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(failed("cannot lock")(error)),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}
