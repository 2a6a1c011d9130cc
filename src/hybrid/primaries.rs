//! The primaries that there are, and how each is connected.

use std::sync::Arc;

use super::primary::Primary;
use crate::backend::mongo::{MongoBackend, MongoConfig};
use crate::backend::postgres::{PostgresBackend, PostgresConfig};
use crate::error::Result;

/// Where the primary is.
#[derive(Debug, Clone)]
pub enum PrimaryConfig {
    /// In MongoDB.
    Mongo(MongoConfig),
    /// In PostgreSQL.
    Postgres(PostgresConfig),
}

impl PrimaryConfig {
    /// The `layer` of its errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mongo(_) => "mongodb",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Connects, and refuses one that must not stand behind an outbox if there is to be one; with the name that copies in
    /// the cache belong to.
    pub(super) async fn connect(&self, outbox: bool) -> Result<(Arc<dyn Primary>, String)> {
        match self {
            Self::Mongo(config) => {
                let mongo = MongoBackend::connect(config).await?;
                if outbox {
                    mongo.check_behind_an_outbox()?;
                }
                let installation = mongo.installation().await?;
                Ok((Arc::new(mongo), installation))
            }
            Self::Postgres(config) => {
                let postgres = PostgresBackend::connect(config).await?;
                if outbox {
                    postgres.check_behind_an_outbox().await?;
                }
                let installation = postgres.installation().await?;
                Ok((Arc::new(postgres), installation))
            }
        }
    }
}
