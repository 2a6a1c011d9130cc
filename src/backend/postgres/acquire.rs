//! Taking sessions: one statement that finds out whether the lease is free, raises the token and reads.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Row;

use super::LAYER;
use super::batches::{Take, Takes};
use super::conflicts::Conflicts;
use super::dial::column;
use super::errors::corrupt;
use super::holders::{Holders, Lease};
use super::ids::{check_session, long, unsigned};
use super::metadata::{Outboxes, metadata};
use super::read::{head_of, records_of};
use super::renew::Renewer;
use super::statements::verdict;
use crate::backend::batcher;
use crate::backend::{Acquire, AcquireOutcome, Grant, SessionMetadata, client_token_refused};
use crate::error::Result;
use crate::time::{Moment, signed_millis};

/// Takes sessions.
pub(super) struct Acquirer {
    pub takes: Arc<Takes>,
    pub holders: Arc<Holders>,
    pub renewer: Arc<Renewer>,
}

/// A lease that has stood there unchanged for too long, as it was seen: its own end, and its process' renewals.
#[derive(Default, Clone, Copy)]
struct Outlived {
    until: Option<i64>,
    renewals: Option<i64>,
}

impl Acquirer {
    /// Takes the lease, unless an outbox stands in the way.
    pub(super) async fn acquire(&self, request: &Acquire, outboxes: Outboxes) -> Result<AcquireOutcome> {
        check_session(&request.session)?;
        let mut conflicts = Conflicts::until(self.takes.connection.deadline());
        let mut outlived = Outlived::default();
        loop {
            let asked = Moment::now();
            // A session that is named by the lease of this process from the start need not be attached to it later.
            let process = self.renewer.lease_lasting(request.lease);
            let deadline = conflicts.deadline;
            let row = self
                .send(request, outboxes, outlived, process.clone(), deadline)
                .await?;
            match column::<i32>(&row, 0)? {
                decision @ (verdict::DONE | verdict::NONE) => {
                    self.holders.forget(&request.session);
                    let metadata = metadata_of(&row)?;
                    let records = match decision {
                        verdict::DONE if metadata.version > 0 => records_of(&row, 17, request.read.len())?,
                        _ => vec![None; request.read.len()],
                    };
                    if let Some(process) = process {
                        self.renewer
                            .is_attached(&request.session, metadata.token, process);
                    }
                    let grant = Grant {
                        token: metadata.token,
                        head: head_of(metadata.version, metadata.updated_at),
                        records,
                        expires: true,
                    };
                    return Ok(AcquireOutcome::Granted(grant, metadata));
                }
                verdict::CLIENT_TOKEN => {
                    let accepted = unsigned(column::<Option<i64>>(&row, 15)?.unwrap_or(0));
                    return Err(client_token_refused(
                        LAYER,
                        request.client_token.unwrap_or(0),
                        accepted,
                    ));
                }
                verdict::HELD => {
                    let lease = lease_of(&row)?;
                    let over = self.holders.outlived(request.session.as_bytes(), &lease, asked);
                    if !(over.own && over.process) || outlived.until.is_some() {
                        return Ok(AcquireOutcome::Held(lease.holder(over)?));
                    }
                    outlived = Outlived {
                        until: Some(lease.until),
                        renewals: lease.process.map(|process| process.renewals),
                    };
                }
                verdict::OUTBOX => return Ok(AcquireOutcome::Outbox(metadata_of(&row)?)),
                verdict::BUSY | verdict::MOVED => conflicts.pause().await?,
                _ => return Err(corrupt("a lease has an unknown verdict")),
            }
        }
    }

    async fn send(
        &self,
        request: &Acquire,
        outboxes: Outboxes,
        outlived: Outlived,
        process: Option<Arc<[u8]>>,
        deadline: Instant,
    ) -> Result<Row> {
        let owner = serde_json::to_vec(&request.owner).map_err(|_| corrupt("the owner cannot be written"))?;
        let (ready_for, given_up) = match outboxes {
            Outboxes::Respected => (None, false),
            Outboxes::ReadyFor(owner) => (owner.map(long), false),
            Outboxes::GivenUp => (None, true),
        };
        let take = Take {
            session: request.session.clone(),
            owner,
            lasts: signed_millis(request.lease),
            client_token: request.client_token.map(long),
            preempt: request.preempt.map(long),
            ready_for,
            given_up,
            seen_until: outlived.until,
            seen_renewals: outlived.renewals,
            lease: process,
            read: request.read.clone(),
        };
        let mut answers = batcher::send(&self.takes, vec![take], deadline).await;
        answers
            .pop()
            .unwrap_or_else(|| Err(corrupt("a lease was not answered")))
    }
}

/// What columns 1 to 7 say, and 16 of the time.
fn metadata_of(row: &Row) -> Result<SessionMetadata> {
    metadata(
        unsigned(column::<Option<i64>>(row, 1)?.unwrap_or(0)),
        column(row, 2)?,
        (column(row, 3)?, column(row, 4)?),
        column(row, 5)?,
        (column(row, 6)?, &column::<Vec<i64>>(row, 7)?),
        column(row, 16)?,
    )
}

fn lease_of(row: &Row) -> Result<Lease> {
    Lease::read(
        unsigned(column::<Option<i64>>(row, 1)?.unwrap_or(0)),
        column(row, 8)?,
        (column(row, 9)?, column(row, 10)?),
        column(row, 11)?,
        (column(row, 12)?, column(row, 13)?, column(row, 14)?),
        column(row, 16)?,
    )
}
