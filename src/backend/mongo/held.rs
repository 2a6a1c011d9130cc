//! Which leases still stand.

use std::collections::{HashMap, HashSet};

use mongodb::bson::{DateTime, Document, doc};

use super::state::Core;
use crate::backend::{SessionId, Token};
use crate::error::Result;

/// Leases asked about by one query.
const ASKED_AT_ONCE: usize = 1000;

impl Core {
    /// In the order asked.
    pub(super) async fn held(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.open()?;
        let now = self.connection.now().await?;
        let mut held = HashSet::new();
        for some in leases.chunks(ASKED_AT_ONCE) {
            let ids: Vec<_> = some.iter().map(|(session, _)| &**session).collect();
            let filter = doc! { "_id": { "$in": ids }, "owner": { "$ne": null } };
            let fields = Some(doc! { "token": 1, "leaseUntil": 1, "lease": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            let ends = self.ends_of_leases(&found).await?;
            held.extend(found.iter().filter_map(|found| {
                let token = Token::try_from(found.get_i64("token").ok()?).ok()?;
                let own = found.get_datetime("leaseUntil").ok();
                let process = found.get_str("lease").ok().and_then(|lease| ends.get(lease));
                let stands = own.into_iter().chain(process).any(|until| *until > now);
                stands.then_some((SessionId::from(found.get_str("_id").ok()?), token))
            }));
        }
        Ok(leases.iter().map(|lease| held.contains(lease)).collect())
    }

    /// Until when the leases of processes last that these sessions name.
    async fn ends_of_leases(&self, sessions: &[Document]) -> Result<HashMap<String, DateTime>> {
        let named: HashSet<_> = sessions
            .iter()
            .filter_map(|session| session.get_str("lease").ok())
            .collect();
        if named.is_empty() {
            return Ok(HashMap::new());
        }
        let filter = doc! { "_id": { "$in": named.into_iter().collect::<Vec<_>>() } };
        let found = self
            .connection
            .find(&self.connection.leases, filter, None, 0)
            .await?;
        let ends = found.iter().filter_map(|lease| {
            let until = *lease.get_datetime("until").ok()?;
            Some((lease.get_str("_id").ok()?.to_owned(), until))
        });
        Ok(ends.collect())
    }
}
