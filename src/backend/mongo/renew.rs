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
//!
//! A renewal waits for no other command: it has connections of its own, and is limited in time by the lease alone
//! ([`renewal_limit`]). What it has not done by then is answered so, lease by lease, and the rest holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};

use super::clock::{Now, after};
use super::commit::fenced;
use super::connection::urgently;
use super::documents::{long, new_epoch};
use super::errors::timed_out;
use super::lease::{IDLE, lasts};
use super::state::{Core, ProcessLease};
use super::{LAYER, watched};
use crate::backend::{SessionId, Token, renewal_limit};
use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::time::Moment;

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
    pub(super) async fn renew(self: &Arc<Self>, leases: &[Lease], lease: Duration) -> Vec<Result<()>> {
        let renewed = urgently(self.try_renew(leases, lease)).await;
        renewed.unwrap_or_else(|error| {
            let answer = |(session, _): &Lease| Err(error.clone().in_session(session));
            leases.iter().map(answer).collect()
        })
    }

    async fn try_renew(self: &Arc<Self>, leases: &[Lease], lease: Duration) -> Result<Vec<Result<()>>> {
        self.open()?;
        let asked = Moment::now();
        // Somewhat less than the caller's limit, so that what was done by then is answered.
        let deadline = tokio::time::Instant::now() + renewal_limit(lease) / 10 * 9;
        let ProcessLease {
            id: process, until, ..
        } = self.renew_process(lease).await?;
        let is_enlisted = |(session, token): &Lease| {
            self.known_slot(session)
                .is_some_and(|slot| slot.is_enlisted(*token, &process))
        };
        let (enlisted, new): (Vec<_>, Vec<_>) = (0..leases.len()).partition(|&at| is_enlisted(&leases[at]));
        self.tidy(leases, until);

        // What holds the enlisted is renewed, so their answer does not wait for what is found of some of them.
        let turn = self.next_to_look_at(&enlisted);
        let (found, written) = tokio::join!(
            tokio::time::timeout_at(deadline, self.look_at(leases, &turn)),
            self.enlist(leases, &new, (&process, lease), until, deadline)
        );
        let mut answers: Vec<Result<()>> = leases.iter().map(|_| Ok(())).collect();
        for (at, answer) in written {
            answers[at] = answer;
        }
        let mut stray = Vec::new();
        for (at, found) in turn.into_iter().zip(found.into_iter().flatten()) {
            match found {
                // Ours, but it does not name our lease: what is renewed is not what holds it.
                Ok(named) if named.as_deref() != Some(&*process) => stray.push(at),
                Ok(_) => {}
                Err(error) => answers[at] = Err(error),
            }
        }
        for (at, answer) in self
            .enlist(leases, &stray, (&process, lease), until, deadline)
            .await
        {
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

    /// Makes the lease of this process for sessions held so long last for as long from now; a new one if that is no
    /// more. Many who ask at once are served by two commands. Whoever asks later is not, even if the lease lasts long
    /// enough: by a clock that has gone back since it would seem to, and who watches it must see it renewed.
    async fn renew_process(&self, lease: Duration) -> Result<ProcessLease> {
        let asked = Moment::now();
        let wanted = self.connection.now().await?.plus(lease);
        let mut leases = self.leases.lock().await;
        let serves = |known: &&ProcessLease| known.sent >= asked && known.until >= wanted;
        if let Some(known) = leases.get(&lease).filter(serves) {
            return Ok(known.clone());
        }
        let sent = Moment::now();
        let until = self.connection.now().await?.plus(lease).max(wanted);
        let times = doc! { "until": until, "expiresAt": after(until, IDLE) };
        if let Some(known) = leases.get_mut(&lease) {
            // Never back: an earlier renewal may arrive later.
            // Who watches it sees each of them.
            let update = doc! { "$max": &times, "$inc": { "renewals": 1_i64 } };
            let statement = doc! { "q": { "_id": &*known.id }, "u": update };
            let renewed = self.connection.update(&self.connection.leases, vec![statement]);
            if renewed.await?.matched > 0 {
                (known.until, known.sent) = (until, sent);
                return Ok(known.clone());
            }
        }
        let id = new_epoch();
        let mut document = doc! { "_id": &*id, "lasts": lasts(lease) };
        document.extend(times);
        self.connection
            .insert(&self.connection.leases, vec![document])
            .await?;
        let made = ProcessLease { id, until, sent };
        leases.insert(lease, made.clone());
        Ok(made)
    }

    /// Starts what goes along with renewals and is not urgent; what fails is done by a later one.
    fn tidy(self: &Arc<Self>, leases: &[Lease], until: DateTime) {
        let keeps = self.keeping_is_due();
        if !keeps && self.unreleased.lock().is_empty() || self.tidying.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = self.clone();
        let ids: Vec<_> = if keeps {
            leases.iter().map(|(session, _)| session.clone()).collect()
        } else {
            Vec::new()
        };
        runtime::spawn(async move {
            let _ = core.release_late().await;
            if keeps {
                let _ = core.keep_unwritten(ids, until).await;
            }
            core.tidying.store(false, Ordering::Release);
        });
    }

    /// Until when a process' lease lasts; `None` if it has run out, and then it is not renewed any more.
    pub(super) async fn end_of_lease(&self, lease: &str, now: Now) -> Result<Option<DateTime>> {
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
                if !self
                    .watched_processes
                    .has_outlived(lease, state.clone(), lasts, asked)
                {
                    return Ok(Some(until));
                }
                let mut over = state;
                over.insert("_id", lease);
                over
            }
            _ => doc! { "_id": lease, "until": { "$lte": now.earliest } },
        };
        self.connection.remove(leases, over).await?;
        self.watched_processes.forget(lease);
        let found = find().await?;
        Ok(found.and_then(|found| found.get_datetime("until").ok().copied()))
    }

    /// Writes the lease of this process into the documents of those sessions; an answer for each. What is not done by
    /// `deadline` is left to the next try, which goes on from there.
    async fn enlist(
        &self,
        leases: &[Lease],
        which: &[usize],
        (process, lease): (&Arc<str>, Duration),
        until: DateTime,
        deadline: tokio::time::Instant,
    ) -> Vec<(usize, Result<()>)> {
        let chunks: Vec<Vec<usize>> = which.chunks(ENLISTED_AT_ONCE).map(<[usize]>::to_vec).collect();
        let answers: Vec<Vec<_>> = stream::iter(chunks)
            .map(async |some| {
                let some_leases: Vec<_> = some.iter().map(|&at| leases[at].clone()).collect();
                let enlisted = self.enlist_some(&some_leases, (process, lease), until);
                let answers = match tokio::time::timeout_at(deadline, enlisted).await {
                    Ok(Ok(answers)) => answers,
                    Ok(Err(error)) => some.iter().map(|_| Err(error.clone())).collect(),
                    Err(_) => some.iter().map(|_| Err(timed_out())).collect(),
                };
                for ((session, token), answer) in some_leases.iter().zip(&answers) {
                    if answer.is_ok()
                        && let Some(slot) = self.known_slot(session)
                    {
                        slot.enlisted_in(*token, process.clone());
                    }
                }
                let answers = answers.into_iter().zip(some_leases);
                let answers =
                    answers.map(|(answer, (session, _))| answer.map_err(|error| error.in_session(&session)));
                some.iter().copied().zip(answers).collect::<Vec<_>>()
            })
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        answers.into_iter().flatten().collect()
    }

    async fn enlist_some(
        &self,
        leases: &[Lease],
        (process, lease): (&str, Duration),
        until: DateTime,
    ) -> Result<Vec<Result<()>>> {
        let statements = leases.iter().map(|(session, token)| {
            let query = doc! { "_id": &**session, "token": long(*token) };
            let update =
                doc! { "$set": { "lease": process, "leaseUntil": until, "leaseLasts": lasts(lease) } };
            doc! { "q": query, "u": update }
        });
        let statements = statements.collect();
        let sessions = &self.connection.sessions;
        let updated = self.connection.update_each(sessions, statements).await?;
        let mut answers: Vec<_> = leases.iter().map(|_| Ok(())).collect();
        if updated.matched + updated.refused.len() as u64 != leases.len() as u64 {
            // Not all, and the command does not say which.
            let found = self.look(leases).await?;
            answers = found.into_iter().map(|found| found.map(drop)).collect();
        }
        for (at, refused) in updated.refused {
            if let Some(answer) = answers.get_mut(at) {
                *answer = Err(refused);
            }
        }
        Ok(answers)
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

    /// [`Core::look`] at those of `leases`; nothing if they cannot be looked at now.
    async fn look_at(&self, leases: &[Lease], which: &[usize]) -> Vec<Result<Option<String>>> {
        let some: Vec<_> = which.iter().map(|&at| leases[at].clone()).collect();
        self.look(&some).await.unwrap_or_default()
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
