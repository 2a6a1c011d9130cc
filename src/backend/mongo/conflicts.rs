//! Writes that meet other writers.

use std::time::Duration;

use tokio::time::Instant;

use super::LAYER;
use crate::error::{Error, Kind, Result};
use crate::time::Backoff;

/// Pauses between the tries of writers that met.
pub(super) const PAUSES: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(128));

/// The tries of one write that is guarded by what was read before it.
pub(super) struct Conflicts {
    deadline: Instant,
    pauses: Backoff,
}

impl Conflicts {
    /// Tried again for so long.
    pub fn for_at_most(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            pauses: PAUSES,
        }
    }

    /// Waits before the next try; an error if the time is over.
    pub async fn pause(&mut self) -> Result<()> {
        if Instant::now() >= self.deadline {
            let message = "gave up after repeated write conflicts";
            return Err(Error::new(Kind::Unavailable, LAYER, message));
        }
        self.pauses.wait_jittered().await;
        Ok(())
    }
}
