//! Holding many sessions at the cost of one.
//!
//! A lease is first the session's own: `lease_until` in its row. When it is renewed for the first time, the session is
//! *attached* to the lease of this process, a row of its own, which from then on is renewed for all. (A session that is
//! taken while that row is there is attached to it from the start.) A session is held while either runs.
//!
//! Who finds both run out removes the process' lease in the statement that takes the session, so that it cannot be
//! renewed any more. A process that was stopped for so long finds that out at its next renewal, makes a new lease and
//! attaches what is still its own. So a lease that was renewed covers every session that names it; sessions taken by
//! other means (an owner declared dead, a row removed by hand, a failover to an older state) are looked for in turn,
//! [`LOOKED_AT`] at each renewal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::LAYER;
use super::conflicts::PAUSES;
use super::connection::{Connection, Lane, Parameter};
use super::dial::column;
use super::errors::{busy, corrupt};
use super::ids::{long, session_of, unsigned};
use super::release::Releaser;
use super::statements::verdict;
use crate::backend::{Renewal, SessionId, Token, fenced, renewal_limit, session_lost};
use crate::error::Result;
use crate::runtime;
use crate::time::signed_millis;

/// Attached sessions whose rows are looked at by one renewal.
const LOOKED_AT: usize = 500;
/// Sessions attached by one statement.
const ATTACHED_AT_ONCE: usize = 1000;
/// How often a session that others write at that moment is tried.
const ATTEMPTS: u32 = 6;

/// A random name of a lease.
type LeaseId = Arc<[u8]>;

/// What a look at a session's row found: which lease it names.
type Looked = Result<Option<Vec<u8>>>;

/// Makes leases last.
pub(super) struct Renewer {
    connection: Arc<Connection>,
    releaser: Arc<Releaser>,
    /// The leases of this process, by how long they last.
    leases: Mutex<HashMap<Duration, LeaseId>>,
    /// Held while one is renewed.
    renewing: tokio::sync::Mutex<()>,
    /// Which sessions name which of them, and by which token they are ours.
    attached: Mutex<HashMap<SessionId, (Token, LeaseId)>>,
    /// Which attached session is looked at next.
    looked_at: AtomicUsize,
    /// Whether late releases are under way.
    tidying: AtomicBool,
}

impl Renewer {
    pub fn new(connection: Arc<Connection>, releaser: Arc<Releaser>) -> Self {
        Self {
            connection,
            releaser,
            leases: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            attached: Mutex::default(),
            looked_at: AtomicUsize::new(0),
            tidying: AtomicBool::new(false),
        }
    }

    /// The lease of this process for sessions held so long, if there is one.
    pub fn lease_lasting(&self, lease: Duration) -> Option<LeaseId> {
        self.leases.lock().get(&lease).cloned()
    }

    /// The session names the lease of this process.
    pub fn is_attached(&self, session: &SessionId, token: Token, lease: LeaseId) {
        self.attached.lock().insert(session.clone(), (token, lease));
    }

    /// The session is held no more.
    pub fn forget(&self, session: &SessionId, token: Token) {
        let mut attached = self.attached.lock();
        if attached.get(session).is_some_and(|(ours, _)| *ours == token) {
            attached.remove(session);
        }
    }

    pub(super) async fn renew(self: &Arc<Self>, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let deadline = Instant::now() + renewal_limit(lease) / 10 * 9;
        self.try_renew(leases, lease, deadline)
            .await
            .unwrap_or_else(|error| {
                let answer = |renewal: &Renewal| Err(error.clone().in_session(&renewal.session));
                leases.iter().map(answer).collect()
            })
    }

    async fn try_renew(
        self: &Arc<Self>,
        leases: &[Renewal],
        lease: Duration,
        deadline: Instant,
    ) -> Result<Vec<Result<()>>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let process = self.renew_process(lease, deadline).await?;
        self.tidy();
        let (attached, new): (Vec<_>, Vec<_>) = {
            let known = self.attached.lock();
            (0..leases.len()).partition(|&at| {
                let renewal = &leases[at];
                known
                    .get(&renewal.session)
                    .is_some_and(|(token, named)| *token == renewal.token && *named == process)
            })
        };
        let mut answers: Vec<Result<()>> = leases.iter().map(|_| Ok(())).collect();
        // What holds the attached is renewed, so that nothing can be found of them now is no failure.
        let turn = self.next_to_look_at(&attached);
        let found = self.look(leases, &turn, deadline).await.unwrap_or_default();
        let mut to_attach = new;
        for (at, found) in turn.into_iter().zip(found) {
            match found {
                Ok(named) if named.as_deref() == Some(&*process) => {}
                // Ours, but what is renewed is not what holds it.
                Ok(_) => to_attach.push(at),
                Err(error) => answers[at] = Err(error),
            }
        }
        for some in to_attach.chunks(ATTACHED_AT_ONCE) {
            for (at, answer) in self.attach(leases, some, &process, lease, deadline).await {
                answers[at] = answer;
            }
        }
        for (renewal, answer) in leases.iter().zip(&mut answers) {
            if let Err(error) = answer {
                if !error.retryable() {
                    self.forget(&renewal.session, renewal.token);
                }
                *error = error.clone().in_session(&renewal.session);
            }
        }
        Ok(answers)
    }

    /// Makes the lease of this process for sessions held so long last from now; a new one if that is no more.
    async fn renew_process(&self, lease: Duration, deadline: Instant) -> Result<LeaseId> {
        let _one = self.renewing.lock().await;
        let statements = &self.connection.statements;
        if let Some(known) = self.lease_lasting(lease) {
            let id = &*known;
            let rows = self
                .connection
                .query(Lane::All, &statements.renew, &[(&id, Type::BYTEA)], deadline)
                .await?;
            if !rows.is_empty() {
                return Ok(known);
            }
            // Whoever removed it took a session that named it; who else did may be found out only one by one.
            self.leases.lock().remove(&lease);
        }
        let made: LeaseId = getrandom::u64()
            .unwrap_or_default()
            .to_be_bytes()
            .as_slice()
            .into();
        let (id, lasts) = (&*made, signed_millis(lease));
        let parameters: [Parameter<'_>; 2] = [(&id, Type::BYTEA), (&lasts, Type::INT8)];
        self.connection
            .query(Lane::All, &statements.new_lease, &parameters, deadline)
            .await?;
        self.leases.lock().insert(lease, made.clone());
        Ok(made)
    }

    /// Starts what goes along with renewals and is not urgent; what fails is done by a later one.
    fn tidy(self: &Arc<Self>) {
        if !self.releaser.is_late() || self.tidying.swap(true, Ordering::AcqRel) {
            return;
        }
        let renewer = self.clone();
        runtime::spawn(async move {
            let _ = renewer.releaser.release_late().await;
            renewer.tidying.store(false, Ordering::Release);
        });
    }

    /// Whose turn it is to be looked at; all of them if they are few.
    fn next_to_look_at(&self, attached: &[usize]) -> Vec<usize> {
        let count = attached.len().min(LOOKED_AT);
        let from = self.looked_at.fetch_add(count, Ordering::Relaxed);
        (from..from + count)
            .map(|at| attached[at % attached.len()])
            .collect()
    }

    /// Which lease the sessions' rows name; an error for those that are not ours any more.
    async fn look(&self, leases: &[Renewal], which: &[usize], deadline: Instant) -> Result<Vec<Looked>> {
        if which.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = which.iter().map(|&at| leases[at].session.as_bytes()).collect();
        let statement = &self.connection.statements.look;
        let rows = self
            .connection
            .query(Lane::All, statement, &[(&ids, Type::BYTEA_ARRAY)], deadline)
            .await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let state = (
                column::<i64>(row, 1)?,
                column::<Option<i64>>(row, 2)?,
                column::<Option<Vec<u8>>>(row, 3)?,
            );
            found.insert(session_of(column(row, 0)?)?, state);
        }
        let looked = which.iter().map(|&at| {
            let renewal = &leases[at];
            let Some((token, version, named)) = found.get(&renewal.session) else {
                return Err(gone(renewal, 0));
            };
            let token = unsigned(*token);
            if token != renewal.token {
                return Err(fenced(LAYER, Some(token)));
            }
            // One that was deleted begins anew at 0, and its owner knows. One with an outbox is ahead of its row.
            match version.map(unsigned) {
                Some(version) if version > 0 && version < renewal.version => Err(gone(renewal, version)),
                _ => Ok(named.clone()),
            }
        });
        Ok(looked.collect())
    }

    /// Writes the lease of this process into the rows of those sessions; an answer for each.
    async fn attach(
        &self,
        leases: &[Renewal],
        which: &[usize],
        process: &LeaseId,
        lease: Duration,
        deadline: Instant,
    ) -> Vec<(usize, Result<()>)> {
        let mut answers = Vec::with_capacity(which.len());
        let mut waiting = which.to_vec();
        let mut pauses = PAUSES;
        for _ in 0..ATTEMPTS {
            match self.try_attach(leases, &waiting, process, lease, deadline).await {
                Ok(verdicts) => {
                    let mut later = Vec::new();
                    for (at, found) in waiting.iter().copied().zip(verdicts) {
                        let renewal = &leases[at];
                        match found {
                            (verdict::DONE, _) => {
                                self.is_attached(&renewal.session, renewal.token, process.clone());
                                answers.push((at, Ok(())));
                            }
                            (verdict::BUSY, _) => later.push(at),
                            (verdict::NONE, _) => answers.push((at, Err(gone(renewal, 0)))),
                            (_, token) => answers.push((at, Err(fenced(LAYER, token)))),
                        }
                    }
                    waiting = later;
                }
                Err(error) => {
                    answers.extend(waiting.drain(..).map(|at| (at, Err(error.clone()))));
                }
            }
            if waiting.is_empty() {
                return answers;
            }
            pauses.wait_jittered().await;
        }
        answers.extend(waiting.into_iter().map(|at| (at, Err(busy()))));
        answers
    }

    async fn try_attach(
        &self,
        leases: &[Renewal],
        which: &[usize],
        process: &LeaseId,
        lease: Duration,
        deadline: Instant,
    ) -> Result<Vec<(i32, Option<Token>)>> {
        let ids: Vec<_> = which.iter().map(|&at| leases[at].session.as_bytes()).collect();
        let tokens: Vec<_> = which.iter().map(|&at| long(leases[at].token)).collect();
        let (process, lasts) = (&**process, signed_millis(lease));
        let parameters: [Parameter<'_>; 4] = [
            (&ids, Type::BYTEA_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&process, Type::BYTEA),
            (&lasts, Type::INT8),
        ];
        let statement = &self.connection.statements.attach;
        let rows = self
            .connection
            .query(Lane::All, statement, &parameters, deadline)
            .await?;
        let mut verdicts = vec![None; which.len()];
        for row in &rows {
            let at = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            let found = (
                column::<i32>(row, 1)?,
                column::<Option<i64>>(row, 2)?.map(unsigned),
            );
            if let Some(verdict) = verdicts.get_mut(at) {
                *verdict = Some(found);
            }
        }
        let all: Option<Vec<_>> = verdicts.into_iter().collect();
        all.ok_or_else(|| corrupt("a renewal was not answered"))
    }

    /// Removes the leases of this process, which holds nothing any more.
    pub(super) async fn close(&self) {
        let leases: Vec<LeaseId> = self.leases.lock().drain().map(|(_, id)| id).collect();
        if leases.is_empty() || self.releaser.is_late() {
            return;
        }
        let ids: Vec<&[u8]> = leases.iter().map(|id| &**id).collect();
        let statement = &self.connection.statements.drop_leases;
        // Otherwise they run out.
        let _ = self.connection.ask(statement, &[(&ids, Type::BYTEA_ARRAY)]).await;
    }
}

fn gone(renewal: &Renewal, actual: u64) -> crate::error::Error {
    let text = "PostgreSQL no longer has what this owner has written of the session";
    session_lost(LAYER, text, Some(renewal.version), actual)
}
