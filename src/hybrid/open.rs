//! Taking a session over.
//!
//! The lease is MongoDB's. Redis' lease matters only if the session's document says that an owner may have
//! acknowledged commits in its outbox: then both must be free, and what the outbox holds goes to MongoDB before the
//! session is handed out. Redis' lease is first reserved and its outbox looked at, which fences nobody: an owner whose
//! lease turns out to stand in MongoDB, or whose outbox cannot be taken over, is not disturbed. Only then MongoDB's token
//! is raised. Redis gets that token, and takes no smaller one afterwards.

use std::sync::Arc;

use super::inherit::{is_lost, outbox_out_of_reach};
use super::slot::Slot;
use super::state::Core;
use super::{LAYER, fenced};
use crate::backend::mongo::{Beside, Ledger, Opened};
use crate::backend::redis::{Installed, Mark, Reserved};
use crate::backend::{Acquire, Acquired, Backend, Grant, Head, Seen, keeping};
use crate::error::{Error, Kind, Result};
use crate::time::Moment;

/// So many owners with outboxes may come and go while a session is opened.
const OTHERS: usize = 4;

impl Core {
    pub async fn acquire(self: &Arc<Self>, request: Acquire) -> Result<Acquired> {
        self.open()?;
        let session = request.session.clone();
        let attempt = getrandom::u64().map_err(|cause| {
            Error::new(Kind::Internal, LAYER, "the system has no randomness").because(&cause)
        })?;
        let mut reserved = false;
        let answer = self.acquire_as(attempt, &request, &mut reserved).await;
        if reserved && !matches!(answer, Ok(Acquired::Granted(_))) {
            // It runs out by itself.
            let _ = self.hot(self.redis.forgo(&session, attempt)).await;
        }
        answer
    }

    async fn acquire_as(
        self: &Arc<Self>,
        attempt: u64,
        request: &Acquire,
        reserved: &mut bool,
    ) -> Result<Acquired> {
        let session = &request.session;
        let mut ready_for = None;
        let mut suspected = None;
        for _ in 0..OTHERS {
            let asked = Moment::now();
            let taken = self.mongo.acquire_beside(request.clone(), ready_for);
            match self.truth(taken).await? {
                Beside::Held(holder) => return Ok(Acquired::Held(holder)),
                Beside::Granted(grant, ledger) => {
                    let token = grant.token;
                    // Large, and most of it is rarely needed.
                    let taken = Box::pin(self.take_over(request, grant, ledger, asked, *reserved, attempt));
                    let taken = keeping(&self.mongo, session, token, request.lease, taken).await;
                    if taken.is_err() {
                        // The caller learns no token, so nobody else would give the lease back.
                        let _ = self.mongo.release(session, token).await;
                    }
                    return taken.map(Acquired::Granted);
                }
                Beside::Outbox(ledger) => {
                    let owner = ledger.outbox.unwrap_or_default();
                    // What that owner acknowledged is in this process' memory.
                    let remembered = self.former(session, owner).is_some();
                    let reserve = async |displace| {
                        let asked = self.redis.reserve(
                            session,
                            attempt,
                            &request.owner,
                            request.lease,
                            displace,
                            ledger.version,
                        );
                        self.hot(asked).await
                    };
                    let mut asked = reserve(request.displace).await;
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
                            if let Some(lost) = is_lost(&left, owner, &ledger)
                                && !remembered
                                && !self.config.accept_lost_outbox
                            {
                                // Unless the owner was bringing it to MongoDB at this very moment.
                                if suspected.replace(ledger.version) == Some(ledger.version) {
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
        let message = "other owners were always faster";
        Err(Error::new(Kind::Unavailable, LAYER, message))
    }

    async fn take_over(
        self: &Arc<Self>,
        request: &Acquire,
        grant: Grant,
        ledger: Ledger,
        asked: Moment,
        reserved: bool,
        attempt: u64,
    ) -> Result<Grant> {
        let session = &request.session;
        let token = grant.token;
        let mut mark = Mark {
            token,
            version: ledger.version,
            commit_id: ledger.commit_id,
            updated_at: grant.head.updated_at,
        };
        let mut ledger = ledger;
        let mut inherited = None;
        let mut seen = None;
        if ledger.outbox.is_some() {
            let before = mark;
            let from;
            (from, seen) = self.inherit(session, &ledger, reserved, &mut mark).await?;
            inherited = Some((from, mark.version));
            if mark != before {
                ledger = self.ledger_of(session, token).await?;
                mark.updated_at = ledger.updated_at;
            }
        }
        let owner = self.shared_owner(&request.owner);
        let mut slot = Slot::new(session.clone(), mark, owner.clone(), attempt, request.lease);
        slot.lives_for(ledger.expires_in, asked);
        for left in (0..OTHERS).rev() {
            let installed = match self.begin(&slot, seen, ledger.inherited).await {
                Ok(Installed::Yes(installed)) => Some(installed),
                // Left over from a history that MongoDB does not know: not to be relied upon, nor to be written over.
                Ok(_) => {
                    self.ledger_of(session, token).await?;
                    None
                }
                // The session is served from MongoDB until Redis is back.
                Err(_) => None,
            };
            let announces = installed.is_some() && self.config.uses_outbox();
            if announces {
                let stands = (slot.mark().version, slot.mark().commit_id);
                let opened = self.mongo.open_outbox(session, token, stands, inherited);
                match self.truth(opened).await? {
                    Opened::Yes => {}
                    Opened::Fenced => return Err(fenced(None)),
                    // Somebody without a lease changed the session after it was granted.
                    Opened::Moved if left > 0 => {
                        ledger = self.ledger_of(session, token).await?;
                        seen = installed;
                        mark = Mark {
                            version: ledger.version,
                            commit_id: ledger.commit_id,
                            updated_at: ledger.updated_at,
                            ..mark
                        };
                        slot = Slot::new(session.clone(), mark, owner.clone(), attempt, request.lease);
                        slot.lives_for(ledger.expires_in, asked);
                        continue;
                    }
                    Opened::Moved => {
                        let message = "others change the session faster than it can be opened";
                        return Err(Error::new(Kind::Unavailable, LAYER, message));
                    }
                }
            } else if ledger.outbox.is_some() {
                let closed = self.mongo.close_outbox(session, token, inherited);
                if !self.truth(closed).await? {
                    return Err(fenced(None));
                }
            }
            let slot = Arc::new(slot);
            if let Some(installed) = installed {
                slot.installed(installed, announces);
                self.start_copying(&slot);
            }
            let mark = slot.mark();
            let records = if grant.head.version == mark.version {
                grant.records
            } else {
                self.truth(self.mongo.read(session, &request.read, Seen::NOTHING))
                    .await?
            };
            self.put_slot(slot);
            let head = Head {
                version: mark.version,
                updated_at: mark.updated_at,
            };
            return Ok(Grant {
                token,
                head,
                records,
                expires: true,
            });
        }
        unreachable!("the last round returns")
    }
}
