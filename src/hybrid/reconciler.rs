//! Has everything pending brought to the primary in the background: of this process' sessions, and of owners that died.
//! What fails is tried again for as long as it takes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::primary::Primary;
use super::slot::Slot;
use super::state::Core;
use crate::backend::{Acquire, Acquired, Owner, SessionId};
use crate::error::Result;

/// Pauses after a failure: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));
/// Sessions worked on at once: they share commands.
const CONCURRENT: usize = 256;
/// How often outboxes whose owners died are looked for.
const ABANDONED_EVERY: Duration = Duration::from_secs(300);
/// The lease taken on one of those.
const ABANDONED_LEASE: Duration = Duration::from_secs(30);

/// Works until the store is dropped. `jitter` draws a share of each pause, so that processes do not come back all at
/// once.
pub(super) async fn run(core: Weak<Core>, jitter: fn() -> f64) {
    let Some(wake) = core.upgrade().map(|core| core.wake.clone()) else {
        return;
    };
    let mut failures = 0_u32;
    loop {
        if failures == 0 {
            wake.notified().await;
        } else {
            let longest = (PAUSE.0 * (1 << failures.min(10))).min(PAUSE.1);
            tokio::time::sleep(longest.mul_f64(jitter())).await;
        }
        let Some(core) = core.upgrade() else { return };
        if core.ensure_open().is_err() {
            return;
        }
        failures = if core.flush_all().await.is_ok() {
            0
        } else {
            failures.saturating_add(1)
        };
    }
}

/// Evenly spread over 0 to 1.
pub(super) fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// Takes over outboxes that nobody owns, now and then, until the store is dropped.
pub(super) async fn adopt_now_and_then(core: Weak<Core>) {
    loop {
        tokio::time::sleep(ABANDONED_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        if core.ensure_open().is_err() {
            return;
        }
        // What fails now is found again the next time.
        let _ = core.adopt_abandoned().await;
    }
}

impl Core {
    /// Brings everything pending to the primary, of sessions in use and left over.
    pub async fn flush_all(self: &Arc<Self>) -> Result<()> {
        let work = self.sessions.behind().into_iter().map(|slot| (slot, false));
        let left = self.sessions.orphans().into_iter().map(|slot| (slot, true));
        let work: Vec<_> = work.chain(left).collect();
        let results: Vec<Result<()>> = stream::iter(work)
            .map(async |(slot, left)| {
                let flushed = self.drain.flush(&slot).await;
                if flushed.is_err() && slot.lost().is_some() && slot.has_pending() {
                    // From memory: Redis may have lost it.
                    self.adopt(&slot.session).await?;
                }
                if left {
                    flushed?;
                    return self.retire(&slot).await;
                }
                self.sessions.remove_behind(&slot);
                flushed
            })
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        self.dead_letters.send().await;
        results.into_iter().collect()
    }

    /// Ends what is left of a session that was released before the primary had everything.
    async fn retire(&self, slot: &Arc<Slot>) -> Result<()> {
        if slot.lost().is_none() {
            self.hand_over(slot).await?;
        }
        self.sessions.remove_orphan(slot);
        Ok(())
    }

    /// Opens and releases each session whose owner died with an outbox, which brings that to the primary; how many.
    pub async fn adopt_abandoned(self: &Arc<Self>) -> Result<usize> {
        let mut adopted = 0;
        let abandoned = self.primary.call_unguarded(Primary::abandoned_outboxes);
        for session in abandoned.await? {
            if self
                .sessions
                .get(&session)
                .is_some_and(|slot| slot.lost().is_none())
            {
                continue;
            }
            // One that cannot be taken over must not keep the others from it.
            if self.adopt(&session).await.unwrap_or(false) {
                adopted += 1;
            }
        }
        Ok(adopted)
    }

    /// Opens and releases a session that nobody owns, which brings its outbox to the primary; whether that was so.
    async fn adopt(self: &Arc<Self>, session: &SessionId) -> Result<bool> {
        let request = Acquire {
            session: session.clone(),
            owner: Owner::current().clone(),
            lease: ABANDONED_LEASE,
            client_token: None,
            preempt: None,
            read: Vec::new(),
        };
        let Acquired::Granted(grant) = Box::pin(self.acquire(request)).await? else {
            return Ok(false);
        };
        self.release(session, grant.token).await?;
        Ok(true)
    }
}
