//! Records: what a session is made of.
//!
//! A record is `(type, id) -> bytes`; the creds are the record [`RecordKey::creds`]. A [`Patch`] is the records
//! put and deleted together.

mod key;
mod patch;

pub use key::RecordKey;
pub use patch::{Change, Patch};
