//! The name of one set of collections, for what others keep beside it.

use mongodb::bson::doc;

use super::conflicts::PAUSES;
use super::documents::new_epoch;
use super::errors::corrupt;
use super::{LAYER, MongoBackend};
use crate::error::{Error, Kind, Result};

/// Where it stands, among the leases.
const INSTALLATION: &str = "installation";
/// Processes that start together may all find none.
const ATTEMPTS: u32 = 8;

impl MongoBackend {
    /// A random name, made when it is first asked for: two databases, or two sets of collections in one, never share
    /// it, and every URL that leads here leads to the same.
    pub async fn installation(&self) -> Result<String> {
        let connection = &self.0.connection;
        let leases = &connection.leases;
        let mut pauses = PAUSES;
        for _ in 0..ATTEMPTS {
            let found = connection
                .find(leases, doc! { "_id": INSTALLATION }, None, 1)
                .await?;
            if let Some(found) = found.first() {
                let name = found.get_str("name");
                return name
                    .map(str::to_owned)
                    .map_err(|_| corrupt("an installation without name"));
            }
            let document = doc! { "_id": INSTALLATION, "name": &*new_epoch() };
            if !connection.insert(leases, vec![document]).await? {
                // Made by somebody else, and perhaps not to be read yet.
                pauses.wait_jittered().await;
            }
        }
        let message = "the database does not keep its name";
        Err(Error::new(Kind::Unavailable, LAYER, message))
    }
}
