//! The N-API boundary: the only place where napi types appear, and nothing but conversion happens.
//!
//! - [`core`]: the class that JavaScript calls: stores, sessions, reading and writing.
//! - `store_calls`: its calls that work on any session of a store, and on the store itself.
//! - `shared`: what one thread of JavaScript has open, and what reaches it unasked.
//! - [`port`]: answers and events on their way back, many in one hop.
//! - [`queue`]: jobs for the program's own queue.
//! - [`agreed`]: what all who share a store must agree on.
//! - [`stores`]: stores in use in this process, shared by all its threads.

mod agreed;
pub mod core;
mod port;
pub mod queue;
mod shared;
mod store_calls;
mod stores;
