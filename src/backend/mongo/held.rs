//! Which leases still stand.

use std::collections::HashSet;

use mongodb::bson::{Document, doc};

use super::clock::Now;
use super::state::Core;
use super::watched;
use crate::backend::{SessionId, Token};
use crate::error::Result;
use crate::time::Moment;

/// Leases asked about by one query.
const ASKED_AT_ONCE: usize = 1000;

impl Core {
    /// In the order asked.
    pub(super) async fn held(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.open()?;
        let now = self.connection.now().await?;
        let mut held = HashSet::new();
        for some in leases.chunks(ASKED_AT_ONCE) {
            let asked = Moment::now();
            let ids: Vec<_> = some.iter().map(|(session, _)| &**session).collect();
            let filter = doc! { "_id": { "$in": ids }, "owner": { "$ne": null } };
            let fields = Some(doc! { "token": 1, "leaseUntil": 1, "leaseLasts": 1, "lease": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            let running = self.running(&found, now).await?;
            held.extend(found.iter().filter_map(|found| {
                let id = found.get_str("_id").ok()?;
                let token = found.get_i64("token").ok()?;
                let lease = found.get_str("lease").ok();
                let own = found.get_datetime("leaseUntil").ok();
                let own = own.filter(|until| **until > now.earliest).is_some_and(|until| {
                    let state = watched::of_session(token, Some(until.timestamp_millis()), lease);
                    let lasts = found.get_i64("leaseLasts").ok();
                    !self.watched.has_outlived(id, state, lasts, asked)
                });
                let stands = own || lease.is_some_and(|lease| running.contains(lease));
                stands.then_some((SessionId::from(id), Token::try_from(token).ok()?))
            }));
        }
        Ok(leases.iter().map(|lease| held.contains(lease)).collect())
    }

    /// The leases of processes that these sessions name and that run.
    async fn running(&self, sessions: &[Document], now: Now) -> Result<HashSet<String>> {
        let named: HashSet<_> = sessions
            .iter()
            .filter_map(|session| session.get_str("lease").ok())
            .collect();
        if named.is_empty() {
            return Ok(HashSet::new());
        }
        let asked = Moment::now();
        let filter = doc! { "_id": { "$in": named.into_iter().collect::<Vec<_>>() } };
        let found = self
            .connection
            .find(&self.connection.leases, filter, None, 0)
            .await?;
        let running = found.iter().filter_map(|lease| {
            let id = lease.get_str("_id").ok()?;
            let until = lease.get_datetime("until").ok()?;
            let lasts = lease.get_i64("lasts").ok();
            let runs = *until > now.earliest
                && !self
                    .watched_processes
                    .has_outlived(id, watched::of_process(lease), lasts, asked);
            runs.then(|| id.to_owned())
        });
        Ok(running.collect())
    }
}
