//! Holding many sessions at the cost of one.
//!
//! A lease is first the session's own: `leaseUntil` in its document. When it is renewed for the first time, the
//! session is *enlisted*: its document names the lease of this process, a document of its own in `leases`, and from
//! then on that one is renewed for all. A session is held while either runs.
//!
//! Who finds both run out removes the process' lease before taking the session, so that it cannot be renewed any
//! more (its renewal inserts nothing). A process that was stopped for so long finds that out at its next renewal,
//! and enlists what is still its own with a new lease. So a lease that was renewed covers every session that names
//! it, and nothing else need be asked; sessions taken by other means (an owner declared dead, a document removed by
//! hand) are looked for in turn, [`LOOKED_AT`] at each renewal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};

use super::LAYER;
use super::commit::fenced;
use super::connection::after;
use super::documents::{long, new_epoch};
use super::lease::IDLE;
use super::state::Core;
use crate::backend::{SessionId, Token};
use crate::error::{Error, Kind, Result};

/// Enlisted sessions whose documents are looked at by one renewal.
const LOOKED_AT: usize = 500;
/// How often sessions without a version are kept from being reaped.
const KEPT_EVERY: Duration = Duration::from_secs(60 * 60);
/// Sessions enlisted by one command: few, because a statement takes a kilobyte of memory while it is under way …
const ENLISTED_AT_ONCE: usize = 100;
/// … and so many commands at once.
const CONCURRENT: usize = 4;

type Lease = (SessionId, Token);

impl Core {
    pub(super) async fn renew(&self, leases: &[Lease], lease: Duration) -> Vec<Result<()>> {
        match self.try_renew(leases, lease).await {
            Ok(answers) => answers,
            Err(error) => {
                let answer = |(session, _): &Lease| Err(error.clone().in_session(session));
                leases.iter().map(answer).collect()
            }
        }
    }

    async fn try_renew(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Result<()>>> {
        self.open()?;
        let asked = Instant::now();
        let until = after(self.connection.now().await?, lease);
        let process = self.renew_process(lease, until).await?;
        let is_enlisted = |(session, token): &Lease| {
            self.known_slot(session)
                .is_some_and(|slot| slot.is_enlisted(*token, &process))
        };
        let (enlisted, mut new): (Vec<_>, Vec<_>) =
            (0..leases.len()).partition(|&at| is_enlisted(&leases[at]));
        let mut answers: Vec<Result<()>> = leases.iter().map(|_| Ok(())).collect();

        // What holds the enlisted is renewed. What fails from here on is done by the next renewal.
        let turn = self.next_to_look_at(&enlisted);
        let some: Vec<_> = turn.iter().map(|&at| leases[at].clone()).collect();
        for (at, found) in turn.into_iter().zip(self.look(&some).await.into_iter().flatten()) {
            match found {
                // Ours, but it does not name our lease: what is renewed is not what holds it.
                Ok(named) if named.as_deref() != Some(&*process) => new.push(at),
                Ok(_) => {}
                Err(error) => answers[at] = Err(error),
            }
        }
        let _ = self.release_late().await;
        if self.keeping_is_due() {
            let ids = leases.iter().map(|(session, _)| session.clone()).collect();
            let _ = self.keep_unwritten(ids, until).await;
        }
        let some: Vec<_> = new.iter().map(|&at| leases[at].clone()).collect();
        let enlisted = self.enlist(&some, &process, until).await;
        let enlisted = enlisted.unwrap_or_else(|error| {
            let answer = |(session, _): &Lease| Err(error.clone().in_session(session));
            some.iter().map(answer).collect()
        });
        for (at, answer) in new.into_iter().zip(enlisted) {
            if answer.is_ok()
                && let Some(slot) = self.known_slot(&leases[at].0)
            {
                slot.enlisted_in(leases[at].1, process.clone());
            }
            answers[at] = answer;
        }
        for ((session, _), answer) in leases.iter().zip(&answers) {
            if let Some(slot) = self.known_slot(session) {
                match answer {
                    Ok(()) => slot.owned_until(asked.checked_add(lease)),
                    Err(error) if error.retryable() => {}
                    Err(_) => slot.forget(),
                }
            }
        }
        Ok(answers)
    }

    /// Makes the lease of this process for sessions held so long last until then; a new one if that is no more.
    async fn renew_process(&self, lease: Duration, until: DateTime) -> Result<Arc<str>> {
        let mut leases = self.leases.lock().await;
        let times = doc! { "until": until, "expiresAt": after(until, IDLE) };
        if let Some(id) = leases.get(&lease) {
            // Never back: an earlier renewal may arrive later.
            let statement = doc! { "q": { "_id": &**id }, "u": { "$max": &times } };
            let renewed = self.connection.update(&self.connection.leases, vec![statement]);
            if renewed.await?.matched > 0 {
                return Ok(id.clone());
            }
        }
        let id = new_epoch();
        let mut document = doc! { "_id": &*id };
        document.extend(times);
        self.connection
            .insert(&self.connection.leases, vec![document])
            .await?;
        leases.insert(lease, id.clone());
        Ok(id)
    }

    /// Until when a process' lease lasts; `None` if it has run out, and then it is not renewed any more.
    pub(super) async fn end_of_lease(&self, lease: &str, now: DateTime) -> Result<Option<DateTime>> {
        let leases = &self.connection.leases;
        let ends = async || {
            let found = self
                .connection
                .find(leases, doc! { "_id": lease }, None, 1)
                .await?;
            Ok::<_, Error>(
                found
                    .first()
                    .and_then(|found| found.get_datetime("until").ok().copied()),
            )
        };
        match ends().await? {
            Some(until) if until <= now => {}
            other => return Ok(other),
        }
        let over = doc! { "_id": lease, "until": { "$lte": now } };
        self.connection.remove(leases, over).await?;
        ends().await
    }

    /// Writes the lease of this process into sessions' documents; what is not ours is answered so.
    async fn enlist(&self, leases: &[Lease], process: &str, until: DateTime) -> Result<Vec<Result<()>>> {
        let enlisted: Vec<bool> = stream::iter((0..leases.len()).step_by(ENLISTED_AT_ONCE))
            .map(async |from| {
                let some = &leases[from..leases.len().min(from + ENLISTED_AT_ONCE)];
                let statements = some.iter().map(|(session, token)| {
                    let query = doc! { "_id": &**session, "token": long(*token) };
                    let update = doc! { "$set": { "lease": process, "leaseUntil": until } };
                    doc! { "q": query, "u": update }
                });
                let statements = statements.collect();
                let updated = self
                    .connection
                    .update(&self.connection.sessions, statements)
                    .await?;
                Ok::<_, Error>(updated.matched == some.len() as u64)
            })
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await?;
        if enlisted.into_iter().all(|all| all) {
            return Ok(leases.iter().map(|_| Ok(())).collect());
        }
        // Not all, and the commands do not say which.
        let found = self.look(leases).await?;
        Ok(found.into_iter().map(|found| found.map(drop)).collect())
    }

    /// What has no version yet lives as long as its lease, and not so long that nobody would ever remove it.
    async fn keep_unwritten(&self, sessions: Vec<SessionId>, until: DateTime) -> Result<()> {
        for some in sessions.chunks(LOOKED_AT) {
            let ids: Vec<_> = some.iter().map(|session| &**session).collect();
            let statement = doc! {
                "q": { "_id": { "$in": ids }, "version": 0_i64, "outbox": null },
                "u": { "$set": { "expiresAt": after(until, IDLE) } },
                "multi": true,
            };
            self.connection
                .update(&self.connection.sessions, vec![statement])
                .await?;
        }
        *self.kept.lock() = Instant::now();
        Ok(())
    }

    fn keeping_is_due(&self) -> bool {
        self.kept.lock().elapsed() >= KEPT_EVERY
    }

    /// Whose turn it is to be looked at; all of them if they are few.
    fn next_to_look_at(&self, enlisted: &[usize]) -> Vec<usize> {
        let count = enlisted.len().min(LOOKED_AT);
        let from = self.looked_at.fetch_add(count, Ordering::Relaxed);
        (from..from + count)
            .map(|at| enlisted[at % enlisted.len()])
            .collect()
    }

    /// Which lease the sessions' documents name; an error for those that are not ours any more.
    async fn look(&self, leases: &[Lease]) -> Result<Vec<Result<Option<String>>>> {
        let mut answers = Vec::with_capacity(leases.len());
        for some in leases.chunks(LOOKED_AT) {
            let ids: HashSet<_> = some.iter().map(|(session, _)| &**session).collect();
            let filter = doc! { "_id": { "$in": ids.into_iter().collect::<Vec<_>>() } };
            let fields = Some(doc! { "token": 1, "lease": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            let found: std::collections::HashMap<&str, &Document> = found
                .iter()
                .filter_map(|found| Some((found.get_str("_id").ok()?, found)))
                .collect();
            answers.extend(some.iter().map(|(session, token)| {
                let Some(document) = found.get(&**session) else {
                    let message = "the storage no longer knows this session";
                    return Err(Error::new(Kind::SessionLost, LAYER, message).in_session(session));
                };
                match document.get_i64("token") {
                    Ok(current) if current == long(*token) => {
                        Ok(document.get_str("lease").ok().map(str::to_owned))
                    }
                    current => {
                        let current = u64::try_from(current.unwrap_or(0)).unwrap_or(0);
                        Err(fenced(current).in_session(session))
                    }
                }
            }));
        }
        Ok(answers)
    }
}
