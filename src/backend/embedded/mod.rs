//! The embedded backend: one `SQLite` database in a folder, no server.
//!
//! One process owns the folder through a lock of the operating system ([`lock`]); with `exclusive: false` several
//! processes share it and `SQLite`'s own locks order their writes. Calls run `SQLite` on the thread that makes them,
//! so they belong on a thread of their own, not on the JavaScript one; flushing and checkpoints ([`maintenance`])
//! happen on the runtime's blocking threads, never on the committing one. The layout of the folder and of the
//! database is described in `docs/internals/embedded.md`.

mod backend;
mod checked;
mod config;
mod database;
mod failure;
mod files;
mod grants;
mod key_ages;
mod listing;
mod lock;
mod maintenance;
mod mark;
mod place;
mod schema;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod turn;
mod wal_monitor;

pub use backend::Embedded;
pub use config::{Durability, EmbeddedConfig};
pub use failure::LAYER as NAME;
pub(crate) use failure::database_of as sqlite_error;
