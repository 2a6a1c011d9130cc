//! What the database file says about its log.
//!
//! `vault.db` alone is the whole store only while nobody has written to it since it was closed. Afterwards part of what
//! was acknowledged is in the log, and the file without its log reads as an older store: that must never be taken for
//! the newest. So the file says itself whether a log belongs to it, in the bits of `user_version` that the layout's
//! number leaves free:
//!
//! ```text
//! bit 0-7   layout            bit 8   a log belongs to this file            bit 9-30   generation
//! ```
//!
//! The bit must be set in the *file* while there is a log, and clear in what the *log* says, so that whoever reads both
//! and leaves one complete file behind (`SQLite` itself when the last one closes, `.backup`, `VACUUM INTO`) leaves one
//! that says that it is complete. Therefore every checkpoint is put between two marks:
//!
//! ```text
//! raise (generation + 1, bit set) ─> checkpoint brings it into the file ─> lower (the same generation, bit clear)
//! ```
//!
//! and the first write after a complete close does the same before it is acknowledged. A generation more with each
//! tells a log from one that belongs to another state of the file, as when a backup was copied over `vault.db` and the
//! log was left.

use rusqlite::Connection;

const LAYOUT: u32 = 0xFF;
const HAS_LOG: u32 = 1 << 8;
const GENERATION_AT: u32 = 9;
const GENERATIONS: u32 = 1 << 22;

/// `user_version`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub layout: u32,
    pub has_log: bool,
    generation: u32,
}

impl Mark {
    pub fn new(user_version: u32) -> Self {
        Self {
            layout: user_version & LAYOUT,
            has_log: user_version & HAS_LOG != 0,
            generation: (user_version >> GENERATION_AT) % GENERATIONS,
        }
    }

    /// As the log and the file say it together.
    pub fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .map(Self::new)
    }

    fn write(self, db: &Connection) -> rusqlite::Result<()> {
        let log = if self.has_log { HAS_LOG } else { 0 };
        let value = self.layout | log | self.generation << GENERATION_AT;
        db.pragma_update(None, "user_version", value)
    }

    fn next(self) -> Self {
        Self {
            has_log: true,
            generation: (self.generation + 1) % GENERATIONS,
            ..self
        }
    }

    /// Whether a log that says `said` belongs to the file that says this.
    pub fn goes_with(self, said: Self) -> bool {
        said.generation == self.generation || said == self.next()
    }

    /// Whether the file says what the log says, and that there is one.
    pub fn is_raised_for(self, said: Self) -> bool {
        self.has_log && said.generation == self.generation
    }
}

/// Says that there is a log from here on. Counts only once a checkpoint has brought it into the file.
pub(super) fn raise(db: &Connection) -> rusqlite::Result<()> {
    let mark = Mark::read(db)?;
    if mark.has_log {
        return Ok(());
    }
    mark.next().write(db)
}

/// Says that what follows is in the log alone. Only once [`raise`] is in the file.
pub(super) fn lower(db: &Connection) -> rusqlite::Result<()> {
    let mark = Mark::read(db)?;
    if !mark.has_log {
        return Ok(());
    }
    Mark {
        has_log: false,
        ..mark
    }
    .write(db)
}

/// Whether these are the first bytes of a log: what `SQLite` writes when a log begins, and leaves there until it is
/// emptied.
pub(super) fn is_log(header: &[u8]) -> bool {
    let Some(header) = header.get(..32) else {
        return false;
    };
    let word = |at: usize, big: bool| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let magic = word(0, true);
    if magic & !1 != 0x377f_0682 {
        return false;
    }
    let big = magic & 1 == 1;
    let (mut one, mut two) = (0_u32, 0_u32);
    for at in (0..24).step_by(8) {
        one = one.wrapping_add(word(at, big)).wrapping_add(two);
        two = two.wrapping_add(word(at + 4, big)).wrapping_add(one);
    }
    (one, two) == (word(24, true), word(28, true))
}
