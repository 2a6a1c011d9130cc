//! Hybrid mode, a backend of two: a *primary* store, which has each session's commit point and lease, and a *cache* in
//! front of it, which holds a copy of each open session and, if allowed, an outbox of patches that were acknowledged
//! before the primary had them.
//!
//! - `primary`, `cache`: the two traits. `mongo` and `postgres` implement the one, `redis` the other; `primaries`: which
//!   primary it is.
//! - `guarded_primary`, `watched_cache`: the only ways to call them.
//! - `config`: what users set. `backend`: implements the storage trait by delegating to the rest.
//! - `slot`: what this process knows of one session that it owns; `sessions`: all of those.
//! - `open`: taking a session over; `inherit`: with what its last owner left in the outbox.
//! - `write`: the two ways of a commit; `repair`: the cache after it lost touch with a session.
//! - `read`: from the cache, then the primary; `copies`: what the cache is filled with.
//! - `held`: which leases still stand; `lease_checks`: whom to ask about them. `lifetime`: renewing, releasing, deleting, keeping alive.
//! - `drain`: brings the outbox to the primary; `entry`: what an entry is; `merge`: several as one; `reconciler`: when that happens.
//! - `dead_letters`: what can never get there; `last_words`: what would be lost with the process.
//! - `queue`, `stats`: what the outside sees of the outbox. `state`: what the parts share.
//!
//! `docs/guides/hybrid.md` has the guarantees, and what happens when one of the servers is away.

mod backend;
mod cache;
mod config;
mod copies;
mod dead_letters;
mod drain;
mod entry;
mod guarded_primary;
mod held;
mod inherit;
mod last_words;
mod lease_checks;
mod lifetime;
mod merge;
mod mongo;
mod open;
mod postgres;
mod primaries;
mod primary;
mod queue;
mod read;
mod reconciler;
mod redis;
mod repair;
mod sessions;
#[cfg(test)]
mod simulation;
mod slot;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod watched_cache;
mod write;

pub use backend::HybridBackend;
pub use config::{HybridConfig, Mode};
pub use primaries::PrimaryConfig;
pub use queue::{Job, Queue};
pub use stats::{HybridMetrics, OutboxStats};

use crate::backend::Fence;
use crate::error::{Error, Kind, Result};

/// The `layer` of this backend's own errors; those of its servers name the server.
const LAYER: &str = "hybrid";

/// Whether the server could not be asked, so that the other one may be.
fn is_outage(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Unavailable | Kind::Timeout | Kind::CircuitOpen | Kind::StorageFull
    )
}

fn fenced(token: Option<u64>) -> Error {
    crate::backend::fenced(LAYER, token)
}

/// Whether an owner in this process still is one, by what came of bringing its commits to MongoDB. A caller without a
/// lease is not answered for an owner that is fenced: MongoDB decides about its call.
fn still_owner(brought: Result<()>, caller: Fence) -> Result<bool> {
    match brought {
        Err(error) if caller == Fence::Shared && error.kind() == Kind::Fenced => Ok(false),
        brought => brought.map(|()| true),
    }
}
