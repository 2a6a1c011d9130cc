//! Taking a session over.
//!
//! The lease is MongoDB's. Redis' lease matters only if the session's document says that an owner may have
//! acknowledged commits in its outbox: then both must be free, and what the outbox holds goes to MongoDB before the
//! session is handed out. Redis' lease is first reserved and its outbox looked at, which fences nobody: an owner whose
//! lease turns out to stand in MongoDB, or whose outbox cannot be taken over, is not disturbed. Only then MongoDB's token
//! is raised. Redis gets that token, and takes no smaller one afterwards.

use std::sync::Arc;

use super::cache::{Installed, Reserved, Revision};
use super::inherit::{is_lost, outbox_out_of_reach};
use super::slot::Slot;
use super::state::Core;
use super::{LAYER, fenced};
use crate::backend::{Acquire, AcquireOutcome, Acquired, Grant, OutboxOpened, Seen, SessionMetadata};
use crate::error::{Error, Kind, Result};
use crate::time::Moment;

/// So many owners with outboxes may come and go while a session is opened.
const OTHERS: usize = 4;

impl Core {
    pub async fn acquire(self: &Arc<Self>, request: Acquire) -> Result<Acquired> {
        self.ensure_open()?;
        let session = request.session.clone();
        let request_id = getrandom::u64().map_err(|cause| {
            Error::new(Kind::Internal, LAYER, "the system has no randomness").because(&cause)
        })?;
        let mut reserved = false;
        let answer = self.acquire_as(request_id, &request, &mut reserved).await;
        if reserved && !matches!(answer, Ok(Acquired::Granted(_))) {
            // It runs out by itself.
            let cancelled = self
                .cache
                .call(|cache| cache.cancel_reservation(&session, request_id));
            let _ = cancelled.await;
        }
        answer
    }

    async fn acquire_as(
        self: &Arc<Self>,
        request_id: u64,
        request: &Acquire,
        reserved: &mut bool,
    ) -> Result<Acquired> {
        let session = &request.session;
        let mut ready_for = None;
        let mut suspected = None;
        for _ in 0..OTHERS {
            let asked = Moment::now();
            let taken = self
                .primary
                .call(|primary| primary.acquire_checking_outbox(request.clone(), ready_for));
            match taken.await? {
                AcquireOutcome::Held(holder) => return Ok(Acquired::Held(holder)),
                AcquireOutcome::Granted(grant, metadata) => {
                    let token = grant.token;
                    // Large, and most of it is rarely needed.
                    let taken =
                        Box::pin(self.take_over(request, grant, metadata, asked, *reserved, request_id));
                    let taken = self.primary.keeping(session, token, request.lease, taken).await;
                    if taken.is_err() {
                        // The caller learns no token, so nobody else would give the lease back.
                        let released = self
                            .primary
                            .call_unguarded(|primary| primary.release(session, token));
                        let _ = released.await;
                    }
                    return taken.map(Acquired::Granted);
                }
                AcquireOutcome::Outbox(metadata) => {
                    let owner = metadata.outbox.unwrap_or_default();
                    // What that owner acknowledged is in this process' memory.
                    let remembered = self.sessions.former(session, owner).is_some();
                    let reserve = |preempt| {
                        let (owner, lease) = (&request.owner, request.lease);
                        self.cache.call(move |cache| {
                            cache.reserve(session, request_id, owner, lease, preempt, metadata.version)
                        })
                    };
                    let mut asked = reserve(request.preempt).await;
                    if let Ok(Reserved::Held(holder)) = &asked
                        && holder.owner.is_known_dead()
                    {
                        // Perhaps another one than MongoDB's lease names, and a request displaces one holder.
                        asked = reserve(Some(holder.token)).await;
                    }
                    match asked {
                        Ok(Reserved::Yes(left)) => {
                            *reserved = true;
                            // Before MongoDB's token is raised: that fences an owner which may still have, in its
                            // memory, what Redis lost.
                            if let Some(lost) = is_lost(&left, owner, &metadata)
                                && !remembered
                                && !self.config.accept_lost_outbox
                            {
                                // Unless the owner was bringing it to MongoDB at this very moment.
                                if suspected.replace(metadata.version) == Some(metadata.version) {
                                    return Err(lost);
                                }
                                continue;
                            }
                        }
                        Ok(Reserved::Held(holder)) => return Ok(Acquired::Held(holder)),
                        Err(_) if remembered => {}
                        Err(error) => return Err(outbox_out_of_reach(&error)),
                    }
                    ready_for = Some(owner);
                }
            }
        }
        let message = "gave up after repeated write conflicts";
        Err(Error::new(Kind::Unavailable, LAYER, message))
    }

    async fn take_over(
        self: &Arc<Self>,
        request: &Acquire,
        grant: Grant,
        metadata: SessionMetadata,
        asked: Moment,
        reserved: bool,
        request_id: u64,
    ) -> Result<Grant> {
        let session = &request.session;
        let token = grant.token;
        let mut revision = Revision {
            token,
            version: metadata.version,
            commit_id: metadata.commit_id,
            updated_at: grant.head.updated_at,
        };
        let mut metadata = metadata;
        let mut inherited = None;
        let mut seen = None;
        if metadata.outbox.is_some() {
            let before = revision;
            let from;
            (from, seen) = self.inherit(session, &metadata, reserved, &mut revision).await?;
            inherited = Some((from, revision.version));
            if revision != before {
                metadata = self.metadata_of(session, token).await?;
                revision.updated_at = metadata.updated_at;
            }
        }
        let owner = self.sessions.shared_owner(&request.owner);
        let slot_at = |revision, metadata: &SessionMetadata| {
            let slot = Slot::new(
                session.clone(),
                revision,
                owner.clone(),
                request_id,
                request.lease,
            );
            slot.lives_for(metadata.expires_in, asked);
            slot
        };
        let mut slot = slot_at(revision, &metadata);
        for left in (0..OTHERS).rev() {
            let installed = match self.begin(&slot, seen, metadata.inherited).await {
                Ok(Installed::Yes(installed)) => Some(installed),
                // Of a timeline that the primary does not know: neither to be trusted nor to be written over.
                Ok(_) => {
                    self.metadata_of(session, token).await?;
                    None
                }
                // The session is served from MongoDB until Redis is back.
                Err(_) => None,
            };
            let announces = installed.is_some() && self.config.uses_outbox();
            if announces {
                let is_at = (slot.revision().version, slot.revision().commit_id);
                let opened = self
                    .primary
                    .call(|primary| primary.open_outbox(session, token, is_at, inherited));
                match opened.await? {
                    OutboxOpened::Yes => {}
                    OutboxOpened::Fenced => return Err(fenced(None)),
                    // Somebody without a lease changed the session after it was granted.
                    OutboxOpened::Moved if left > 0 => {
                        metadata = self.metadata_of(session, token).await?;
                        seen = installed;
                        revision = Revision {
                            version: metadata.version,
                            commit_id: metadata.commit_id,
                            updated_at: metadata.updated_at,
                            ..revision
                        };
                        slot = slot_at(revision, &metadata);
                        continue;
                    }
                    OutboxOpened::Moved => {
                        let message = "others change the session faster than it can be opened";
                        return Err(Error::new(Kind::Unavailable, LAYER, message));
                    }
                }
            } else if metadata.outbox.is_some() {
                let closed = self
                    .primary
                    .call(|primary| primary.close_outbox(session, token, inherited));
                if !closed.await? {
                    return Err(fenced(None));
                }
            }
            let installed = installed.map(|installed| (installed, announces));
            return self.hand_out(request, grant, slot, installed).await;
        }
        unreachable!("the last round returns")
    }

    /// Has a session served that is ready for it; by the cache too, if that is at a revision of this owner's.
    async fn hand_out(
        &self,
        request: &Acquire,
        grant: Grant,
        slot: Slot,
        installed: Option<(Revision, bool)>,
    ) -> Result<Grant> {
        let slot = Arc::new(slot);
        if let Some((revision, announced)) = installed {
            slot.installed(revision, announced);
            self.copies.start_copying(&slot);
        }
        let head = slot.head();
        let records = if grant.head.version == head.version {
            grant.records
        } else {
            self.primary
                .call(|primary| primary.read(&request.session, &request.read, Seen::NOTHING))
                .await?
        };
        self.sessions.put(slot);
        Ok(Grant {
            head,
            records,
            ..grant
        })
    }
}
