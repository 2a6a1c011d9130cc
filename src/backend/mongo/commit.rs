//! The commit point: one update of the session's document, which takes the new version and the sealed patch.
//!
//! The update is guarded by incarnation, version, fencing token and expiry. When it is acknowledged, the patch is
//! durable and visible; the records follow in the background.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use mongodb::bson::{Bson, Document, doc};
use tokio::sync::OwnedMutexGuard;

use super::LAYER;
use super::apply::{Applier, commands};
use super::clock::Now;
use super::conflicts::Conflicts;
use super::connection::Connection;
use super::documents::{
    Entry, IDLE, SessionDoc, blank_session, entry_document, long, millis, new_epoch, size_of,
    tombstone_update,
};
use super::errors::timed_out;
use super::metadata::beside_an_outbox;
use super::slots::{Known, Slot, Slots};
use super::staging::{INLINE_BYTES, Staging, check_sizes};
use crate::backend::{Commit, Fence, Head, fenced, session_lost, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::time::Moment;

/// How many commits of `exclusive: false` writers a session remembers, to know one that is sent again.
const RECENT: i32 = 64;
/// What a commit point has beside its changes.
const STATEMENT_OVERHEAD: usize = 512;

/// A commit on its way, with its session's slot.
struct Job {
    at: usize,
    commit: Commit,
    slot: Arc<Slot>,
    known: OwnedMutexGuard<Option<Known>>,
}

/// What the session's document says of a commit.
enum Verdict {
    /// It is done already.
    Done,
    /// It may build on this document.
    Go,
}

/// Passes commit points.
pub(super) struct Committer {
    pub connection: Arc<Connection>,
    pub slots: Arc<Slots>,
    pub staging: Arc<Staging>,
    pub applier: Arc<Applier>,
}

impl Committer {
    /// Commits each; the sessions whose records are to follow are given back with the answers.
    pub(super) async fn commit_points(&self, commits: Vec<Commit>) -> (Vec<Result<Head>>, Vec<Arc<Slot>>) {
        let mut answers: Vec<_> = commits.iter().map(|_| Err(timed_out())).collect();
        let mut touched = Vec::new();
        let mut waiting: Vec<_> = commits.into_iter().enumerate().collect();
        // One commit of each session at a time; later ones of the same session in a later round.
        while !waiting.is_empty() {
            let mut seen = HashSet::new();
            let (mut round, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, commit)| seen.insert(commit.session.clone()));
            waiting = later;
            // Always locked in the same order, so that two calls never wait for each other.
            round.sort_by(|(_, a), (_, b)| a.session.cmp(&b.session));
            let mut jobs = Vec::with_capacity(round.len());
            for (at, commit) in round {
                if let Err(error) = self
                    .connection
                    .ensure_open()
                    .and_then(|()| check_sizes(&commit.changes))
                {
                    answers[at] = Err(error.in_session(&commit.session));
                    continue;
                }
                let slot = self.slots.get_or_make(&commit.session);
                let known = slot.known.clone().lock_owned().await;
                jobs.push(Job {
                    at,
                    commit,
                    slot,
                    known,
                });
            }
            touched.extend(jobs.iter().map(|job| job.slot.clone()));
            self.commit_round(jobs, &mut answers).await;
        }
        (answers, touched)
    }

    async fn commit_round(&self, jobs: Vec<Job>, answers: &mut [Result<Head>]) {
        // Pending patches must not outgrow their document.
        let full: Vec<_> = jobs
            .iter()
            .filter(|job| job.slot.full())
            .map(|job| job.slot.clone())
            .collect();
        self.applier.start(full.iter().cloned());
        join_all(full.iter().map(|slot| slot.settle())).await;
        let (fast, mut slow): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Job::is_fast);
        if !fast.is_empty() {
            slow.extend(self.commit_fast(fast, answers).await);
        }
        let slow = join_all(slow.into_iter().map(|mut job| async {
            let answer = self.commit_slow(&mut job).await;
            if answer.is_err() {
                job.slot.forget();
                *job.known = None;
            }
            (job, answer)
        }));
        for (job, answer) in slow.await {
            answers[job.at] = answer.map_err(|error| error.in_session(&job.commit.session));
        }
    }

    /// Commits what builds on a version known here, many sessions in one command. What did not go through comes
    /// back, to be looked at one by one: the command says only how many did.
    async fn commit_fast(&self, jobs: Vec<Job>, answers: &mut [Result<Head>]) -> Vec<Job> {
        let now = match self.connection.now().await {
            Ok(now) => now,
            Err(error) => {
                for job in jobs {
                    answers[job.at] = Err(error.clone().in_session(&job.commit.session));
                }
                return Vec::new();
            }
        };
        let mut slow = Vec::new();
        let mut ready = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Some(known) = job.known.clone() else {
                slow.push(job);
                continue;
            };
            // Until the answer is here, also if this future is dropped.
            job.slot.begin_doubt();
            let entry = Arc::new(Entry {
                version: known.version + u64::from(job.commit.patches),
                changes: Some(job.commit.changes.clone()),
                stage: None,
            });
            let statement = commit_statement(&job.commit, &known, &entry, job.slot.queued(), now, None);
            let size = STATEMENT_OVERHEAD + size_of(&job.commit.changes);
            ready.push(((job, known, entry, statement), size));
        }
        for group in commands(ready) {
            let mut statements = Vec::with_capacity(group.len());
            let mut sent = Vec::with_capacity(group.len());
            for (job, known, entry, statement) in group {
                statements.push(statement);
                sent.push((job, known, entry));
            }
            let sessions = &self.connection.sessions;
            match self.connection.update_each(sessions, statements).await {
                Ok(updated) => {
                    let mut refused: HashMap<_, _> = updated.refused.into_iter().collect();
                    let all = updated.matched + refused.len() as u64 == sent.len() as u64;
                    for (index, (mut job, known, entry)) in sent.into_iter().enumerate() {
                        match refused.remove(&index) {
                            Some(error) => answers[job.at] = job.failed(error),
                            None if all => answers[job.at] = Ok(job.passed(&known, entry, now)),
                            None => slow.push(job),
                        }
                    }
                }
                // The command was refused for what one of them has, perhaps: each finds out for itself.
                Err(error) if sent.len() > 1 && !is_outage(&error) => {
                    slow.extend(sent.into_iter().map(|(job, ..)| job));
                }
                Err(error) => {
                    for (mut job, ..) in sent {
                        answers[job.at] = job.failed(error.clone());
                    }
                }
            }
        }
        slow
    }

    /// Reads where the session stands, repairs it, and commits if that may be; again if somebody else was faster.
    async fn commit_slow(&self, job: &mut Job) -> Result<Head> {
        let mut conflicts = Conflicts::for_at_most(self.connection.timeout);
        let staged = size_of(&job.commit.changes) > INLINE_BYTES;
        let session = job.commit.session.clone();
        loop {
            job.known.take();
            job.slot.begin_doubt();
            let asked = Moment::now();
            let found = if staged {
                self.staging.begin(&session).await?
            } else {
                self.connection.session(&session).await?
            };
            let now = self.connection.now().await?;
            if let (Some(found), Fence::Shared) = (&found, job.commit.fence) {
                check_outbox(&job.commit, found)?;
            }
            let found = match (found, job.commit.fence) {
                (Some(document), _) if !document.expired(now.earliest) => document,
                (None, Fence::Shared) => {
                    job.check_expected(0)?;
                    let blank = blank_session(&session, &new_epoch(), now.plus(IDLE));
                    self.connection
                        .insert(&self.connection.sessions, vec![blank])
                        .await?;
                    continue;
                }
                (Some(document), Fence::Shared) => {
                    job.check_expected(0)?;
                    self.begin_anew(&session, &document, now).await?;
                    continue;
                }
                (Some(document), Fence::Owner(token)) if document.token != token => {
                    return Err(fenced(LAYER, Some(document.token)));
                }
                // Nothing was written, so nothing was lost but the lease.
                (None, Fence::Owner(_)) if job.commit.base == 0 => return Err(fenced(LAYER, None)),
                (_, Fence::Owner(_)) => return Err(nothing_left(job.commit.base)),
            };
            match judge(&job.commit, &found)? {
                Verdict::Done => {
                    job.slot.learn(&found);
                    *job.known = Some(Known::of(&found));
                    return Ok(Head {
                        version: job.version_of(&found),
                        updated_at: found.updated_at,
                    });
                }
                Verdict::Go => {}
            }
            self.applier
                .apply(&session, &found.epoch, &found.pending, asked)
                .await?;
            let known = Known::of(&found);
            let stage = if staged {
                let staged = self
                    .staging
                    .stage(&session, &known.epoch, &job.commit.changes)
                    .await?;
                Some(staged)
            } else {
                None
            };
            let entry = Arc::new(Entry {
                version: known.version + u64::from(job.commit.patches),
                changes: Some(job.commit.changes.clone()),
                stage,
            });
            let sweeps = staged.then_some(found.sweeps);
            let statement = commit_statement(&job.commit, &known, &entry, 0, now, sweeps);
            let updated = self
                .connection
                .update(&self.connection.sessions, vec![statement])
                .await?;
            if updated.matched == 1 {
                job.slot.forget_queue();
                return Ok(job.passed(&known, entry, now));
            }
            if staged {
                self.staging.unstage(&[entry]).await?;
            }
            conflicts.pause().await?;
        }
    }

    /// Turns an expired session that the TTL index has not reaped yet into a new incarnation without records.
    async fn begin_anew(&self, session: &str, found: &SessionDoc, now: Now) -> Result<bool> {
        let filter = doc! {
            "_id": session, "epoch": &*found.epoch, "version": long(found.version), "token": long(found.token),
            "expiresAt": found.expires_at,
        };
        self.connection
            .update_session(filter, tombstone_update(&found.epoch, &new_epoch(), now))
            .await
    }
}

impl Job {
    /// Whether the commit can be sent without reading first.
    fn is_fast(&self) -> bool {
        let Some(known) = self.known.as_ref() else {
            return false;
        };
        let builds_on = match self.commit.fence {
            Fence::Owner(_) => known.version == self.commit.base,
            Fence::Shared => !self.commit.expected || known.version == self.commit.base,
        };
        builds_on && !self.slot.full() && size_of(&self.commit.changes) <= INLINE_BYTES
    }

    /// The commit point is passed.
    fn passed(&mut self, known: &Known, entry: Arc<Entry>, now: Now) -> Head {
        let version = entry.version;
        let expires_at = self.commit.ttl.map(|ttl| now.plus(ttl));
        self.slot.push(&known.epoch, entry, expires_at);
        *self.known = Some(Known {
            epoch: known.epoch.clone(),
            version,
        });
        Head {
            version,
            updated_at: millis(now.server),
        }
    }

    /// One that may have arrived is sent again as it was: it is guarded by the version, so what was known then is as
    /// good as ever.
    fn failed(&mut self, error: Error) -> Result<Head> {
        if !is_outage(&error) {
            self.slot.forget();
            *self.known = None;
        }
        Err(error.in_session(&self.commit.session))
    }

    fn check_expected(&self, version: u64) -> Result<()> {
        if self.commit.expected && self.commit.base != version {
            return Err(version_mismatch(LAYER, self.commit.base, version));
        }
        Ok(())
    }

    /// The version this commit made, which stands in the document already.
    fn version_of(&self, found: &SessionDoc) -> u64 {
        let recent = found.recent.iter().find(|(id, _)| *id == self.commit.id);
        recent.map_or(found.version, |(_, version)| *version)
    }
}

/// A commit without owner has no place beside an outbox, unless it was there before.
fn check_outbox(commit: &Commit, found: &SessionDoc) -> Result<()> {
    let done = found.recent.iter().any(|(id, _)| *id == commit.id);
    match found.outbox {
        Some(_) if !done => Err(beside_an_outbox()),
        _ => Ok(()),
    }
}

/// Whether a commit is done, may go on, or must be refused.
fn judge(commit: &Commit, found: &SessionDoc) -> Result<Verdict> {
    match commit.fence {
        Fence::Owner(token) => {
            if found.token != token {
                return Err(fenced(LAYER, Some(found.token)));
            }
            if found.version == commit.version() && found.commit_id == commit.id {
                return Ok(Verdict::Done);
            }
            if found.version != commit.base {
                return Err(version_mismatch(LAYER, commit.base, found.version));
            }
            Ok(Verdict::Go)
        }
        Fence::Shared => {
            if found.recent.iter().any(|(id, _)| *id == commit.id) {
                return Ok(Verdict::Done);
            }
            if commit.expected && found.version != commit.base {
                return Err(version_mismatch(LAYER, commit.base, found.version));
            }
            Ok(Verdict::Go)
        }
    }
}

/// The commit point as an update statement. `unapplied` is how many of the newest pending patches must stay, and
/// `sweeps` guards a patch that is staged.
fn commit_statement(
    commit: &Commit,
    known: &Known,
    entry: &Entry,
    unapplied: usize,
    now: Now,
    sweeps: Option<i64>,
) -> Document {
    let mut filter = doc! {
        "_id": &*commit.session, "epoch": &*known.epoch, "version": long(known.version),
        "$or": [{ "expiresAt": null }, { "expiresAt": { "$gt": now.earliest } }],
    };
    if let Some(sweeps) = sweeps {
        filter.insert("sweeps", sweeps);
    }
    let keep = i32::try_from(unapplied + 1).unwrap_or(i32::MAX);
    let pending = vec![entry_document(entry)];
    let mut push = doc! { "pending": { "$each": pending, "$slice": -keep } };
    match commit.fence {
        Fence::Owner(token) => {
            filter.insert("token", long(token));
        }
        Fence::Shared => {
            let recent = vec![doc! { "id": long(commit.id), "v": long(entry.version) }];
            filter.insert("recent.id", doc! { "$ne": long(commit.id) });
            filter.insert("outbox", Bson::Null);
            push.insert("recent", doc! { "$each": recent, "$slice": -RECENT });
        }
    }
    let mut set = doc! {
        "version": long(entry.version), "updatedAt": now.server.timestamp_millis(), "commitId": long(commit.id),
    };
    let mut update = doc! { "$push": push };
    match commit.ttl {
        Some(ttl) => {
            set.insert("expiresAt", Bson::DateTime(now.plus(ttl)));
        }
        None => {
            update.insert("$unset", doc! { "expiresAt": "" });
        }
    }
    update.insert("$set", set);
    doc! { "q": filter, "u": update }
}

fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Timeout | Kind::Unavailable)
}

fn nothing_left(expected: u64) -> Error {
    session_lost(
        LAYER,
        "MongoDB no longer has what this owner has written",
        Some(expected),
        0,
    )
}
