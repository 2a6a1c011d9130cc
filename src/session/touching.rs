//! Keeping sessions with a time to live alive.
//!
//! Storages count a session's time to live from its last write, also while it is held by an owner with nothing to
//! write.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::session::Session;
use super::vault::{Vault, is_loss};
use crate::backend::session_lost;
use crate::time;

/// Touches under way at once: many idle sessions must not stand before one that writes.
const TOUCHES: usize = 16;

impl Vault {
    /// Sees to it that a session with this time to live is touched in time.
    pub(super) fn keep_alive(self: &Arc<Self>, ttl: Option<Duration>) {
        if let Some(ttl) = ttl {
            self.touch_every
                .fetch_min(time::millis(ttl / 3).max(1), Ordering::Relaxed);
            self.hurry.notify_one();
            if !self.touching.swap(true, Ordering::AcqRel) {
                self.worker.spawn(keep(Arc::downgrade(self)));
            }
        }
    }
}

/// Touches the sessions that would run out of their time to live, for as long as the vault lives.
async fn keep(vault: Weak<Vault>) {
    loop {
        let Some((pause, hurry)) = vault.upgrade().map(|vault| vault.touches()) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = hurry.notified() => {}
        }
        let Some(vault) = vault.upgrade() else { return };
        touch(&vault, &vault.in_use()).await;
    }
}

async fn touch(vault: &Vault, sessions: &[Arc<Session>]) {
    let mut waiting = sessions
        .iter()
        .filter_map(|session| Some(touch_one(vault, session, session.wants_touch()?)));
    let mut under_way: FuturesUnordered<_> = waiting.by_ref().take(TOUCHES).collect();
    while under_way.next().await.is_some() {
        under_way.extend(waiting.next());
    }
}

async fn touch_one(vault: &Vault, session: &Session, ttl: Duration) {
    let asked = time::monotonic_millis();
    match vault
        .backend()
        .touch(session.id(), session.fence(), Some(ttl))
        .await
    {
        Ok(true) => session.refreshed(asked),
        Ok(false) => {
            let gone = "the storage no longer holds the session: its time to live ran out, or it was deleted";
            let lost = session_lost("session", gone, Some(session.head().version), 0);
            session.lose(&lost.in_session(session.id()));
        }
        Err(error) if is_loss(&error) => session.lose(&error.in_session(session.id())),
        // The next round tries again; two thirds of the time are left for that.
        Err(_) => {}
    }
}
