//! Waiting for sessions that somebody else holds.
//!
//! All who wait in one vault share one watch. It asks the storage which of the leases still stand, all of them in one
//! question, over and over while anybody waits: so an owner's `close()` is noticed within some ten milliseconds, and
//! a thousand who wait cost the storage little more than one. Whoever's lease is gone then asks for it by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::vault::Vault;
use crate::backend::{Holder, Owner, SessionId, Token};
use crate::error::Result;

/// Shortest pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause for each lease asked about: no more than 20,000 of them a second.
const PAUSE_PER_LEASE: Duration = Duration::from_micros(50);
/// Pause for the time that the last answer took: a storage that is slow is asked less.
const PAUSE_PER_ANSWER: u32 = 2;

/// Everybody who waits in one vault.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    waiting: Vec<Waiter>,
    watched: bool,
}

struct Waiter {
    session: SessionId,
    token: Token,
    owner: Owner,
    wake: oneshot::Sender<Result<()>>,
}

impl Waiter {
    fn wake(self, news: Result<()>) {
        // Nobody hears it who has given up.
        let _ = self
            .wake
            .send(news.map_err(|error| error.in_session(&self.session)));
    }
}

impl Waiting {
    /// Told once the lease found with `holder` may be free, or that the storage cannot say.
    pub fn wait(
        &self,
        vault: &Arc<Vault>,
        session: &SessionId,
        holder: &Holder,
    ) -> oneshot::Receiver<Result<()>> {
        let (wake, woken) = oneshot::channel();
        let mut waiters = self.0.lock();
        waiters.waiting.push(Waiter {
            session: session.clone(),
            token: holder.token,
            owner: holder.owner.clone(),
            wake,
        });
        if !std::mem::replace(&mut waiters.watched, true) {
            vault.lane().spawn(watch(vault.clone()));
        }
        woken
    }

    /// Tells everybody.
    pub fn wake_all(&self) {
        let all = std::mem::take(&mut self.0.lock().waiting);
        for waiter in all {
            waiter.wake(Ok(()));
        }
    }

    /// The leases waited for; `None`, and the watch is over, if nobody waits. Owners known to be dead need not be
    /// asked about.
    fn leases(&self) -> Option<Vec<(SessionId, Token)>> {
        let mut waiters = self.0.lock();
        let mut dead: HashMap<String, bool> = HashMap::new();
        let all = std::mem::take(&mut waiters.waiting);
        for waiter in all.into_iter().filter(|waiter| !waiter.wake.is_closed()) {
            let dead = dead.entry(waiter.owner.instance.clone());
            if *dead.or_insert_with(|| waiter.owner.is_known_dead()) {
                waiter.wake(Ok(()));
            } else {
                waiters.waiting.push(waiter);
            }
        }
        waiters.watched = !waiters.waiting.is_empty();
        waiters.watched.then(|| {
            let leases = waiters.waiting.iter();
            leases
                .map(|waiter| (waiter.session.clone(), waiter.token))
                .collect()
        })
    }

    fn tell(&self, leases: Vec<(SessionId, Token)>, held: Result<Vec<bool>>) {
        let news: HashMap<_, _> = match held {
            Ok(held) => leases
                .into_iter()
                .zip(held)
                .filter(|(_, held)| !held)
                .map(|(lease, _)| (lease, Ok(())))
                .collect(),
            Err(error) => leases
                .into_iter()
                .map(|lease| (lease, Err(error.clone())))
                .collect(),
        };
        if news.is_empty() {
            return;
        }
        let mut waiters = self.0.lock();
        let all = std::mem::take(&mut waiters.waiting);
        for waiter in all {
            match news.get(&(waiter.session.clone(), waiter.token)) {
                Some(news) => waiter.wake(news.clone()),
                None => waiters.waiting.push(waiter),
            }
        }
    }
}

/// Runs while anybody waits, and keeps the vault until then, as they do.
async fn watch(vault: Arc<Vault>) {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(leases) = vault.waiting.leases() else {
            return;
        };
        let asked = Instant::now();
        let count = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        let held = vault.backend().held(&leases).await;
        vault.waiting.tell(leases, held);
        pause = PAUSE
            .max(PAUSE_PER_LEASE * count)
            .max(asked.elapsed() * PAUSE_PER_ANSWER);
    }
}
