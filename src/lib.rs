//! Baileys Vault: the core. A map of its rooms:
//!
//! - [`record`]: record keys, patches, sealed envelopes.
//! - [`backend`]: where sessions are kept.
//! - [`error`]: the one error type.

pub mod backend;
pub mod error;
pub mod record;
