//! Sessions in use: who owns them, in which order their patches go, what of them is kept in memory.
//!
//! - [`vault`]: the sessions of one backend; opening, sharing and closing them.
//! - [`actor`]: one open session: its queue of patches, what reads see, its version and state.
//! - [`committer`]: takes waiting patches to the backend, many sessions at a time.
//! - [`lease`]: taking and renewing ownership.
//! - [`cache`]: the owner's memory, one budget for the whole process.
//! - [`whole`]: reading, re-sealing and clearing a whole session.
//!
//! Nothing here knows which backend it works with, and nothing below sees a record that is not sealed.

pub mod actor;
pub mod cache;
mod clock;
mod committer;
mod lease;
#[cfg(test)]
mod tests;
pub mod vault;
pub mod whole;

pub use actor::{Lookup, Reply, Session};
pub use vault::{Event, OpenOptions, Settings, Vault};
