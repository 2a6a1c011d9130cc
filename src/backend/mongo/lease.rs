//! Leases: who owns a session, and until when by the server's clock.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::apply::backoff;
use super::clock::{Now, after};
use super::commit::millis;
use super::documents::{SessionDoc, blank_session, epoch_prefix, long, new_epoch, owner_document};
use super::outbox::metadata_of;
use super::state::{Core, Known};
use super::{LAYER, MongoBackend, watched};
use crate::backend::{Acquire, AcquireOutcome, Grant, Holder, SessionId, Token, keeping};
use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::time::Moment;

/// How long the document of a session that was never written, or was deleted, outlives its last lease.
pub(super) const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Leases given back by one command.
const RELEASED_AT_ONCE: usize = 100;

/// What whoever opens a session does about an outbox that its document names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outboxes {
    /// Nobody passes.
    Respected,
    /// Nobody passes but who is ready for the outbox of this owner.
    ReadyFor(Option<Token>),
    /// Passed, and written down as passed: what stands in it comes too late.
    GivenUp,
}

impl Outboxes {
    fn pass(self, outbox: Token) -> bool {
        match self {
            Self::Respected => false,
            Self::ReadyFor(owner) => owner == Some(outbox),
            Self::GivenUp => true,
        }
    }
}

/// A session's document after the lease was taken, and the chunks that stood beside it before.
pub(super) struct Taken {
    session: SessionDoc,
    chunks: Vec<String>,
}

impl Core {
    /// Takes the lease, unless an outbox stands in the way.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        request: Acquire,
        outboxes: Outboxes,
    ) -> Result<AcquireOutcome> {
        self.open()?;
        let slot = self.slot(&request.session);
        let mut known = slot.known.lock().await;
        let deadline = tokio::time::Instant::now() + self.connection.timeout;
        let mut attempt = 0;
        let (taken, now, asked) = loop {
            let asked = Moment::now();
            let found = self.session(&request.session).await?;
            let now = self.connection.now().await?;
            if let Some(found) = &found {
                check_claim(&request, found)?;
                if let Some(holder) = self.holder(&request, found, now, asked).await? {
                    return Ok(AcquireOutcome::Held(holder));
                }
                if found.outbox.is_some_and(|outbox| !outboxes.pass(outbox)) {
                    return Ok(AcquireOutcome::Outbox(metadata_of(found, now.earliest)));
                }
            }
            *known = None;
            slot.forget();
            if let Some(taken) = self.take(&request, found, now, outboxes).await? {
                break (taken, now, asked);
            }
            if tokio::time::Instant::now() >= deadline {
                let message = "gave up after repeated write conflicts";
                return Err(Error::new(Kind::Unavailable, LAYER, message));
            }
            backoff(attempt).await;
            attempt += 1;
        };
        let backend = MongoBackend(self.clone());
        let (session, token) = (&request.session, taken.session.token);
        let repaired = self.repair_and_read(&request, &taken, asked);
        let records = match keeping(&backend, session, token, request.lease, repaired).await {
            Ok(records) => records,
            Err(error) => {
                // The caller learns no token, so nobody else would give the lease back; it runs out by itself.
                let _ = self.give_back(&request.session, taken.session.token, None).await;
                return Err(error);
            }
        };
        self.watched.forget(&request.session);
        let session = taken.session;
        *known = Some(Known::of(&session));
        slot.learn(&session);
        slot.forget_queue();
        slot.owned_until(asked.checked_add(request.lease));
        if !session.garbage.is_empty() {
            let core = self.clone();
            let (id, garbage) = (request.session, session.garbage.clone());
            // Nobody can see it, so nobody need wait for it; what fails is left to the next owner.
            runtime::spawn(async move { core.collect(&id, &garbage).await });
        }
        let metadata = metadata_of(&session, now.earliest);
        let grant = Grant {
            token: session.token,
            head: session.head(),
            records,
            expires: true,
        };
        Ok(AcquireOutcome::Granted(grant, metadata))
    }

    /// Writes owner and token, if the document still says what was found; `None` if it does not.
    pub(super) async fn take(
        &self,
        request: &Acquire,
        found: Option<SessionDoc>,
        now: Now,
        outboxes: Outboxes,
    ) -> Result<Option<Taken>> {
        let previous = found.as_ref().map_or(0, |found| found.token);
        let token = (previous + 1).max(millis(now.server) * 1000);
        let lease_until = now.plus(request.lease);
        let mut set = doc! {
            "token": long(token), "owner": owner_document(&request.owner), "leaseUntil": lease_until,
            "leaseLasts": lasts(request.lease),
        };
        if let Some(claim) = request.claim {
            set.insert("claim", long(claim));
        }
        let Some(found) = found else {
            let mut document = blank_session(&request.session, &new_epoch(), after(lease_until, IDLE));
            document.extend(set);
            let session = SessionDoc::parse(&document)?;
            let inserted = self
                .connection
                .insert(&self.connection.sessions, vec![document])
                .await?;
            let chunks = Vec::new();
            return Ok(inserted.then_some(Taken { session, chunks }));
        };
        // Listed before `sweeps` is raised: see `staging`.
        let chunks = if found.staging {
            self.list_chunks(&request.session).await?
        } else {
            Vec::new()
        };
        let mut filter = doc! {
            "_id": &*request.session, "token": long(found.token), "epoch": &*found.epoch,
            "leaseUntil": found.lease_until.map_or(Bson::Null, Bson::DateTime),
            "lease": found.lease.as_deref(),
            // Its owner may have announced one after its lease ran out.
            "outbox": found.outbox.map(long),
        };
        let mut unset = doc! { "lease": "" };
        let mut update = Document::new();
        let given_up = found.outbox.filter(|_| outboxes == Outboxes::GivenUp);
        if let Some(outbox) = given_up {
            // Its owner writes no more from here on: what it has beyond this version comes too late.
            filter.insert("version", long(found.version));
            let version = if found.exists(now.earliest) {
                found.version
            } else {
                0
            };
            set.insert("inherited", doc! { "token": long(outbox), "v": long(version) });
            unset.insert("outbox", "");
        }
        if !found.exists(now.earliest) {
            filter.insert("version", long(found.version));
            filter.insert("expiresAt", found.expires_at.map_or(Bson::Null, Bson::DateTime));
            if found.expired(now.earliest) || found.outbox.is_none() || given_up.is_some() {
                set.insert("expiresAt", after(lease_until, IDLE));
            }
        }
        if found.expired(now.earliest) {
            set.extend(doc! {
                "version": 0_i64, "updatedAt": 0_i64, "epoch": &*new_epoch(), "commitId": 0_i64, "pending": [],
                "recent": [],
            });
            update.insert("$push", doc! { "garbage": &*found.epoch });
        }
        update.insert("$set", set);
        update.insert("$unset", unset);
        update.insert("$inc", doc! { "sweeps": 1_i64 });
        let modified = self.connection.modify_session(filter, update).await?;
        let session = modified.as_ref().map(SessionDoc::parse).transpose()?;
        Ok(session.map(|session| Taken { session, chunks }))
    }

    /// Rolls unapplied patches forward, and reads the records asked for.
    async fn repair_and_read(
        &self,
        request: &Acquire,
        taken: &Taken,
        asked: Moment,
    ) -> Result<Vec<Option<Bytes>>> {
        let Taken { session, chunks } = taken;
        self.apply(&request.session, &session.epoch, &session.pending, asked)
            .await?;
        self.remove_chunks(chunks, session).await?;
        if session.version == 0 {
            return Ok(vec![None; request.read.len()]);
        }
        let prefix = epoch_prefix(&request.session, &session.epoch);
        let mut records = self.records_of(&prefix, &request.read).await?;
        Ok(request
            .read
            .iter()
            .map(|key| records.remove(key).and_then(|record| record.value))
            .collect())
    }

    /// Gives the lease back. What fails is done by the next renewal: the lease may name that of this process, which
    /// would hold it for as long as the process lives.
    pub(super) async fn release(self: &Arc<Self>, session: &SessionId, token: Token) -> Result<()> {
        self.open()?;
        let released = self.try_release(session, token).await;
        if released.is_err() {
            self.unreleased.lock().push((session.clone(), token));
        }
        released
    }

    /// Gives back what could not be given back before.
    pub(super) async fn release_late(&self) -> Result<()> {
        let late = self.unreleased.lock().clone();
        for some in late.chunks(RELEASED_AT_ONCE) {
            let statements = some.iter().map(|(session, token)| {
                doc! { "q": { "_id": &**session, "token": long(*token) }, "u": free() }
            });
            let statements = statements.collect();
            let sessions = &self.connection.sessions;
            let updated = self.connection.update_each(sessions, statements).await?;
            let refused = |at| updated.refused.iter().any(|(refused, _)| *refused == at);
            let done: HashSet<_> = (0..some.len())
                .filter(|at| !refused(*at))
                .map(|at| &some[at])
                .collect();
            self.unreleased.lock().retain(|lease| !done.contains(lease));
        }
        Ok(())
    }

    async fn try_release(self: &Arc<Self>, session: &SessionId, token: Token) -> Result<()> {
        let Some(slot) = self.known_slot(session) else {
            return self.give_back(session, token, None).await;
        };
        let known = slot.known.lock().await;
        // The next owner need not do what can be done here; what fails is left to it.
        self.start_applying([slot.clone()]);
        slot.settle().await;
        let applied = known.as_ref().filter(|_| slot.queued() == 0);
        self.give_back(session, token, applied).await?;
        drop(known);
        self.drop_slot(session);
        Ok(())
    }

    /// Who holds the session, unless it is free or may be taken. The document was asked for at `asked`.
    async fn holder(
        &self,
        request: &Acquire,
        found: &SessionDoc,
        now: Now,
        asked: Moment,
    ) -> Result<Option<Holder>> {
        let Some(owner) = found
            .owner
            .as_ref()
            .filter(|_| request.displace != Some(found.token))
        else {
            return Ok(None);
        };
        let until = match (
            self.end_of_own_lease(&request.session, found, now, asked),
            &found.lease,
        ) {
            (Some(until), _) => until,
            (None, Some(lease)) => match self.end_of_lease(lease, now).await? {
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
            .watched
            .has_outlived(session, state, found.lease_lasts, asked);
        (!outlived).then_some(until)
    }

    /// Gives a lease back; if the session stands at `applied`, all its patches are applied and need not be kept.
    async fn give_back(&self, session: &str, token: Token, applied: Option<&Known>) -> Result<()> {
        let filter = doc! { "_id": session, "token": long(token) };
        if let Some(known) = applied {
            let mut filter = filter.clone();
            filter.insert("epoch", &*known.epoch);
            filter.insert("version", long(known.version));
            let mut update = free();
            update.insert("$set", doc! { "pending": [] });
            if self.connection.update_session(filter, update).await? {
                return Ok(());
            }
        }
        self.connection.update_session(filter, free()).await.map(drop)
    }
}

/// As it is written beside a lease.
pub(super) fn lasts(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

fn free() -> Document {
    doc! { "$unset": { "owner": "", "leaseUntil": "", "leaseLasts": "", "lease": "" } }
}

fn check_claim(request: &Acquire, found: &SessionDoc) -> Result<()> {
    match (request.claim, found.claim) {
        (Some(claim), Some(accepted)) if claim < accepted => Err(Error::new(
            Kind::Fenced,
            LAYER,
            "a higher token of the caller's own was accepted before",
        )
        .in_session(&request.session)
        .with("accepted", accepted)),
        _ => Ok(()),
    }
}
