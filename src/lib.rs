//! Baileys Vault: the core. A map of its modules:
//!
//! - [`node`]: the N-API boundary.
//! - [`stores`]: which store is open, how it is wired.
//! - [`session`]: sessions in use: order, ownership, memory.
//! - [`record`]: record keys, patches, sealed envelopes.
//! - [`backend`]: where sessions are kept.
//! - [`resilience`]: time limits, retries and the circuit breaker, around any backend.
//! - [`hybrid`]: a backend of two: a primary store, and a cache with an outbox in front of it.
//! - [`foreign`]: reads what other libraries have stored.
//! - [`observe`]: metrics of the process.
//! - [`runtime`]: the threads all of it runs on.
//! - [`time`]: time that goes on while the machine sleeps.
//! - [`config`]: options, as TypeScript hands them over.
//! - [`error`]: the one error type; [`answer`]: an answer that somebody waits for.

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests have no store to report a panic to.

pub mod answer;
pub mod backend;
pub mod config;
pub mod error;
pub mod foreign;
pub mod hybrid;
pub mod node;
pub mod observe;
pub mod record;
pub mod resilience;
pub mod runtime;
pub mod session;
pub mod stores;
pub mod time;

/// Records are allocated on the threads of JavaScript and freed on the core's, which is what the system's allocator
/// does worst: it cost a sixth of the time of a write.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
