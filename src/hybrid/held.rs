//! Which leases still stand.
//!
//! The lease is MongoDB's. Redis' is given back with it, and is asked about instead while it stands: that is much the
//! cheaper question. What Redis does not show as held MongoDB is asked about at once; the rest now and then, for an
//! owner that cannot reach MongoDB may keep Redis' lease alone.

use std::time::Duration;

use tokio::time::Instant;

use super::state::Core;
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// How long Redis' word is taken for it that a lease stands.
const TRUST: Duration = Duration::from_secs(2);

impl Core {
    pub async fn held(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.ensure_open()?;
        let mut held = vec![false; leases.len()];
        if self.trusts_redis()
            && let Ok(in_redis) = self.cache.call(|cache| cache.check_leases(leases)).await
        {
            held = in_redis;
        }
        let unsure: Vec<_> = (0..leases.len()).filter(|at| !held[*at]).collect();
        if !unsure.is_empty() {
            let asked: Vec<_> = unsure.iter().map(|at| leases[*at].clone()).collect();
            let in_mongo = self.primary.call(|primary| primary.held(&asked)).await?;
            for (at, stands) in unsure.into_iter().zip(in_mongo) {
                held[at] = stands;
            }
        }
        Ok(held)
    }

    /// Whether MongoDB was asked about all leases not long ago; if not, it is to be now.
    fn trusts_redis(&self) -> bool {
        let mut asked = self.asked_for_leases.lock();
        let trusts = asked.is_some_and(|at| at.elapsed() < TRUST);
        if !trusts {
            *asked = Some(Instant::now());
        }
        trusts
    }
}
