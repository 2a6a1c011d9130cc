//! Brings what was acknowledged by the outbox to the primary: in order, in batches, idempotently by version and commit
//! id. What can never be applied becomes a dead letter.

use std::sync::Arc;

use super::dead_letters::DeadLetters;
use super::fenced;
use super::guarded_primary::GuardedPrimary;
use super::slot::Slot;
use super::stats::{Counters, count};
use super::watched_cache::WatchedCache;
use crate::error::{Error, Kind, Result};

/// See the module.
pub(super) struct Drain {
    primary: Arc<GuardedPrimary>,
    cache: Arc<WatchedCache>,
    counters: Arc<Counters>,
    dead_letters: Arc<DeadLetters>,
}

impl Drain {
    pub fn new(
        primary: Arc<GuardedPrimary>,
        cache: Arc<WatchedCache>,
        counters: Arc<Counters>,
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        Self {
            primary,
            cache,
            counters,
            dead_letters,
        }
    }

    /// Brings what is pending of one session to the primary.
    pub async fn flush(&self, slot: &Slot) -> Result<()> {
        let Some((last, _)) = slot.pending_ids().pop() else {
            return Ok(());
        };
        let _applying = slot.applying.lock().await;
        while slot
            .pending_ids()
            .first()
            .is_some_and(|(first, _)| *first <= last)
        {
            let Some(batch) = slot.batch() else { break };
            self.counters.ran();
            let version = batch.version();
            match self.primary.commit_unguarded(batch).await {
                Ok(_) => self.applied(slot, version).await,
                Err(error) => self.not_applied(slot, error).await?,
            }
        }
        Ok(())
    }

    async fn applied(&self, slot: &Slot, version: u64) {
        let (done, untrimmed) = slot.applied(version);
        for pending in &done {
            self.counters.removed(pending.bytes);
            self.counters.completed(pending.since);
        }
        // What stays in Redis is known by its version when it is met again.
        let trimmed = self
            .cache
            .call(|cache| cache.trim(&slot.session, slot.token, &untrimmed));
        match trimmed.await {
            Ok(()) => slot.trimmed(&untrimmed),
            Err(_) => slot.set_unanswered(),
        }
    }

    /// What to do about a batch that the primary did not take: an error if it is to be tried again.
    async fn not_applied(&self, slot: &Slot, error: Error) -> Result<()> {
        let retry = |error| {
            count(&self.counters.retried);
            Err(error)
        };
        match error.kind() {
            Kind::Fenced | Kind::VersionMismatch | Kind::SessionLost | Kind::InvalidValue => {}
            _ => return retry(error),
        }
        let metadata = self
            .primary
            .call_unguarded(|primary| primary.metadata(&slot.session));
        let metadata = match metadata.await {
            Ok(metadata) => metadata,
            Err(error) => return retry(error),
        };
        if let Some(metadata) = &metadata
            && metadata.token == slot.token
            && error.kind() == Kind::VersionMismatch
            && slot
                .pending_ids()
                .contains(&(metadata.version, metadata.commit_id))
        {
            // A batch whose answer was lost, and more came since.
            self.applied(slot, metadata.version).await;
            return Ok(());
        }
        let owner = metadata.as_ref().map(|metadata| metadata.token);
        // The batch may have been refused for another reason before somebody took the session over.
        let is_fenced = error.kind() == Kind::Fenced || owner.is_some_and(|owner| owner != slot.token);
        let error = if is_fenced { fenced(owner) } else { error };
        let outbox = metadata.as_ref().and_then(|metadata| metadata.outbox);
        if is_fenced && outbox == Some(slot.token) {
            // The next owner is about to take over what stands in the outbox, or failed to.
            slot.lose(&error);
            return retry(error);
        }
        let inherited = metadata
            .as_ref()
            .and_then(|metadata| metadata.inherited.version_of(slot.token))
            .unwrap_or(0);
        self.give_up(slot, inherited, &error).await;
        slot.lose(&error);
        Ok(())
    }

    /// Makes what is pending beyond version `inherited` dead letters.
    async fn give_up(&self, slot: &Slot, inherited: u64, reason: &Error) {
        let given_up = slot.abandon();
        for pending in &given_up {
            self.counters.removed(pending.bytes);
            if pending.commit.version() <= inherited {
                self.counters.completed(pending.since);
            }
        }
        let dead = given_up
            .iter()
            .map(|pending| &pending.commit)
            .filter(|commit| commit.version() > inherited);
        self.dead_letters.add(dead, &reason.to_string()).await;
    }
}
