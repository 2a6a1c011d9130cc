//! For how long the cache's word is taken that leases stand.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Then the primary is asked again.
const TRUST: Duration = Duration::from_secs(2);

/// When the primary was last asked about all leases that are waited for.
#[derive(Default)]
pub(super) struct LeaseChecks(Mutex<Option<Instant>>);

impl LeaseChecks {
    /// Whether the primary was asked about all not long ago; if not, it is to be now.
    pub fn trust_the_cache(&self) -> bool {
        let mut asked = self.0.lock();
        let trusts = asked.is_some_and(|at| at.elapsed() < TRUST);
        if !trusts {
            *asked = Some(Instant::now());
        }
        trusts
    }
}
