//! Redis in front of MongoDB: MongoDB is the truth, Redis holds a hot copy of each open session, and, if allowed,
//! an outbox of patches that were acknowledged before MongoDB had them.
//!
//! - `config`: what users set.
//! - `backend`: joins the rooms to the trait; `state`: what they share.
//! - `slot`: what this process knows of one session that it owns.
//! - `open`: taking a session over; `inherit`: with what its last owner left in the outbox.
//! - `write`: the two ways of a commit; `repair`: Redis after it lost touch with a session.
//! - `read`: from Redis, then MongoDB.
//! - `held`: which leases still stand.
//! - `lifetime`: renewing, releasing, deleting, keeping alive.
//! - `reconciler`: brings the outbox to MongoDB; `entry`: what stands in it; `letters`: what can never get there;
//!   `last_words`: what would be lost with the process.
//! - `queue`, `stats`: what the outside sees of the outbox.
//!
//! `docs/guides/hybrid.md` has the guarantees, and what happens when one of the servers is away.

mod backend;
mod config;
mod entry;
mod held;
mod inherit;
mod last_words;
mod letters;
mod lifetime;
mod open;
mod queue;
mod read;
mod reconciler;
mod repair;
mod slot;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod write;

pub use backend::HybridBackend;
pub use config::{HybridConfig, Mode};
pub use queue::{Job, Queue};
pub use stats::{DeadLetter, Figures, OutboxStats};

use crate::error::{Error, Kind};

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
    let error = Error::new(Kind::Fenced, LAYER, "somebody else owns the session now");
    match token {
        Some(token) => error.with("currentToken", token),
        None => error,
    }
}
