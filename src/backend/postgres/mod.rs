//! Sessions in PostgreSQL: one row per record and one per session.
//!
//! - `config`: what users set; `url`: reads their URL; `tls`: what the server must prove.
//! - `dial`: makes connections; `connection`: the few there are, and the one place where statements are sent.
//! - `schema`: the tables, and their migrations; `warnings`: settings an operator should know of.
//! - `statements`: all of the SQL; `conflicts`: statements that meet other writers.
//! - `errors`: the server's errors as ours.
//! - `ids`: how names and numbers look as columns.
//! - `commit`: commits of many sessions in one statement.
//! - `batches`: takeovers and releases of many sessions at once.
//! - `acquire`: taking a session; `release`: giving it back; `renew`: holding many at the cost of one; `holders`: who
//!   holds which, and `watched`: for how long its lease has not been renewed.
//! - `read`, `lifetime`, `sweep`, `facts`: the other calls.
//! - `metadata`: what a session's row says of owners, versions and outboxes; `outbox`: how hybrid mode reads and writes
//!   that; `dead_letters`: what it could not keep elsewhere.
//! - `backend`: implements `Backend` by delegating to all of it.
//!
//! A commit is atomic because it is one statement: it locks the session's row, checks token and version, moves the
//! version, and writes and deletes records. `docs/internals/postgres.md` says what that takes under READ COMMITTED.

mod acquire;
mod backend;
mod batches;
mod commit;
mod config;
mod conflicts;
mod connection;
mod dead_letters;
mod dial;
mod errors;
mod facts;
mod holders;
mod ids;
mod lifetime;
mod metadata;
mod outbox;
mod read;
mod release;
mod renew;
mod schema;
mod statements;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod warnings;
mod watched;

pub use backend::PostgresBackend;
pub use config::PostgresConfig;

/// The `layer` of this backend's errors.
const LAYER: &str = "postgres";
