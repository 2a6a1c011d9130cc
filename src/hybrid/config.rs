//! What users set.

use std::time::Duration;

use super::LAYER;
use crate::error::{Error, Kind, Result};

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// When MongoDB has it.
    #[default]
    WriteThrough,
    /// When Redis has it together with its entry in the outbox; MongoDB follows.
    WriteBehind,
}

/// How the two servers work together.
#[derive(Debug, Clone, PartialEq)]
pub struct HybridConfig {
    /// When a commit is acknowledged.
    pub mode: Mode,
    /// With [`Mode::WriteThrough`]: whether Redis' outbox takes commits while MongoDB cannot be reached. Redis must
    /// then be persistent, and is needed to open a session whose owner crashed.
    pub outbox_when_mongo_down: bool,
    /// Open a session although Redis has lost the outbox of an owner that crashed: patches that owner acknowledged
    /// may be missing. Off, that is `SessionLost`.
    pub accept_lost_outbox: bool,
    /// How long Redis keeps the copy of a session that is not written; `None` is for ever.
    pub hot_ttl: Option<Duration>,
    /// Most bytes acknowledged and not yet in MongoDB, of all sessions of the process; beyond it commits go to
    /// MongoDB alone, or fail with `StorageFull` while it is away.
    pub outbox_limit: usize,
    /// How long a queue may take for one job.
    pub queue_timeout: Duration,
}

impl Default for HybridConfig {
    fn default() -> Self {
        Self {
            mode: Mode::WriteThrough,
            outbox_when_mongo_down: false,
            accept_lost_outbox: false,
            hot_ttl: Some(Duration::from_secs(24 * 60 * 60)),
            outbox_limit: 256 * 1024 * 1024,
            queue_timeout: Duration::from_secs(5),
        }
    }
}

impl HybridConfig {
    /// Whether owners may acknowledge what MongoDB does not have.
    pub(super) fn uses_outbox(&self) -> bool {
        self.mode == Mode::WriteBehind || self.outbox_when_mongo_down
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |message: &'static str| Err(Error::new(Kind::Config, LAYER, message));
        if self.outbox_limit == 0 {
            return refuse("the outbox limit must be above 0");
        }
        if self.hot_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return refuse("the time to live of hot copies must be above 0");
        }
        if self.queue_timeout.is_zero() {
            return refuse("the queue's timeout must be above 0");
        }
        Ok(())
    }

    /// How long a copy may live in Redis of a session that lives `ttl`.
    pub(super) fn copy_ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        match (self.hot_ttl, ttl) {
            (Some(hot), Some(ttl)) => Some(hot.min(ttl)),
            (hot, ttl) => hot.or(ttl),
        }
    }
}
