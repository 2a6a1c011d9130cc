//! Holding many sessions at the cost of one.
//!
//! A lease is first the session's own: `leaseUntil` in its document. When it is renewed for the first time, the
//! session is *attached* to the lease of this process: its document names the lease of this process, a document of its own in `leases`, and from
//! then on that one is renewed for all. A session is held while either runs.
//!
//! Who finds both run out removes the process' lease before taking the session, so that it cannot be renewed any
//! more (its renewal inserts nothing). A process that was stopped for so long finds that out at its next renewal,
//! and attaches what is still its own with a new lease. So a lease that was renewed covers every session that names
//! it, and nothing else need be asked; sessions taken by other means (an owner declared dead, a document removed by
//! hand) are looked for in turn, [`LOOKED_AT`] at each renewal.
//!
//! A renewal waits for no other command: it has connections of its own, and is limited in time by the lease alone
//! ([`renewal_limit`]). What it has not done by then is answered so, lease by lease, and the rest holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};
use parking_lot::Mutex;

use super::LAYER;
use super::clock::after;
use super::connection::{Connection, urgently};
use super::documents::{IDLE, long, new_epoch};
use super::errors::timed_out;
use super::release::Releaser;
use super::slots::Slots;
use crate::backend::{Renewal, SessionId, Token, fenced, renewal_limit, session_lost};
use crate::error::Result;
use crate::runtime;
use crate::time::{Moment, signed_millis};

/// Attached sessions whose documents are looked at by one renewal.
const LOOKED_AT: usize = 500;
/// How often sessions without a version are kept from being reaped.
const KEPT_EVERY: Duration = Duration::from_secs(60 * 60);
/// Sessions attached by one command: few, because a statement takes a kilobyte of memory while it is under way …
const ATTACHED_AT_ONCE: usize = 100;
/// … and so many commands at once.
const CONCURRENT: usize = 4;

/// The lease of this process.
#[derive(Clone)]
struct ProcessLease {
    id: Arc<str>,
    /// Until when it lasts at least.
    until: DateTime,
    /// When that was sent.
    sent: Moment,
}

/// Makes leases last.
pub(super) struct Renewer {
    connection: Arc<Connection>,
    slots: Arc<Slots>,
    releaser: Arc<Releaser>,
    /// The leases of this process, by how long they last; held while one is renewed.
    leases: tokio::sync::Mutex<HashMap<Duration, ProcessLease>>,
    /// Which attached session is looked at next.
    looked_at: AtomicUsize,
    /// When sessions without a version were last kept from being reaped.
    kept: Mutex<Instant>,
    /// Whether renewals' housekeeping is under way.
    tidying: AtomicBool,
}

impl Renewer {
    pub fn new(connection: Arc<Connection>, slots: Arc<Slots>, releaser: Arc<Releaser>) -> Self {
        Self {
            connection,
            slots,
            releaser,
            leases: tokio::sync::Mutex::default(),
            looked_at: AtomicUsize::new(0),
            kept: Mutex::new(Instant::now()),
            tidying: AtomicBool::new(false),
        }
    }

    pub(super) async fn renew(self: &Arc<Self>, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let renewed = urgently(self.try_renew(leases, lease)).await;
        renewed.unwrap_or_else(|error| {
            let answer = |renewal: &Renewal| Err(error.clone().in_session(&renewal.session));
            leases.iter().map(answer).collect()
        })
    }

    async fn try_renew(self: &Arc<Self>, leases: &[Renewal], lease: Duration) -> Result<Vec<Result<()>>> {
        let asked = Moment::now();
        // Somewhat less than the caller's limit, so that what was done by then is answered.
        let deadline = tokio::time::Instant::now() + renewal_limit(lease) / 10 * 9;
        let ProcessLease {
            id: process, until, ..
        } = self.renew_process(lease).await?;
        let is_attached = |Renewal { session, token, .. }: &Renewal| {
            self.slots
                .get(session)
                .is_some_and(|slot| slot.is_attached_to(*token, &process))
        };
        let (attached, new): (Vec<_>, Vec<_>) = (0..leases.len()).partition(|&at| is_attached(&leases[at]));
        self.tidy(leases, until);

        // What holds the attached is renewed, so their answer does not wait for what is found of some of them.
        let turn = self.next_to_look_at(&attached);
        let (found, written) = tokio::join!(
            tokio::time::timeout_at(deadline, self.look_at(leases, &turn)),
            self.attach_to_process_lease(leases, &new, (&process, lease), until, deadline)
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
            .attach_to_process_lease(leases, &stray, (&process, lease), until, deadline)
            .await
        {
            answers[at] = answer;
        }
        for (Renewal { session, .. }, answer) in leases.iter().zip(&answers) {
            if let Some(slot) = self.slots.get(session) {
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
        let mut document = doc! { "_id": &*id, "lasts": signed_millis(lease) };
        document.extend(times);
        self.connection
            .insert(&self.connection.leases, vec![document])
            .await?;
        let made = ProcessLease { id, until, sent };
        leases.insert(lease, made.clone());
        Ok(made)
    }

    /// Starts what goes along with renewals and is not urgent; what fails is done by a later one.
    fn tidy(self: &Arc<Self>, leases: &[Renewal], until: DateTime) {
        let keeps = self.keeping_is_due();
        if !keeps && !self.releaser.is_late() || self.tidying.swap(true, Ordering::AcqRel) {
            return;
        }
        let renewer = self.clone();
        let ids: Vec<_> = if keeps {
            leases.iter().map(|renewal| renewal.session.clone()).collect()
        } else {
            Vec::new()
        };
        runtime::spawn(async move {
            let _ = renewer.releaser.release_late().await;
            if keeps {
                let _ = renewer.keep_unwritten(ids, until).await;
            }
            renewer.tidying.store(false, Ordering::Release);
        });
    }

    /// Writes the lease of this process into the documents of those sessions; an answer for each. What is not done by
    /// `deadline` is left to the next try, which goes on from there.
    async fn attach_to_process_lease(
        &self,
        leases: &[Renewal],
        which: &[usize],
        (process, lease): (&Arc<str>, Duration),
        until: DateTime,
        deadline: tokio::time::Instant,
    ) -> Vec<(usize, Result<()>)> {
        let chunks: Vec<Vec<usize>> = which.chunks(ATTACHED_AT_ONCE).map(<[usize]>::to_vec).collect();
        let answers: Vec<Vec<_>> = stream::iter(chunks)
            .map(async |some| {
                let some_leases: Vec<_> = some.iter().map(|&at| leases[at].clone()).collect();
                let attached = self.attach_some(&some_leases, (process, lease), until);
                let answers = match tokio::time::timeout_at(deadline, attached).await {
                    Ok(Ok(answers)) => answers,
                    Ok(Err(error)) => some.iter().map(|_| Err(error.clone())).collect(),
                    Err(_) => some.iter().map(|_| Err(timed_out())).collect(),
                };
                for (Renewal { session, token, .. }, answer) in some_leases.iter().zip(&answers) {
                    if answer.is_ok()
                        && let Some(slot) = self.slots.get(session)
                    {
                        slot.attached_to(*token, process.clone());
                    }
                }
                let answers = answers.into_iter().zip(some_leases);
                let answers = answers
                    .map(|(answer, renewal)| answer.map_err(|error| error.in_session(&renewal.session)));
                some.iter().copied().zip(answers).collect::<Vec<_>>()
            })
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        answers.into_iter().flatten().collect()
    }

    async fn attach_some(
        &self,
        leases: &[Renewal],
        (process, lease): (&str, Duration),
        until: DateTime,
    ) -> Result<Vec<Result<()>>> {
        let statements = leases.iter().map(|Renewal { session, token, .. }| {
            let query = doc! { "_id": &**session, "token": long(*token) };
            let update =
                doc! { "$set": { "lease": process, "leaseUntil": until, "leaseLasts": signed_millis(lease) } };
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
    fn next_to_look_at(&self, attached: &[usize]) -> Vec<usize> {
        let count = attached.len().min(LOOKED_AT);
        let from = self.looked_at.fetch_add(count, Ordering::Relaxed);
        (from..from + count)
            .map(|at| attached[at % attached.len()])
            .collect()
    }

    /// [`Renewer::look`] at those of `leases`; nothing if they cannot be looked at now.
    async fn look_at(&self, leases: &[Renewal], which: &[usize]) -> Vec<Result<Option<String>>> {
        let some: Vec<_> = which.iter().map(|&at| leases[at].clone()).collect();
        self.look(&some).await.unwrap_or_default()
    }

    /// Which lease the sessions' documents name; an error for those that are not ours any more.
    async fn look(&self, leases: &[Renewal]) -> Result<Vec<Result<Option<String>>>> {
        let mut answers = Vec::with_capacity(leases.len());
        for some in leases.chunks(LOOKED_AT) {
            let ids: HashSet<_> = some.iter().map(|renewal| &*renewal.session).collect();
            let filter = doc! { "_id": { "$in": ids.into_iter().collect::<Vec<_>>() } };
            let fields = Some(doc! { "token": 1, "lease": 1 });
            let found = self
                .connection
                .find(&self.connection.sessions, filter, fields, 0)
                .await?;
            let found: HashMap<&str, &Document> = found
                .iter()
                .filter_map(|found| Some((found.get_str("_id").ok()?, found)))
                .collect();
            answers.extend(some.iter().map(|renewal| {
                let Renewal {
                    session,
                    token,
                    version,
                } = renewal;
                let Some(document) = found.get(&**session) else {
                    let text = "MongoDB no longer has the session";
                    return Err(session_lost(LAYER, text, Some(*version), 0).in_session(session));
                };
                match document.get_i64("token") {
                    Ok(current) if current == long(*token) => {
                        Ok(document.get_str("lease").ok().map(str::to_owned))
                    }
                    current => {
                        let current = current.ok().and_then(|token| Token::try_from(token).ok());
                        Err(fenced(LAYER, current).in_session(session))
                    }
                }
            }));
        }
        Ok(answers)
    }
}
