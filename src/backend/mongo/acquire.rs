//! Taking sessions: one update that raises the token, then what the last owner left is repaired.

use std::sync::Arc;

use bytes::Bytes;
use mongodb::bson::{Bson, Document, doc};

use super::LAYER;
use super::apply::Applier;
use super::clock::{Now, after};
use super::conflicts::Conflicts;
use super::connection::Connection;
use super::documents::{
    IDLE, SessionDoc, blank_session, epoch_prefix, long, millis, new_epoch, owner_document,
};
use super::holders::Holders;
use super::metadata::{Outboxes, metadata_of, push_inherited};
use super::read::Reader;
use super::release::Releaser;
use super::renew::Renewer;
use super::slots::{Known, Slots};
use super::staging::Staging;
use super::sweep::Collector;
use crate::backend::{Acquire, AcquireOutcome, Grant, Renewal, client_token_refused, keeping};
use crate::error::Result;
use crate::runtime;
use crate::time::{Moment, signed_millis};

/// A session's document after the lease was taken, and the chunks that stood beside it before.
pub(super) struct Taken {
    session: SessionDoc,
    chunks: Vec<String>,
}

/// Takes sessions.
pub(super) struct Acquirer {
    pub connection: Arc<Connection>,
    pub slots: Arc<Slots>,
    pub holders: Arc<Holders>,
    pub staging: Arc<Staging>,
    pub applier: Arc<Applier>,
    pub reader: Arc<Reader>,
    pub renewer: Arc<Renewer>,
    pub releaser: Arc<Releaser>,
    pub collector: Arc<Collector>,
}

impl Acquirer {
    /// Takes the lease, unless an outbox stands in the way.
    pub(super) async fn acquire(&self, request: Acquire, outboxes: Outboxes) -> Result<AcquireOutcome> {
        let slot = self.slots.get_or_make(&request.session);
        let mut known = slot.known.lock().await;
        let mut conflicts = Conflicts::for_at_most(self.connection.timeout);
        let (taken, now, asked) = loop {
            let asked = Moment::now();
            let found = self.connection.session(&request.session).await?;
            let now = self.connection.now().await?;
            if let Some(found) = &found {
                check_client_token(&request, found)?;
                if let Some(holder) = self.holders.holder(&request, found, now, asked).await? {
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
            conflicts.pause().await?;
        };
        let lease = [Renewal {
            session: request.session.clone(),
            token: taken.session.token,
            version: taken.session.version,
        }];
        let (renewer, leases, lasts) = (&self.renewer, &lease, request.lease);
        let renew = move || async move { drop(renewer.renew(leases, lasts).await) };
        let repaired = self.repair_and_read(&request, &taken, asked);
        let records = match keeping(request.lease, renew, repaired).await {
            Ok(records) => records,
            Err(error) => {
                // The caller learns no token, so nobody else would give the lease back; it runs out by itself.
                let _ = self
                    .releaser
                    .give_back(&request.session, taken.session.token, None)
                    .await;
                return Err(error);
            }
        };
        self.holders.forget(&request.session);
        let session = taken.session;
        *known = Some(Known::of(&session));
        slot.learn(&session);
        slot.forget_queue();
        slot.owned_until(asked.checked_add(request.lease));
        if !session.garbage.is_empty() {
            let collector = self.collector.clone();
            let (id, garbage) = (request.session, session.garbage.clone());
            // Nobody can see it, so nobody need wait for it; what fails is left to the next owner.
            runtime::spawn(async move { collector.collect(&id, &garbage).await });
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
            "leaseLasts": signed_millis(request.lease),
        };
        if let Some(client_token) = request.client_token {
            set.insert("claim", long(client_token));
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
            self.staging.list_chunks(&request.session).await?
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
        let mut unset = doc! { "lease": "", "outboxStep": "" };
        let (mut update, mut push) = (Document::new(), Document::new());
        let given_up = found.outbox.filter(|_| outboxes == Outboxes::GivenUp);
        if let Some(outbox) = given_up {
            // Its owner writes no more from here on: what it has beyond this version comes too late.
            filter.insert("version", long(found.version));
            let version = if found.exists(now.earliest) {
                found.version
            } else {
                0
            };
            push.extend(push_inherited((outbox, version)));
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
            push.insert("garbage", &*found.epoch);
        }
        if !push.is_empty() {
            update.insert("$push", push);
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
        self.applier
            .apply(&request.session, &session.epoch, &session.pending, asked)
            .await?;
        self.staging.remove_chunks(chunks, session).await?;
        if session.version == 0 {
            return Ok(vec![None; request.read.len()]);
        }
        let prefix = epoch_prefix(&request.session, &session.epoch);
        let mut records = self.reader.records_of(&prefix, &request.read).await?;
        Ok(request
            .read
            .iter()
            .map(|key| records.remove(key).and_then(|record| record.value))
            .collect())
    }
}

fn check_client_token(request: &Acquire, found: &SessionDoc) -> Result<()> {
    match (request.client_token, found.client_token) {
        (Some(client_token), Some(accepted)) if client_token < accepted => {
            Err(client_token_refused(LAYER, client_token, accepted))
        }
        _ => Ok(()),
    }
}
