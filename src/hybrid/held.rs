//! Which leases still stand.
//!
//! The lease is MongoDB's. Redis' is given back with it, and is asked about instead while it stands: that is much the
//! cheaper question. What Redis does not show as held MongoDB is asked about at once; the rest now and then, for an
//! owner that cannot reach MongoDB may keep Redis' lease alone.

use super::state::Core;
use crate::backend::{SessionId, Token};
use crate::error::Result;

impl Core {
    pub async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.ensure_open()?;
        let mut held = vec![false; leases.len()];
        if self.lease_checks.trust_the_cache()
            && let Ok(in_redis) = self.cache.call(|cache| cache.check_leases(leases)).await
        {
            held = in_redis;
        }
        let unsure: Vec<_> = (0..leases.len()).filter(|at| !held[*at]).collect();
        if !unsure.is_empty() {
            let asked: Vec<_> = unsure.iter().map(|at| leases[*at].clone()).collect();
            let in_mongo = self.primary.call(|primary| primary.check_leases(&asked)).await?;
            for (at, stands) in unsure.into_iter().zip(in_mongo) {
                held[at] = stands;
            }
        }
        Ok(held)
    }
}
