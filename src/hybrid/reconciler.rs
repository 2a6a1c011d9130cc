//! Brings what was acknowledged by the outbox to MongoDB: in order, in batches, idempotently by version and commit
//! id. What fails is tried again for as long as it takes. What can never be applied becomes a dead letter.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::fenced;
use super::slot::Slot;
use super::state::Core;
use crate::backend::mongo::Ledger;
use crate::backend::{Acquire, Acquired, Owner, SessionId};
use crate::error::{Error, Kind, Result};

/// Pauses after a failure: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));
/// Sessions worked on at once: they share commands.
const CONCURRENT: usize = 256;
/// How often outboxes whose owners died are looked for.
const ABANDONED_EVERY: Duration = Duration::from_secs(300);
/// The lease taken on one of those.
const ABANDONED_LEASE: Duration = Duration::from_secs(30);

/// Works until the store is dropped.
pub(super) async fn run(core: Weak<Core>) {
    let Some(wake) = core.upgrade().map(|core| core.wake.clone()) else {
        return;
    };
    let mut failures = 0_u32;
    loop {
        if failures == 0 {
            wake.notified().await;
        } else {
            let longest = (PAUSE.0 * (1 << failures.min(10))).min(PAUSE.1);
            // Full jitter, so that processes do not come back all at once.
            let random = getrandom::u32().unwrap_or(u32::MAX);
            tokio::time::sleep(longest.mul_f64(f64::from(random) / f64::from(u32::MAX))).await;
        }
        let Some(core) = core.upgrade() else { return };
        if core.open().is_err() {
            return;
        }
        failures = if core.flush_all().await.is_ok() {
            0
        } else {
            failures.saturating_add(1)
        };
    }
}

/// Takes over outboxes that nobody owns, now and then, until the store is dropped.
pub(super) async fn adopt_now_and_then(core: Weak<Core>) {
    loop {
        tokio::time::sleep(ABANDONED_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        if core.open().is_err() {
            return;
        }
        // What fails now is found again the next time.
        let _ = core.adopt_abandoned().await;
    }
}

impl Core {
    /// Brings everything pending to MongoDB, of sessions in use and left over.
    pub async fn flush_all(self: &Arc<Self>) -> Result<()> {
        let work = self.slots_behind().into_iter().map(|slot| (slot, false));
        let left = self.orphans().into_iter().map(|slot| (slot, true));
        let work: Vec<_> = work.chain(left).collect();
        let results: Vec<Result<()>> = stream::iter(work)
            .map(async |(slot, left)| {
                let flushed = self.flush(&slot).await;
                if flushed.is_err() && slot.lost().is_some() && slot.has_pending() {
                    // From memory: Redis may have lost it.
                    self.adopt(&slot.session).await?;
                }
                if left {
                    flushed?;
                    return self.retire(&slot).await;
                }
                self.drop_behind(&slot);
                flushed
            })
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        self.send_letters().await;
        results.into_iter().collect()
    }

    /// Brings what is pending of one session to MongoDB.
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
            match self.probe(self.commit_to_mongo(batch)).await {
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
        if self
            .hot(self.redis.trim(&slot.session, slot.token, &untrimmed))
            .await
            .is_ok()
        {
            slot.trimmed(&untrimmed);
        }
    }

    /// What to do about a batch that MongoDB did not take: an error if it is to be tried again.
    async fn not_applied(&self, slot: &Slot, error: Error) -> Result<()> {
        let retry = |error| {
            self.counters.retried.fetch_add(1, Ordering::Relaxed);
            Err(error)
        };
        match error.kind() {
            Kind::Fenced | Kind::VersionMismatch | Kind::SessionLost | Kind::InvalidValue => {}
            _ => return retry(error),
        }
        let ledger = match self.probe(self.mongo.ledger(&slot.session)).await {
            Ok(ledger) => ledger,
            Err(error) => return retry(error),
        };
        if let Some(ledger) = &ledger
            && ledger.token == slot.token
            && error.kind() == Kind::VersionMismatch
            && slot.pending_ids().contains(&(ledger.version, ledger.commit_id))
        {
            // A batch whose answer was lost, and more came since.
            self.applied(slot, ledger.version).await;
            return Ok(());
        }
        if error.kind() == Kind::Fenced && ledger.is_some_and(|ledger| ledger.outbox == Some(slot.token)) {
            // The next owner is about to take over what stands in the outbox, or failed to.
            slot.lose(&fenced(ledger.map(|ledger| ledger.token)));
            return retry(error);
        }
        let inherited = ledger.as_ref().map_or(0, |ledger| inherited_from(slot, ledger));
        let reason = match error.kind() {
            Kind::Fenced => fenced(ledger.map(|ledger| ledger.token)),
            _ => error,
        };
        self.bury(slot, inherited, &reason).await;
        slot.lose(&reason);
        Ok(())
    }

    /// Makes what is pending beyond version `inherited` dead letters.
    async fn bury(&self, slot: &Slot, inherited: u64, reason: &Error) {
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
        self.add_letters(dead, &reason.to_string()).await;
    }

    /// Ends what is left of a session that was released before MongoDB had everything.
    async fn retire(&self, slot: &Arc<Slot>) -> Result<()> {
        if slot.lost().is_none() {
            self.hand_over(slot).await?;
        }
        self.drop_orphan(slot);
        Ok(())
    }

    /// Opens and releases each session whose owner died with an outbox, which brings that to MongoDB; how many.
    pub async fn adopt_abandoned(self: &Arc<Self>) -> Result<usize> {
        let mut adopted = 0;
        for session in self.probe(self.mongo.abandoned_outboxes()).await? {
            if self.slot(&session).is_some_and(|slot| slot.lost().is_none()) {
                continue;
            }
            // One that cannot be taken over must not keep the others from it.
            if self.adopt(&session).await.unwrap_or(false) {
                adopted += 1;
            }
        }
        Ok(adopted)
    }

    /// Opens and releases a session that nobody owns, which brings its outbox to MongoDB; whether that was so.
    async fn adopt(self: &Arc<Self>, session: &SessionId) -> Result<bool> {
        let request = Acquire {
            session: session.clone(),
            owner: Owner::current().clone(),
            lease: ABANDONED_LEASE,
            claim: None,
            displace: None,
            read: Vec::new(),
        };
        let Acquired::Granted(grant) = Box::pin(self.acquire(request)).await? else {
            return Ok(false);
        };
        self.release(session, grant.token).await?;
        Ok(true)
    }
}

/// Up to which version the next owner took this owner's commits over.
fn inherited_from(slot: &Slot, ledger: &Ledger) -> u64 {
    ledger
        .inherited
        .filter(|(token, _)| *token == slot.token)
        .map_or(0, |(_, version)| version)
}
