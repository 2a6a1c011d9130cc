//! Who holds which session: the sessions' own leases, and those of processes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};

use super::clock::Now;
use super::connection::Connection;
use super::documents::{SessionDoc, long, parse_owner, unsigned};
use super::watched::{self, Watched};
use crate::backend::{Acquire, Holder, SessionId, Token};
use crate::error::{Error, Result};
use crate::time::Moment;

/// Leases asked about by one query.
const ASKED_AT_ONCE: usize = 1000;

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
        self.sessions.forget(session);
    }

    /// Which of these leases still stand, in the order asked.
    pub(super) async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let now = self.connection.now().await?;
        let mut held = HashSet::new();
        for some in leases.chunks(ASKED_AT_ONCE) {
            let asked = Moment::now();
            let ids: Vec<_> = some.iter().map(|(session, _)| &**session).collect();
            let filter = doc! { "_id": { "$in": ids }, "owner": { "$ne": null } };
            let fields = Some(doc! { "token": 1, "leaseUntil": 1, "leaseLasts": 1, "lease": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            let running = self.running(&found, now).await?;
            held.extend(found.iter().filter_map(|found| {
                let id = found.get_str("_id").ok()?;
                let token = found.get_i64("token").ok()?;
                let lease = found.get_str("lease").ok();
                let own = found.get_datetime("leaseUntil").ok();
                let own = own.filter(|until| **until > now.earliest).is_some_and(|until| {
                    let state = watched::of_session(token, Some(until.timestamp_millis()), lease);
                    let lasts = found.get_i64("leaseLasts").ok();
                    !self.sessions.has_outlived(id, state, lasts, asked)
                });
                let stands = own || lease.is_some_and(|lease| running.contains(lease));
                stands.then_some((SessionId::from(id), Token::try_from(token).ok()?))
            }));
        }
        Ok(leases.iter().map(|lease| held.contains(lease)).collect())
    }

    /// The leases of processes that these sessions name and that run.
    async fn running(&self, sessions: &[Document], now: Now) -> Result<HashSet<String>> {
        let named: HashSet<_> = sessions
            .iter()
            .filter_map(|session| session.get_str("lease").ok())
            .collect();
        if named.is_empty() {
            return Ok(HashSet::new());
        }
        let asked = Moment::now();
        let filter = doc! { "_id": { "$in": named.into_iter().collect::<Vec<_>>() } };
        let found = self
            .connection
            .find(&self.connection.leases, filter, None, 0)
            .await?;
        let running = found.iter().filter_map(|lease| {
            let id = lease.get_str("_id").ok()?;
            let until = lease.get_datetime("until").ok()?;
            let lasts = lease.get_i64("lasts").ok();
            let runs = *until > now.earliest
                && !self
                    .processes
                    .has_outlived(id, watched::of_process(lease), lasts, asked);
            runs.then(|| id.to_owned())
        });
        Ok(running.collect())
    }

    /// Who holds the session, as it is written down: nothing is removed. With no time left if all leases ran out.
    pub(super) async fn standing(&self, session: &SessionId) -> Result<Option<Holder>> {
        let asked = Moment::now();
        let fields = Some(doc! { "token": 1, "owner": 1, "leaseUntil": 1, "leaseLasts": 1, "lease": 1 });
        let filter = doc! { "_id": &**session, "owner": { "$ne": null } };
        let found = self
            .connection
            .find(&self.connection.sessions, filter, fields, 1)
            .await?;
        let Some(found) = found.first() else {
            return Ok(None);
        };
        let Ok(owner) = found.get_document("owner") else {
            return Ok(None);
        };
        let now = self.connection.now().await?;
        let (lease, token) = (found.get_str("lease").ok(), unsigned(found, "token")?);
        let own = found.get_datetime("leaseUntil").ok().copied();
        let own = own.filter(|until| {
            let state = watched::of_session(long(token), Some(until.timestamp_millis()), lease);
            let lasts = found.get_i64("leaseLasts").ok();
            !self.sessions.has_outlived(session, state, lasts, asked)
        });
        let process = match lease {
            Some(lease) => self.end_seen_of_process_lease(lease).await?,
            None => None,
        };
        let left = |until: DateTime| until.timestamp_millis() - now.earliest.timestamp_millis();
        let left = own.into_iter().chain(process).map(left).max().unwrap_or(0);
        Ok(Some(Holder {
            owner: parse_owner(owner)?,
            token,
            expires_in: Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))),
        }))
    }

    /// Until when a process' lease lasts by what is written down.
    async fn end_seen_of_process_lease(&self, lease: &str) -> Result<Option<DateTime>> {
        let asked = Moment::now();
        let leases = &self.connection.leases;
        let found = self
            .connection
            .find(leases, doc! { "_id": lease }, None, 1)
            .await?;
        let until = found.first().and_then(|found| {
            let until = found.get_datetime("until").ok().copied()?;
            let lasts = found.get_i64("lasts").ok();
            let outlived = self
                .processes
                .has_outlived(lease, watched::of_process(found), lasts, asked);
            (!outlived).then_some(until)
        });
        Ok(until)
    }

    /// Who holds the session, unless it is free or may be taken. The document was asked for at `asked`.
    pub(super) async fn holder(
        &self,
        request: &Acquire,
        found: &SessionDoc,
        now: Now,
        asked: Moment,
    ) -> Result<Option<Holder>> {
        let Some(owner) = found
            .owner
            .as_ref()
            .filter(|_| request.preempt != Some(found.token))
        else {
            return Ok(None);
        };
        let until = match (
            self.end_of_own_lease(&request.session, found, now, asked),
            &found.lease,
        ) {
            (Some(until), _) => until,
            (None, Some(lease)) => match self.end_of_process_lease(lease, now).await? {
                Some(until) => until,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let left = until.timestamp_millis() - now.earliest.timestamp_millis();
        Ok(Some(Holder {
            owner: owner.clone(),
            token: found.token,
            expires_in: Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))),
        }))
    }

    /// Until when the session's own lease lasts; `None` if it has run out.
    fn end_of_own_lease(
        &self,
        session: &str,
        found: &SessionDoc,
        now: Now,
        asked: Moment,
    ) -> Option<DateTime> {
        let until = found.lease_until.filter(|until| *until > now.earliest)?;
        let state = watched::of_session(
            long(found.token),
            Some(until.timestamp_millis()),
            found.lease.as_deref(),
        );
        let outlived = self
            .sessions
            .has_outlived(session, state, found.lease_lasts, asked);
        (!outlived).then_some(until)
    }

    /// Until when a process' lease lasts; `None` if it has run out, and then it is not renewed any more.
    pub(super) async fn end_of_process_lease(&self, lease: &str, now: Now) -> Result<Option<DateTime>> {
        let leases = &self.connection.leases;
        let find = async || {
            let found = self
                .connection
                .find(leases, doc! { "_id": lease }, None, 1)
                .await?;
            Ok::<_, Error>(found.into_iter().next())
        };
        let asked = Moment::now();
        let Some(found) = find().await? else {
            return Ok(None);
        };
        let state = watched::of_process(&found);
        let until = found.get_datetime("until").ok().copied();
        let lasts = found.get_i64("lasts").ok();
        let over = match until {
            Some(until) if until > now.earliest => {
                if !self.processes.has_outlived(lease, state.clone(), lasts, asked) {
                    return Ok(Some(until));
                }
                let mut over = state;
                over.insert("_id", lease);
                over
            }
            _ => doc! { "_id": lease, "until": { "$lte": now.earliest } },
        };
        self.connection.remove(leases, over).await?;
        self.processes.forget(lease);
        let found = find().await?;
        Ok(found.and_then(|found| found.get_datetime("until").ok().copied()))
    }
}
