//! Stores in use in this process: which one is open, how it is wired, which options exclude each other.
//!
//! - [`registry`]: the open stores; whoever opens the same location shares one.
//! - [`store`]: one open store, and what it tells its users unasked.
//! - [`request`]: what a store is to be opened with.
//! - [`settings`]: what all who share a store must agree on.
//! - [`rules`]: options that exclude each other.
//! - [`connect`]: makes a backend of its options, with what protects it from outages.
//! - [`queue`]: jobs for the program's own queue.

mod connect;
pub mod queue;
pub mod registry;
pub mod request;
mod rules;
mod settings;
pub mod store;

pub use registry::StoreHandle;
pub use request::OpenRequest;
pub use store::{Event, Listener, Store};
