//! Facts that are written down once, when they are first asked for.

use std::sync::Arc;

use tokio_postgres::types::Type;

use super::conflicts::Conflicts;
use super::connection::{Connection, Parameter};
use super::dial::column;
use super::errors::corrupt;
use crate::error::Result;
use crate::record::KeyId;

/// What is written down under `name`; if nothing is, `value` from here on.
async fn remember(connection: &Arc<Connection>, name: &str, value: &str) -> Result<String> {
    let mut conflicts = Conflicts::until(connection.deadline());
    let parameters: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&value, Type::TEXT)];
    loop {
        let rows = connection
            .ask(&connection.statements.remember, &parameters)
            .await?;
        match rows.first() {
            Some(row) => return column(row, 0),
            // Somebody else did since the statement began.
            None => conflicts.pause().await?,
        }
    }
}

/// Since when the master key of this name has been in use here.
pub(super) async fn key_seen(connection: &Arc<Connection>, key: KeyId, now: u64) -> Result<u64> {
    let seen = remember(connection, &format!("key {key}"), &now.to_string()).await?;
    seen.parse().map_err(|_| corrupt("a key's age is not a number"))
}

/// A random name, made when it is first asked for: two sets of tables never share it, and every URL that leads here leads
/// to the same.
pub(super) async fn installation(connection: &Arc<Connection>) -> Result<String> {
    let name = format!("{:016x}", getrandom::u64().unwrap_or_default());
    remember(connection, "installation", &name).await
}
