//! What a process holds that neither server has, when it must end: written to a file, so that it is not lost with the
//! process, and said aloud.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::LAYER;
use super::dead_letters::letter;
use super::slot::Slot;
use super::state::Core;
use crate::backend::DeadLetter;
use crate::error::{Error, Kind, Result};
use crate::time::unix_millis;

/// So many commits are named in the error.
const NAMED: usize = 100;

impl Core {
    /// An error that names the file, if there was anything to write.
    pub async fn say_last_words(&self) -> Result<()> {
        let mut held = self.dead_letters.unsent();
        for slot in self.sessions.behind().into_iter().chain(self.sessions.orphans()) {
            if slot.has_pending() && self.lost_in_redis(&slot).await {
                let reason =
                    "the process ended before the primary could be reached, and Redis no longer had it";
                held.extend(slot.pending().iter().map(|commit| letter(commit, reason)));
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        let message = "commits were acknowledged that neither server has";
        let commits: Vec<_> = held
            .iter()
            .take(NAMED)
            .map(|letter| serde_json::json!({ "session": &*letter.session, "version": letter.version }))
            .collect();
        let error = Error::new(Kind::Unavailable, LAYER, message).with("commits", commits);
        Err(match write(&held) {
            Ok(file) => error.with("file", file.to_string_lossy()),
            Err(cause) => error.because(&cause),
        })
    }

    /// Whether Redis says that it has not what this owner put there. One that cannot be asked is taken to have it:
    /// it acknowledged it.
    async fn lost_in_redis(&self, slot: &Slot) -> bool {
        let found = self.cache.call(|cache| cache.revision(&slot.session));
        match found.await {
            Ok(Some(found)) => found.token == slot.token && !found.same_commit(&slot.revision()),
            Ok(None) => true,
            Err(_) => false,
        }
    }
}

/// One line of JSON for each, the sealed entry in hexadecimal digits; beside the program, or where temporary files go.
fn write(letters: &[DeadLetter]) -> std::io::Result<PathBuf> {
    let name = format!(
        "baileys-vault-unsaved-{}-{}.jsonl",
        std::process::id(),
        unix_millis()
    );
    let mut text = String::new();
    for letter in letters {
        let mut entry = String::with_capacity(2 * letter.entry.len());
        for byte in &letter.entry {
            let _ = write!(entry, "{byte:02x}");
        }
        let line = serde_json::json!({
            "session": &*letter.session, "token": letter.token, "version": letter.version,
            "reason": letter.reason, "at": letter.at, "entry": entry,
        });
        let _ = writeln!(text, "{line}");
    }
    let folders = [std::env::current_dir(), Ok(std::env::temp_dir())];
    let mut outcome = Err(std::io::ErrorKind::NotFound.into());
    for folder in folders.into_iter().flatten() {
        let file = folder.join(&name);
        outcome = create(&file).and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_all()?;
            Ok(file)
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn create(file: &PathBuf) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}
