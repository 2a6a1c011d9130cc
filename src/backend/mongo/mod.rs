//! Sessions in `MongoDB`: one document per record and one per session.
//!
//! - `config`: what users set.
//! - `connection`: one client per URL, indexes, the server's clock, one place where commands are sent; `tls`: its certificates.
//! - `held`: which leases still stand.
//! - `documents`: how sessions, patches and records look as documents.
//! - `errors`: the driver's errors as ours.
//! - `state`: what this process knows of the sessions it writes.
//! - `commit`: the commit point; `apply`: what follows it; `staging`: patches too large for one document.
//! - `outbox`: what the hybrid backend writes down of an outbox elsewhere; `installation`: what it calls this database;
//!   `dead_letters`: what it could not keep elsewhere.
//! - `lease`: taking a session and giving it back; `renew`: holding many at the cost of one.
//! - `read`, `delete`, `sweep`: the other calls.
//! - `backend`: joins all of it to the trait.
//!
//! `docs/internals/mongodb.md` says why a patch is atomic although several documents change.

mod apply;
mod backend;
mod client;
mod clock;
mod commit;
mod config;
mod connection;
mod dead_letters;
mod delete;
mod documents;
mod errors;
mod held;
mod installation;
mod lease;
mod outbox;
mod primary;
mod read;
mod renew;
mod staging;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
mod watched;

pub use backend::MongoBackend;
pub use config::MongoConfig;

/// The `layer` of this backend's errors.
const LAYER: &str = "mongodb";
