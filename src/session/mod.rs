//! Sessions in use: who owns them, in which order their patches go, what of them is kept in memory.
//!
//! - [`vault`]: the sessions of one backend; opening, sharing and closing them.
//! - `opening`: the lease of a session, and whether what is stored can be read.
//! - `ending`: closing and deleting sessions, and the end of all of them.
//! - `agreement`: what all who share an open session must agree on.
//! - `access`: reading and writing an open session.
//! - [`session`]: one open session, shared by its handles.
//! - `state`: what is known of a session, and how that changes.
//! - `queue`: the patches that wait in a session, and their order.
//! - `outcome`: committing what waits, and what becomes of it.
//! - `journal`: what commits change while a whole session is read.
//! - [`committer`]: takes waiting patches to the backend, many sessions at a time.
//! - [`lease`]: taking ownership.
//! - [`renewal`]: keeping it; `leases`: which, beside those of open sessions.
//! - [`touching`]: keeping sessions with a time to live alive.
//! - `lost`: sessions that this process knows to be lost.
//! - `waiting`: until somebody else lets a session go.
//! - [`cache`]: the owner's memory, one budget for the whole process.
//! - [`bulk`]: reading, re-sealing and clearing a whole session.
//!
//! Nothing here knows which backend it works with, and nothing below sees a record that is not sealed.

mod access;
mod agreement;
pub mod bulk;
pub mod cache;
mod committer;
mod ending;
mod journal;
mod lease;
mod leases;
mod lost;
mod opening;
mod outcome;
mod queue;
mod renewal;
#[expect(
    clippy::module_inception,
    reason = "the module of the type that it is named for"
)]
pub mod session;
mod state;
#[cfg(test)]
mod tests;
mod touching;
pub mod vault;
mod waiting;

pub use ending::Deletion;
pub use lost::LostSessions;
pub use queue::Reply;
pub use session::{Lookup, Session};
pub use vault::{OpenOptions, Settings, Vault};
