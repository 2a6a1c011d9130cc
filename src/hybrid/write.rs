//! The two ways of a commit.
//!
//! *Through*: MongoDB, then Redis' copy. *Behind*: Redis' copy and outbox in one script; MongoDB follows. A commit
//! whose first way is closed takes the other one, if that is allowed, and it is the very same commit: should both
//! arrive, MongoDB knows it by version and id. A commit that failed in doubt is sent again, as it was, before any
//! other may build on the same version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache::{Revision, Written};
use super::config::Mode;
use super::queue::{Job, Queue};
use super::slot::Slot;
use super::state::Core;
use super::stats::count;
use super::{LAYER, entry, fenced, is_outage};
use crate::backend::{Commit, Fence, Head, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::time::unix_millis;

/// Why a commit did not go behind.
enum Closed {
    /// Nothing was sent.
    Before(Error),
    /// It may have arrived.
    InDoubt(Error),
    /// It is refused, on every way.
    Refused(Error),
}

impl Closed {
    fn into_error(self) -> Error {
        match self {
            Self::Before(error) | Self::InDoubt(error) | Self::Refused(error) => error,
        }
    }
}

impl Core {
    pub async fn commit_one(self: &Arc<Self>, commit: Commit) -> Result<Head> {
        let session = commit.session.clone();
        let answer = async {
            self.ensure_open()?;
            match commit.fence {
                Fence::Shared => self.commit_shared(commit).await,
                Fence::Owner(token) => match self.sessions.of_owner(&session, token) {
                    Some(slot) => {
                        let _turn = slot.turn.lock().await;
                        self.commit_owned(&slot, commit).await
                    }
                    // Not the owner, as far as is known here: MongoDB decides.
                    None => self.primary.commit(commit).await,
                },
            }
        };
        answer.await.map_err(|error| error.in_session(&session))
    }

    async fn commit_owned(self: &Arc<Self>, slot: &Arc<Slot>, commit: Commit) -> Result<Head> {
        if let Some(lost) = slot.lost() {
            return Err(lost);
        }
        let revision = slot.revision();
        if commit.version() == revision.version && commit.id == revision.commit_id {
            return Ok(slot.head());
        }
        if slot.doubt().is_some_and(|doubt| doubt.id != commit.id) {
            self.settle(slot).await?;
        }
        if slot.has_pending() && commit.base != slot.revision().version {
            // MongoDB is behind, so this owner's memory is what counts.
            return again(slot, &commit).map_err(Closed::into_error);
        }
        let sent = self.send(slot, commit).await;
        sent.map_err(|error| match error.kind() {
            Kind::Timeout | Kind::Unavailable => error,
            _ if !slot.has_doubt() => error,
            // Sent before, and then neither server was asked.
            _ => {
                let message = "the commit may have arrived, and cannot be asked about now";
                Error::new(Kind::Unavailable, LAYER, message).because(&error)
            }
        })
    }

    /// Brings a commit in doubt to an end. Called in the session's turn.
    pub async fn settle(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<()> {
        let Some(doubt) = slot.doubt() else { return Ok(()) };
        match self.send(slot, doubt).await {
            Err(error) if is_outage(&error) => Err(error),
            // Refused: it can never be applied any more.
            _ => Ok(()),
        }
    }

    async fn send(self: &Arc<Self>, slot: &Arc<Slot>, commit: Commit) -> Result<Head> {
        let behind_first = self.config.mode == Mode::WriteBehind || slot.has_pending();
        let mut in_doubt = slot.doubt().is_some();
        let mut closed = None;
        let mut shut = None;
        if behind_first {
            match self.behind(slot, &commit).await {
                Ok(head) => return Ok(head),
                Err(Closed::Refused(error)) => {
                    slot.set_doubt(None);
                    return Err(error);
                }
                Err(Closed::InDoubt(error)) => {
                    in_doubt = true;
                    closed = Some(error);
                }
                Err(Closed::Before(error)) => shut = Some(error),
            }
        }
        let error = match self.through(slot, &commit).await {
            Ok(head) => return Ok(head),
            Err(error) if is_outage(&error) => error,
            Err(error) => {
                slot.set_doubt(None);
                return Err(error);
            }
        };
        in_doubt |= error.kind() != Kind::CircuitOpen && slot.doubt().is_some();
        if !behind_first {
            match self.behind(slot, &commit).await {
                Ok(head) => return Ok(head),
                Err(Closed::Refused(error)) => {
                    slot.set_doubt(None);
                    return Err(error);
                }
                Err(Closed::InDoubt(error)) => {
                    in_doubt = true;
                    closed = Some(error);
                }
                Err(Closed::Before(error)) => shut = Some(error),
            }
        }
        if !in_doubt {
            slot.set_doubt(None);
        }
        // Where it may have arrived says that, so that the session asks before it goes on.
        let error = closed.unwrap_or(error);
        Err(match shut {
            Some(shut) => error.with("outbox", shut.to_string()),
            None => error,
        })
    }

    async fn behind(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        commit: &Commit,
    ) -> std::result::Result<Head, Closed> {
        let closed = |kind, message: &'static str| Closed::Before(Error::new(kind, LAYER, message));
        if !self.config.uses_outbox() {
            return Err(closed(Kind::Config, "no outbox is allowed"));
        }
        if slot.may_have_expired() || slot.is_without_outbox() || commit.base != slot.revision().version {
            return Err(closed(
                Kind::Unavailable,
                "only the primary can say whether this commit may be made",
            ));
        }
        self.primary
            .check_changes(&commit.changes)
            .map_err(Closed::Refused)?;
        let size = entry::size_of(&commit.changes);
        let waiting = self.counters.pending_bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + size > self.config.outbox_limit {
            return Err(closed(Kind::StorageFull, "the outbox has reached its limit"));
        }
        if !(slot.is_ready() && slot.is_announced()) {
            self.repair(slot).await.map_err(Closed::Before)?;
            if commit.base != slot.revision().version {
                // What was in doubt had arrived.
                return again(slot, commit);
            }
        }
        let encoded = entry::encode(commit);
        let earlier = slot.doubt();
        for attempt in 0..2 {
            let revision = Revision {
                token: slot.token,
                version: commit.version(),
                commit_id: commit.id,
                updated_at: unix_millis(),
            };
            // Before it is sent, so that it is not forgotten if nobody waits for the answer.
            slot.set_doubt(Some(commit.clone()));
            let ttl = self.config.copy_ttl(commit.ttl);
            let sent = self.cache.call(|cache| {
                let (session, entry) = (&slot.session, Some(&encoded));
                cache.commit(session, commit.base, revision, &commit.changes, entry, ttl)
            });
            match sent.await {
                Ok(Written::Yes) => return Ok(self.acknowledged_behind(slot, commit, revision, encoded)),
                Ok(Written::No(Some(found))) if found.token == slot.token && found.same_commit(&revision) => {
                    return Ok(self.acknowledged_behind(slot, commit, found, encoded));
                }
                Ok(Written::No(Some(found))) if found.token > slot.token => {
                    let error = fenced(Some(found.token));
                    slot.lose(&error);
                    return Err(Closed::Refused(error));
                }
                Ok(Written::No(_)) if attempt == 0 => {
                    // Redis lost what it had, all of it or the end. This commit it did not take.
                    slot.set_doubt(earlier.clone());
                    slot.set_ready(false);
                    self.repair(slot).await.map_err(Closed::Before)?;
                    if commit.base != slot.revision().version {
                        return again(slot, commit);
                    }
                }
                Ok(Written::No(_)) => {
                    slot.set_doubt(earlier.clone());
                    break;
                }
                Err(error) => {
                    slot.set_ready(false);
                    slot.set_unanswered();
                    let sent = matches!(error.kind(), Kind::Unavailable | Kind::Timeout);
                    return Err(if sent {
                        Closed::InDoubt(error)
                    } else {
                        Closed::Before(error)
                    });
                }
            }
        }
        slot.set_ready(false);
        Err(closed(Kind::Unavailable, "Redis does not keep what it is given"))
    }

    fn acknowledged_behind(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        commit: &Commit,
        revision: Revision,
        encoded: bytes::Bytes,
    ) -> Head {
        self.take_pending(slot, commit.clone(), revision);
        if let Some(queue) = &self.queue {
            let job = Job {
                session: slot.session.clone(),
                version: revision.version,
                entry: encoded,
            };
            runtime::spawn(tell_queue(self.clone(), queue.clone(), job));
        }
        slot.head()
    }

    /// Takes a commit that Redis has into what is to go to MongoDB.
    pub fn take_pending(&self, slot: &Arc<Slot>, commit: Commit, revision: Revision) {
        let bytes = slot.acknowledged_behind(commit, revision);
        self.sessions.put_behind(slot);
        self.counters.added(bytes);
        self.wake.notify_one();
    }

    async fn through(self: &Arc<Self>, slot: &Arc<Slot>, commit: &Commit) -> Result<Head> {
        self.primary.ensure_closed_circuit()?;
        if slot.has_pending() {
            self.drain.flush(slot).await?;
        }
        slot.set_doubt(Some(commit.clone()));
        let head = match self.primary.commit(commit.clone()).await {
            Ok(head) => head,
            Err(error) => {
                if matches!(error.kind(), Kind::Fenced | Kind::SessionLost) {
                    slot.set_ready(false);
                }
                return Err(error);
            }
        };
        count(&self.counters.direct_writes);
        let known = slot.revision();
        let revision = Revision {
            token: slot.token,
            version: head.version,
            commit_id: commit.id,
            updated_at: head.updated_at,
        };
        slot.acknowledged(revision, commit.ttl);
        if slot.is_ready() && known.version == commit.base {
            let ttl = self.config.copy_ttl(commit.ttl);
            let copied = self
                .cache
                .call(|cache| cache.commit(&slot.session, commit.base, revision, &commit.changes, None, ttl));
            match copied.await {
                Ok(Written::Yes) => return Ok(head),
                Ok(Written::No(Some(found))) if found == revision => return Ok(head),
                // Lost or behind: its copy does not serve until it is repaired.
                _ => slot.set_ready(false),
            }
        } else {
            slot.set_ready(false);
        }
        // MongoDB has the commit, whatever becomes of the copy.
        let _ = self.repair(slot).await;
        Ok(slot.head())
    }

    /// Anybody's commit: MongoDB merges it, unless the session's owner uses an outbox; Redis' copy is dropped.
    async fn commit_shared(self: &Arc<Self>, commit: Commit) -> Result<Head> {
        let session = commit.session.clone();
        let slot = self.sessions.get(&session);
        let _turn = match &slot {
            Some(slot) => Some(slot.turn.lock().await),
            None => None,
        };
        let owner = match &slot {
            Some(slot) => self.bring_over(slot, Fence::Shared).await?.then_some(slot),
            None => None,
        };
        let id = commit.id;
        let head = self.primary.commit(commit).await?;
        count(&self.counters.direct_writes);
        if let Some(owner) = owner {
            owner.reset(head.version, id, head.updated_at);
        }
        Ok(head)
    }
}

/// The answer to a commit whose base is not where the session stands any more.
fn again(slot: &Slot, commit: &Commit) -> std::result::Result<Head, Closed> {
    let revision = slot.revision();
    if revision.version == commit.version() && revision.commit_id == commit.id {
        return Ok(slot.head());
    }
    Err(Closed::Refused(version_mismatch(
        LAYER,
        commit.base,
        revision.version,
    )))
}

async fn tell_queue(core: Arc<Core>, queue: Arc<dyn Queue>, job: Job) {
    let told = tokio::time::timeout(core.config.queue_timeout, queue.add(job)).await;
    count(match told {
        Ok(Ok(())) => &core.counters.queue_publishes,
        _ => &core.counters.queue_failures,
    });
}
