//! The N-API boundary: the only place where napi types appear, and nothing but conversion happens.
//!
//! - [`core`]: the class that JavaScript calls.
//! - [`port`]: answers and events on their way back, many in one hop.
//! - [`stores`]: stores in use in this process, shared by all its threads.

pub mod core;
mod port;
mod stores;
