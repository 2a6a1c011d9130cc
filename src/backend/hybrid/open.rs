//! Taking a session over.
//!
//! The lease is MongoDB's. Redis' lease matters only if the session's document says that an owner may have
//! acknowledged commits in its outbox: then both must be free, and what the outbox holds goes to MongoDB before the
//! session is handed out. Redis' lease is first reserved, which fences nobody: an owner whose lease turns out to
//! stand in MongoDB is not disturbed. Redis gets MongoDB's token, and takes no smaller one afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::slot::{Slot, merge};
use super::state::Core;
use super::{LAYER, entry, fenced};
use crate::backend::mongo::{Beside, Ledger};
use crate::backend::redis::{Installed, Mark, Reserved};
use crate::backend::{Acquire, Acquired, Backend, Commit, Grant, Head, SessionId, Token};
use crate::error::{Error, Kind, Result};

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
        for _ in 0..OTHERS {
            let asked = Instant::now();
            let taken = self.mongo.acquire_beside(request.clone(), ready_for);
            match self.truth(taken).await? {
                Beside::Held(holder) => return Ok(Acquired::Held(holder)),
                Beside::Granted(grant, ledger) => {
                    let token = grant.token;
                    // Large, and most of it is rarely needed.
                    let taken =
                        Box::pin(self.take_over(request, grant, ledger, asked, *reserved, attempt)).await;
                    if taken.is_err() {
                        // The caller learns no token, so nobody else would give the lease back.
                        let _ = self.mongo.release(session, token).await;
                    }
                    return taken.map(Acquired::Granted);
                }
                Beside::Outbox(token) => {
                    let asked =
                        self.redis
                            .reserve(session, attempt, &request.owner, request.lease, request.displace);
                    match self.hot(asked).await {
                        Ok(Reserved::Yes) => *reserved = true,
                        Ok(Reserved::Held(holder)) => return Ok(Acquired::Held(holder)),
                        // What that owner acknowledged is in this process' memory.
                        Err(_) if self.former(session, token).is_some() => {}
                        Err(error) => return Err(outbox_out_of_reach(&error)),
                    }
                    ready_for = Some(token);
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
        asked: Instant,
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
        let mut expires_in = ledger.expires_in;
        let mut inherited = None;
        let mut fenced_off = None;
        if let Some(outbox) = ledger.outbox {
            let before = mark;
            fenced_off = self.inherit(session, outbox, reserved, &mut mark).await?;
            inherited = Some((outbox, mark.version));
            if mark != before {
                let ledger = self.truth(self.mongo.ledger(session)).await?;
                let ledger = ledger.ok_or_else(|| fenced(None))?;
                mark.updated_at = ledger.updated_at;
                expires_in = ledger.expires_in;
            }
        }
        let slot = Slot::new(
            session.clone(),
            mark,
            self.shared_owner(&request.owner),
            attempt,
            request.lease,
        );
        slot.lives_for(expires_in, asked);
        let slot = Arc::new(slot);
        let installed = self
            .redis
            .install(session, fenced_off, mark, &request.owner, attempt, request.lease);
        let installed = match self.hot(installed).await {
            Ok(Installed::Yes(installed)) => Some(installed),
            Ok(Installed::No(found)) => {
                let ledger = self.truth(self.mongo.ledger(session)).await?;
                if ledger.is_none_or(|ledger| ledger.token != token) {
                    return Err(fenced(found.map(|found| found.token)));
                }
                // Left over from a history that MongoDB does not know: not to be relied upon, nor to be written over.
                None
            }
            // The session is served from MongoDB until Redis is back.
            Err(_) => None,
        };
        let announces = installed.is_some() && self.config.uses_outbox();
        let ours = if announces {
            self.truth(self.mongo.open_outbox(session, token, inherited))
                .await?
        } else if ledger.outbox.is_some() {
            self.truth(self.mongo.close_outbox(session, token, inherited))
                .await?
        } else {
            true
        };
        if !ours {
            return Err(fenced(None));
        }
        if let Some(installed) = installed {
            slot.installed(installed, announces);
            self.start_copying(&slot);
        }
        let records = if grant.head.version == mark.version {
            grant.records
        } else {
            self.truth(self.mongo.read(session, &request.read)).await?
        };
        let mark = slot.mark();
        self.put_slot(slot);
        let head = Head {
            version: mark.version,
            updated_at: mark.updated_at,
        };
        Ok(Grant {
            token,
            head,
            records,
            expires: true,
        })
    }

    /// Brings what the owner with token `from` left in its outbox to MongoDB; what Redis then holds of it, under
    /// the new owner's token.
    async fn inherit(
        self: &Arc<Self>,
        session: &SessionId,
        from: Token,
        reserved: bool,
        mark: &mut Mark,
    ) -> Result<Option<Mark>> {
        let former = self.former(session, from);
        if let Some(former) = &former {
            // It may be acknowledging at this moment; from here on it does not.
            let _turn = former.turn.lock().await;
            former.lose(&fenced(Some(mark.token)));
        }
        let mut left: BTreeMap<u64, Commit> = BTreeMap::new();
        let mut complete = former.is_some();
        let mut fenced_off = None;
        if reserved {
            let found = self.hot(self.redis.fence(session, mark.token)).await;
            match found.map_err(|error| outbox_out_of_reach(&error))? {
                Some(found) if found.token > mark.token => return Err(fenced(Some(found.token))),
                Some(found) => {
                    complete |= found.token >= from;
                    fenced_off = Some(Mark {
                        token: mark.token,
                        ..found
                    });
                }
                None => {}
            }
            let entries = self.hot(self.redis.entries(session)).await;
            for (version, entry) in entries.map_err(|error| outbox_out_of_reach(&error))? {
                left.insert(version, entry::decode(session, mark.token, entry)?);
            }
        } else if former.is_none() {
            let message = "the outbox of the session's last owner was not reserved; open again";
            return Err(Error::new(Kind::Unavailable, LAYER, message));
        }
        for commit in former.iter().flat_map(|former| former.pending()) {
            left.insert(commit.version(), commit);
        }
        if !complete && !self.config.accept_lost_outbox {
            return Err(lost(
                "Redis no longer has the outbox of the session's last owner",
                mark.version,
            ));
        }
        self.roll_forward(session, left, mark).await?;
        for pending in former.iter().flat_map(|former| former.abandon()) {
            self.counters.removed(pending.bytes);
            self.counters.completed(pending.since);
        }
        if let Some(former) = &former {
            self.drop_orphan(former);
        }
        Ok(fenced_off)
    }

    /// Commits to MongoDB what it does not have yet.
    async fn roll_forward(
        &self,
        session: &SessionId,
        mut left: BTreeMap<u64, Commit>,
        mark: &mut Mark,
    ) -> Result<()> {
        // What MongoDB has, or what it has something else for that was acknowledged.
        left.retain(|version, _| *version > mark.version);
        while let Some(first) = left.values().next() {
            if first.base != mark.version {
                let message = "the session had ended before this was applied";
                let reason = if mark.version == 0 {
                    message
                } else {
                    "what this builds on was lost"
                };
                if mark.version != 0 && !self.config.accept_lost_outbox {
                    return Err(lost(
                        "commits are missing in the outbox of the session's last owner",
                        mark.version,
                    ));
                }
                self.add_letters(left.values(), reason).await;
                return Ok(());
            }
            let Some(batch) = merge(left.values(), mark.token) else {
                break;
            };
            let (version, commit_id) = (batch.version(), batch.id);
            self.counters.ran();
            self.truth(self.commit_to_mongo(batch))
                .await
                .map_err(|error| error.in_session(session))?;
            mark.version = version;
            mark.commit_id = commit_id;
            left.retain(|left, _| *left > version);
        }
        Ok(())
    }
}

fn outbox_out_of_reach(error: &Error) -> Error {
    let message = "Redis cannot be reached, and may hold commits that MongoDB does not have";
    Error::new(Kind::Unavailable, LAYER, message).because(error)
}

fn lost(message: &'static str, version: u64) -> Error {
    Error::new(Kind::SessionLost, LAYER, message)
        .with("version", version)
        .with("option", "acceptLostOutbox")
}
