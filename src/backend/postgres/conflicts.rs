//! Statements that meet other writers.
//!
//! No statement waits for a row that another one holds: it skips the row and says so, so that what stands behind it on the
//! same connection is not held up. It is sent again after a pause.

use std::time::Duration;

use tokio::time::Instant;

use super::errors::busy;
use crate::error::Result;
use crate::time::Backoff;

/// Pauses between the tries of writers that met.
pub(super) const PAUSES: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(64));

/// The tries of one statement.
pub(super) struct Conflicts {
    pub deadline: Instant,
    pauses: Backoff,
}

impl Conflicts {
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            pauses: PAUSES,
        }
    }

    /// Waits before the next try; an error if the time is over.
    pub async fn pause(&mut self) -> Result<()> {
        self.pauses.wait_jittered().await;
        if Instant::now() >= self.deadline {
            return Err(busy());
        }
        Ok(())
    }
}
