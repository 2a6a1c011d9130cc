//! A queue that hears of every patch acknowledged ahead of MongoDB.

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::SessionId;
use crate::error::Result;

/// One patch, or several merged.
#[derive(Debug, Clone)]
pub struct Job {
    /// Whose it is.
    pub session: SessionId,
    /// The version after it.
    pub version: u64,
    /// The entry as it stands in the outbox: the records are sealed.
    pub entry: Bytes,
}

/// Told of jobs as they come, in no order and at most once each. It is not what keeps the data safe: a job that it
/// does not take in time, or refuses, is counted and goes to MongoDB all the same.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes a job.
    async fn add(&self, job: Job) -> Result<()>;
}
