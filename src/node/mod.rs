//! The N-API boundary: the only place where napi types appear, and nothing but conversion happens.
//!
//! - [`core`]: the class that JavaScript calls: stores, sessions, reading and writing.
//! - `calls`: its calls that work on any session of a store, and on the store itself.
//! - `foreign`: its calls that read what other libraries have stored; `source`: from where.
//! - `thread`: what one thread of JavaScript has open, and what reaches it unasked.
//! - `port`: answers and events on their way back, many in one hop.

mod calls;
pub mod core;
mod foreign;
mod port;
mod source;
mod thread;
