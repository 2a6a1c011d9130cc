//! Since when master keys have been in use here.

use std::sync::Arc;

use mongodb::bson::doc;

use super::connection::Connection;
use super::documents::{long, unsigned};
use crate::error::Result;
use crate::record::KeyId;

/// What is written down of `key`; if nothing is, `now` from here on.
pub(super) async fn seen(connection: &Arc<Connection>, key: KeyId, now: u64) -> Result<u64> {
    let leases = &connection.leases;
    let id = format!("key {key}");
    let find = async || connection.find(leases, doc! { "_id": &*id }, None, 1).await;
    if let Some(found) = find().await?.first() {
        return unsigned(found, "seen");
    }
    let document = doc! { "_id": &*id, "seen": long(now) };
    if connection.insert(leases, vec![document]).await? {
        return Ok(now);
    }
    // Somebody else did at this moment, and perhaps it is not to be read yet.
    find()
        .await?
        .first()
        .map_or(Ok(now), |found| unsigned(found, "seen"))
}
