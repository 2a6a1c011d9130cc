//! The Lua scripts.

use std::sync::LazyLock;

use crate::backend::redis::Call;

/// Takes a commit into a copy and its outbox.
pub(super) static COMMIT: LazyLock<Call> = LazyLock::new(|| Call::of_many(include_str!("commit.lua")));
/// Keeps others from taking a session.
pub(super) static RESERVE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("reserve.lua")));
/// Shuts older owners out of an outbox.
pub(super) static FENCE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("fence.lua")));
/// Begins an ownership.
pub(super) static INSTALL: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("install.lua")));
/// Fills a copy.
pub(super) static WARM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("warm.lua")));
/// Makes leases last on.
pub(super) static RENEW: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("renew.lua")));
/// Gives a lease back.
pub(super) static RELEASE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("release.lua")));
/// Removes entries of an outbox.
pub(super) static TRIM: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("trim.lua")));
/// Removes a copy and its outbox.
pub(super) static PURGE: LazyLock<Call> = LazyLock::new(|| Call::new(include_str!("purge.lua")));
