//! Removes what outlived its time: sessions, the rows of those that do not exist, and leases of processes that are gone.
//!
//! Nothing depends on it: what has expired is absent as soon as the server's clock says so.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_postgres::types::Type;

use super::connection::Connection;
use super::dial::column;
use super::lifetime::Lifetime;
use crate::error::Result;
use crate::time::{jitter, signed_millis};

/// How often every process looks, give or take a half.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// How much longer what is over is kept, so that a clock that is ahead removes nothing in use.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Sweeps from time to time, until the store is closed or dropped.
pub(super) async fn sweep_now_and_then(sweeper: Weak<Sweeper>) {
    loop {
        tokio::time::sleep(EVERY.mul_f64(0.5 + jitter())).await;
        let Some(sweeper) = sweeper.upgrade() else {
            return;
        };
        if sweeper.connection.ensure_open().is_err() {
            return;
        }
        // What fails now is found again the next time.
        let _ = sweeper.sweep(KEPT).await;
    }
}

pub(super) struct Sweeper {
    pub connection: Arc<Connection>,
    pub lifetime: Arc<Lifetime>,
}

impl Sweeper {
    /// Removes what has been over for so long; how many sessions ended.
    pub(super) async fn sweep(&self, over_for: Duration) -> Result<u64> {
        let millis = signed_millis(over_for);
        let statements = &self.connection.statements;
        let mut ended = 0;
        loop {
            let rows = self
                .connection
                .ask(&statements.expired, &[(&millis, Type::INT8)])
                .await?;
            let ids = rows
                .iter()
                .map(|row| column::<&[u8]>(row, 0))
                .collect::<Result<Vec<_>>>()?;
            let purged = match ids.as_slice() {
                [] => 0,
                ids => self.lifetime.purge_all(ids, over_for).await?,
            };
            ended += purged;
            // What another transaction holds is left for the next time.
            if purged == 0 {
                break;
            }
        }
        for statement in [&statements.sweep_sessions, &statements.sweep_leases] {
            self.connection.ask(statement, &[(&millis, Type::INT8)]).await?;
        }
        Ok(ended)
    }
}
