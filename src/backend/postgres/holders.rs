//! Who holds which session: the sessions' own leases, and those of processes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::connection::Connection;
use super::dial::column;
use super::errors::corrupt;
use super::ids::{long, session_of, unsigned};
use super::watched::Watched;
use crate::backend::{Holder, Owner, SessionId, Token};
use crate::error::Result;
use crate::time::Moment;

/// Leases asked about by one statement.
const ASKED_AT_ONCE: usize = 5000;

/// The lease of a process, as it stands.
#[derive(Debug, Clone)]
pub(super) struct ProcessLease {
    id: Vec<u8>,
    until: i64,
    lasts: i64,
    pub renewals: i64,
}

/// A session's lease, as it stands.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    token: Token,
    owner: Vec<u8>,
    pub until: i64,
    lasts: i64,
    pub process: Option<ProcessLease>,
    now: i64,
}

/// Which parts of a lease are over by its having stood there unchanged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlived {
    pub own: bool,
    pub process: bool,
}

impl Lease {
    /// Of the columns of a session's row and of its process' lease.
    pub fn read(
        token: Token,
        owner: Option<Vec<u8>>,
        (until, lasts): (Option<i64>, Option<i64>),
        id: Option<Vec<u8>>,
        (process_until, process_lasts, renewals): (Option<i64>, Option<i64>, Option<i64>),
        now: i64,
    ) -> Result<Self> {
        let process = id.zip(process_until).map(|(id, until)| ProcessLease {
            id,
            until,
            lasts: process_lasts.unwrap_or(0),
            renewals: renewals.unwrap_or(0),
        });
        Ok(Self {
            token,
            owner: owner.ok_or_else(|| corrupt("a lease without owner"))?,
            until: until.unwrap_or(0),
            lasts: lasts.unwrap_or(0),
            process,
            now,
        })
    }

    /// How long it still runs.
    fn left(&self, outlived: Outlived) -> Duration {
        let own = (!outlived.own).then_some(self.until);
        let process = self.process.as_ref().filter(|_| !outlived.process);
        let until = own.into_iter().chain(process.map(|process| process.until)).max();
        Duration::from_millis(unsigned(until.unwrap_or(0) - self.now))
    }

    pub fn holder(&self, outlived: Outlived) -> Result<Holder> {
        let owner: Owner = serde_json::from_slice(&self.owner)
            .map_err(|_| corrupt("a lease's owner is not what it should be"))?;
        Ok(Holder {
            owner,
            token: self.token,
            expires_in: Some(self.left(outlived)),
        })
    }
}

/// Knows which leases still stand.
pub(super) struct Holders {
    connection: Arc<Connection>,
    /// Sessions' own leases that were seen, by session.
    sessions: Watched,
    /// Leases of processes, by their names.
    processes: Watched,
}

impl Holders {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            sessions: Watched::default(),
            processes: Watched::default(),
        }
    }

    /// The session has a new owner.
    pub fn forget(&self, session: &SessionId) {
        self.sessions.forget(session.as_bytes());
    }

    /// Which parts of a lease, asked for at `asked`, are over.
    pub fn outlived(&self, session: &[u8], lease: &Lease, asked: Moment) -> Outlived {
        // A new owner has a new token, and each attachment a new end.
        let state = lease.until ^ long(lease.token).rotate_left(32);
        let own = lease.until <= lease.now || self.sessions.has_outlived(session, state, lease.lasts, asked);
        let process = lease.process.as_ref().is_none_or(|process| {
            process.until <= lease.now
                || self
                    .processes
                    .has_outlived(&process.id, process.renewals, process.lasts, asked)
        });
        Outlived { own, process }
    }

    /// Which of these leases still stand, in the order asked.
    pub(super) async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let mut held = HashSet::new();
        for some in leases.chunks(ASKED_AT_ONCE) {
            let ids: Vec<_> = some.iter().map(|(session, _)| session.as_bytes()).collect();
            for (session, lease, outlived) in self.leases(&ids).await? {
                if !lease.left(outlived).is_zero() {
                    held.insert((session, lease.token));
                }
            }
        }
        Ok(leases.iter().map(|lease| held.contains(lease)).collect())
    }

    /// Who holds the session, as it is written down. With no time left if its leases ran out.
    pub(super) async fn standing(&self, session: &SessionId) -> Result<Option<Holder>> {
        let found = self.leases(&[session.as_bytes()]).await?;
        let holder = found.first().map(|(_, lease, outlived)| lease.holder(*outlived));
        holder.transpose()
    }

    async fn leases(&self, ids: &[&[u8]]) -> Result<Vec<(SessionId, Lease, Outlived)>> {
        let asked = Moment::now();
        let statement = &self.connection.statements.leases;
        let rows = self
            .connection
            .ask(statement, &[(&ids, Type::BYTEA_ARRAY)])
            .await?;
        let found = rows.iter().map(|row| {
            let id: &[u8] = column(row, 0)?;
            let lease = Lease::read(
                unsigned(column(row, 1)?),
                column(row, 2)?,
                (column(row, 3)?, column(row, 4)?),
                column(row, 5)?,
                (column(row, 6)?, column(row, 7)?, column(row, 8)?),
                column(row, 9)?,
            )?;
            let outlived = self.outlived(id, &lease, asked);
            Ok((session_of(id)?, lease, outlived))
        });
        found.collect()
    }
}
