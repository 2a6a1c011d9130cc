//! Sessions in `MongoDB`: one document per record and one per session.
//!
//! - `config`: what users set.
//! - `connection`: one client per URL, indexes, one place where commands are sent; `clock`: what time it is; `tls`: its
//!   certificates.
//! - `documents`: how sessions, patches and records look as documents.
//! - `errors`: the driver's errors as ours; `conflicts`: writes that meet other writers.
//! - `slots`: what this process knows of the sessions it writes.
//! - `commit`: the commit point; `apply`: what follows it; `staging`: patches too large for one document.
//! - `acquire`: taking a session; `release`: giving it back; `renew`: holding many at the cost of one; `holders`: who
//!   holds which, and `watched`: for how long its lease has not been renewed.
//! - `read`, `lifetime`, `sweep`: the other calls.
//! - `metadata`: what a session's document says of owners, versions and outboxes; `outbox`: how hybrid mode reads and
//!   writes that; `reader`: any other collection, read as it is; `installation`: what it calls this database; `dead_letters`: what it could not keep elsewhere.
//! - `backend`: implements `Backend` by delegating to all of it.
//!
//! `docs/internals/mongodb.md` says why a patch is atomic although several documents change.

mod acquire;
mod apply;
mod backend;
mod client;
mod clock;
mod commit;
mod config;
mod conflicts;
mod connection;
mod dead_letters;
mod documents;
mod errors;
mod holders;
mod installation;
mod key_ages;
mod lifetime;
mod metadata;
mod outbox;
mod primary;
mod read;
mod reader;
mod release;
mod renew;
mod slots;
mod staging;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
mod watched;

pub use backend::MongoBackend;
pub use config::MongoConfig;

// For collections that are no store of ours.
pub(crate) use reader::{Pages, Reader};

/// The `layer` of this backend's errors.
const LAYER: &str = "mongodb";
