//! Renewing, releasing, deleting, keeping alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::cache::{HeldLease, Renewed};
use super::slot::Slot;
use super::state::Core;
use super::{LAYER, fenced, is_outage, still_owner};
use crate::backend::{Fence, Renewal, SessionId, Token, renewal_limit};
use crate::error::{Error, Kind, Result};
use crate::time::Moment;

impl Core {
    /// Who wants to take a session over needs MongoDB's lease, and Redis' too if the owner has announced an
    /// outbox: so an owner that has holds on with either, while the other cannot be reached.
    pub async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        if let Err(error) = self.ensure_open() {
            return leases.iter().map(|_| Err(error.clone())).collect();
        }
        let slots: Vec<_> = leases
            .iter()
            .map(|renewal| self.sessions.of_owner(&renewal.session, renewal.token))
            .collect();
        // Neither waits for the other: what one of them confirmed in time counts.
        let limit = renewal_limit(lease) / 20 * 19;
        let (in_mongo, in_redis) = tokio::join!(
            timeout(limit, self.primary.renew(leases, lease)),
            timeout(limit, self.renew_in_redis(&slots, lease))
        );
        let late = || {
            Error::new(
                Kind::Timeout,
                LAYER,
                "the primary did not renew the lease in time",
            )
        };
        let in_mongo = in_mongo.unwrap_or_else(|_| leases.iter().map(|_| Err(late())).collect());
        let in_redis = in_redis.unwrap_or_else(|_| vec![None; slots.len()]);
        let answers =
            leases
                .iter()
                .zip(in_mongo)
                .zip(slots)
                .zip(in_redis)
                .map(|(((renewal, mongo), slot), redis)| {
                    let answer = match (mongo, redis) {
                        (Ok(()), _) => Ok(()),
                        (Err(error), Some(Renewed::Yes)) if is_outage(&error) => Ok(()),
                        (Err(error), Some(Renewed::Fenced)) if is_outage(&error) => Err(fenced(None)),
                        (Err(error), _) => Err(error),
                    };
                    if let (Ok(()), Some(slot)) = (&answer, slot) {
                        slot.set_lease(lease);
                    }
                    answer.map_err(|error| error.in_session(&renewal.session))
                });
        answers.collect()
    }

    /// What Redis says of the leases of owners that have announced an outbox; of others nobody asks there.
    async fn renew_in_redis(&self, slots: &[Option<Arc<Slot>>], lease: Duration) -> Vec<Option<Renewed>> {
        let mut answers = vec![None; slots.len()];
        let held: Vec<(usize, &Slot)> = (0..slots.len())
            .filter_map(|at| Some((at, slots[at].as_deref()?)))
            .filter(|(_, slot)| slot.is_announced())
            .collect();
        // All of one process, as a rule.
        let groups = held.chunk_by(|(_, one), (_, other)| one.owner == other.owner);
        let renewals = groups.map(async |group| (group, self.renew_some_in_redis(group, lease).await));
        for (group, renewed) in join_all(renewals).await {
            for ((at, slot), renewed) in group.iter().zip(renewed.into_iter().flatten()) {
                if matches!(renewed, Ok(Renewed::Unknown | Renewed::Fenced)) {
                    slot.set_ready(false);
                }
                answers[*at] = renewed.ok();
            }
        }
        answers
    }

    async fn renew_some_in_redis(
        &self,
        group: &[(usize, &Slot)],
        lease: Duration,
    ) -> Result<Vec<Result<Renewed>>> {
        let Some((_, first)) = group.first() else {
            return Ok(Vec::new());
        };
        let leases: Vec<_> = group
            .iter()
            .map(|(_, slot)| HeldLease {
                session: &slot.session,
                token: slot.token,
                request_id: slot.request_id,
                version: slot.version_in_redis(),
            })
            .collect();
        let renewed = self.cache.call(async |cache| {
            let renewed = cache.renew(&leases, &first.owner, lease).await;
            match renewed.iter().find_map(|answer| answer.as_ref().err()) {
                // So that a Redis that is away is known to be. A renewal has less time than others: that it was too
                // short says nothing.
                Some(error) if error.kind() != Kind::Timeout && renewed.iter().all(Result::is_err) => {
                    Err(error.clone())
                }
                _ => Ok(renewed),
            }
        });
        renewed.await
    }

    pub async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.ensure_open()?;
        let Some(slot) = self.sessions.of_owner(session, token) else {
            // Also while the breaker is open: what fails is remembered there.
            let released = self
                .primary
                .call_unguarded(|primary| primary.release(session, token));
            return released.await;
        };
        let _turn = slot.turn.lock().await;
        let handed_over = async {
            self.drain.flush(&slot).await?;
            self.hand_over(&slot).await
        };
        let handed_over = handed_over.await;
        if handed_over.is_err() {
            // The reconciler goes on; whoever opens the session meanwhile finds the rest in the outbox.
            self.sessions.add_orphan(slot.clone());
            self.wake.notify_one();
        }
        self.sessions.remove(&slot);
        handed_over
    }

    /// Gives both leases back. MongoDB has everything.
    pub async fn hand_over(&self, slot: &Slot) -> Result<()> {
        match self.close_own_outbox(slot).await {
            // The next owner's from here on.
            Err(error) if error.kind() == Kind::Fenced => {}
            closed => closed?,
        }
        let (_, released) = tokio::join!(
            // The next owner does not need it.
            self.cache.call(|cache| cache.release(&slot.session, slot.token)),
            self.primary
                .call(|primary| primary.release(&slot.session, slot.token)),
        );
        released
    }

    /// Writes down in MongoDB that the outbox is empty and not used. Called in the session's turn, when MongoDB has
    /// everything.
    pub async fn close_own_outbox(&self, slot: &Slot) -> Result<()> {
        if !slot.is_announced() {
            return Ok(());
        }
        // Its answer may be lost.
        slot.begin_anew();
        let emptied = Some((slot.token, slot.revision().version));
        let closed = self
            .primary
            .call(|primary| primary.close_outbox(&slot.session, slot.token, emptied));
        if !closed.await? {
            return Err(fenced(None));
        }
        slot.set_announced(false);
        Ok(())
    }

    /// Brings everything of an owner in this process to MongoDB and closes its outbox; `false` as in [`still_owner`].
    /// Called in the session's turn.
    pub async fn bring_over(&self, slot: &Slot, caller: Fence) -> Result<bool> {
        let brought = async {
            self.drain.flush(slot).await?;
            self.close_own_outbox(slot).await
        };
        still_owner(brought.await, caller)
    }

    /// MongoDB's tombstone first, then Redis. Before, everything pending goes to MongoDB and the outbox is closed:
    /// whatever Redis keeps then is nobody's, and goes at the next open.
    pub async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.ensure_open()?;
        let slot = match fence {
            Fence::Owner(token) => self.sessions.of_owner(session, token),
            Fence::Shared => self.sessions.get(session),
        };
        let Some(slot) = slot else {
            return self.delete_unowned(session, fence).await;
        };
        let turn = slot.turn.lock().await;
        if !self.bring_over(&slot, fence).await? {
            drop(turn);
            return self.delete_unowned(session, fence).await;
        }
        let (deleted, purged) = self.delete_and_purge(session, fence).await?;
        let existed = slot.take_half_deleted() || deleted;
        slot.begin_at_nothing();
        if purged.is_err() && existed {
            slot.set_half_deleted();
        }
        purged.map(|()| existed)
    }

    async fn delete_unowned(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        let (existed, purged) = self.delete_and_purge(session, fence).await?;
        purged.map(|()| existed)
    }

    /// Whether MongoDB had the session, and what became of Redis' copy.
    async fn delete_and_purge(&self, session: &SessionId, fence: Fence) -> Result<(bool, Result<()>)> {
        // Looked at before: what comes to Redis afterwards is of a session that begins anew, and stays.
        let seen = self.cache.call(|cache| cache.revision(session)).await;
        let existed = self
            .primary
            .call(|primary| primary.delete(session, fence))
            .await?;
        let seen = seen.unwrap_or_default();
        let purged = self.cache.call(|cache| cache.purge(session, seen));
        let purged = purged.await.map_err(|cause| {
            let message = "the session is deleted in the primary; Redis' copy, which is not used any more, could not be \
                           removed";
            Error::new(Kind::Unavailable, LAYER, message)
                .with("deletedIn", serde_json::json!([self.primary.name()]))
                .with("notDeletedIn", serde_json::json!(["redis"]))
                .because(&cause)
        });
        Ok((existed, purged))
    }

    pub async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.ensure_open()?;
        let slot = match fence {
            Fence::Owner(token) => self.sessions.of_owner(session, token),
            Fence::Shared => self.sessions.get(session),
        };
        let touch_primary = || self.primary.call(|primary| primary.touch(session, fence, ttl));
        let Some(slot) = slot else {
            return touch_primary().await;
        };
        let turn = slot.turn.lock().await;
        if !still_owner(self.drain.flush(&slot).await, fence)? {
            drop(turn);
            return touch_primary().await;
        }
        let asked = Moment::now();
        let touched = touch_primary().await?;
        if touched {
            slot.lives_for(ttl, asked);
            // A copy that ends too early or too late does not serve.
            let copy_ttl = self.config.copy_ttl(ttl);
            let copied = self.cache.call(|cache| cache.touch(session, copy_ttl));
            if copied.await.is_err() {
                slot.set_ready(false);
            }
        }
        Ok(touched)
    }

    /// Brings everything to MongoDB, if it can be reached, and closes both connections. What cannot be brought
    /// stays in the outbox, for the next owner; what is not there either goes to a file, which the error names.
    pub async fn close(self: &Arc<Self>) -> Result<()> {
        if self.ensure_open().is_err() {
            return Ok(());
        }
        let flushed = self.flush_all().await;
        let said = self.say_last_words().await;
        if self.begin_close() {
            return Ok(());
        }
        self.wake.notify_one();
        self.cache.close();
        self.primary.close().await?;
        match flushed {
            // Safe in the outbox.
            Err(error) if is_outage(&error) => said,
            other => other.and(said),
        }
    }
}
