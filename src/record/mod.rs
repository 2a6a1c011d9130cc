//! Records: what a session is made of.
//!
//! A record is `(type, id) -> bytes`; the creds are the record [`RecordKey::creds`]. A [`Patch`] is the records
//! put and deleted together.
//!
//! What is stored is not the bytes of a record but an envelope made by its session's [`Sealer`]; [`frame`] is how
//! records cross to JavaScript and back.

mod cipher;
mod compress;
mod draw;
mod envelope;
pub mod frame;
mod key;
mod keyring;
mod patch;
mod seal;

pub use compress::{Compression, MAX_DECOMPRESSED};
pub use draw::Draw;
pub use envelope::Algorithm;
pub use key::RecordKey;
pub use keyring::{KeyId, KeyRing, MasterKey};
pub use patch::{Change, Patch};
pub use seal::{SealOptions, Sealer};
