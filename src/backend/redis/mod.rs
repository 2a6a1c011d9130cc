//! Redis and Valkey: one server, behind sentinels, or a cluster.
//!
//! `docs/internals/redis.md` has the keys and scripts, `docs/guides/redis.md` what an operator must set and what is
//! promised. In short: one hash for a session's records, version and fencing token, so that a commit is one script
//! call that reads one field and writes the rest; one small key for its lease. A commit is acknowledged when the master has it in memory;
//! surviving more than that is a matter of its `appendonly`, `appendfsync` and replicas.

mod answers;
mod backend;
mod batch;
mod channel;
mod client;
mod cluster;
mod commit;
mod config;
mod connection;
mod dial;
mod errors;
mod greeting;
mod held;
mod key_ages;
mod keys;
mod large;
mod portion;
mod proof;
mod renewals;
mod scripts;
mod sentinel;
mod server;
mod slots;
mod standing;
mod warnings;

pub use backend::RedisBackend;
pub use config::{Address, Login, RedisConfig, Topology, WaitReplicas};

// For another protocol on the same connections, which hybrid mode has.
pub(crate) use answers::{parse_lease, read_scan, record, unexpected};
pub(crate) use batch::{Item, Reply, commit as commit_together, put};
pub(crate) use client::Client;
pub(crate) use connection::{Fault, Link};
pub(crate) use errors::{at_keys, error, from_script};
pub(crate) use held::held as leases_held;
pub(crate) use keys::{HEAD, Keys};
pub(crate) use large::{Shrinking, fields as read_fields};
pub(crate) use scripts::{Call, milliseconds};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
