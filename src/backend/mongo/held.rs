//! Which leases still stand.

use std::collections::HashSet;

use mongodb::bson::doc;

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
            let filter = doc! { "_id": { "$in": ids } };
            let fields = Some(doc! { "token": 1, "leaseUntil": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            held.extend(found.iter().filter_map(|found| {
                let token = Token::try_from(found.get_i64("token").ok()?).ok()?;
                let stands = *found.get_datetime("leaseUntil").ok()? > now;
                stands.then_some((SessionId::from(found.get_str("_id").ok()?), token))
            }));
        }
        Ok(leases.iter().map(|lease| held.contains(lease)).collect())
    }
}
