//! The rules of hybrid mode on servers in memory: cases of what processes, servers and the network between them do, made
//! at random, in an order that a case repeats exactly. `cargo test` runs more than 100,000 of them, and shrinks one
//! that breaks a promise to the few steps that matter.
//!
//! - `network`: what becomes of calls. `primary`, `cache`: the servers.
//! - `case`: what a case is made of. `world` carries one out, `process` has its processes, `history` says what must hold.
//!
//! What the servers in memory do is what MongoDB's updates and Redis' scripts do: `fidelity` compares the cache with Redis.

mod cache;
mod case;
mod fidelity;
mod history;
mod network;
mod primary;
mod process;
mod tests;
mod world;

/// A defect, seeded in one of the servers, that a case must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mistake {
    /// The servers are right.
    #[default]
    None,
    /// The cache acknowledges a commit, and puts its entry into the outbox a little later.
    AcknowledgedBeforeTheOutboxHasIt,
    /// Whoever takes a session over is not told of the outbox, so nothing is repaired.
    TakeoverSkipsTheOutbox,
    /// The primary does not check who commits.
    PrimaryTakesAnyToken,
    /// The cache says who writes to the outbox, and goes on to let them.
    FencingOnlyLooks,
    /// Trimming removes entries that the primary does not have.
    TrimmingEmptiesTheOutbox,
    /// The primary takes what an owner says of its outbox in the order in which it arrives.
    OutboxClosedByWhatIsLate,
}
