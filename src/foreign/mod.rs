//! Reads what other libraries have stored, through the same connections as our own storages. There is no command here that
//! writes.
//!
//! - `redis`: keys and what they hold.
//! - `mongo`: documents of any collection.
//! - `sqlite`: rows of any table of a file.
//! - `cursors`: what is read page by page. `snappy`: what Node.js cannot unpack by itself.
//!
//! What the keys, documents and rows mean is TypeScript's to know (`lib/cli/stores/foreign/`).

mod cursors;
mod mongo;
mod redis;
mod snappy;
mod sqlite;
#[cfg(test)]
mod tests;

pub use cursors::Page;
pub use mongo::{ForeignMongo, MongoQuery};
pub use redis::ForeignRedis;
pub use snappy::unpack_snappy;
pub use sqlite::{Cell, Column, ForeignSqlite, SqliteQuery};
