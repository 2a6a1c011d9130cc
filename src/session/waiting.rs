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

use crate::backend::{Backend, Holder, Owner, SessionId, Token};
use crate::error::{Error, Result};
use crate::runtime::WorkerThread;

/// Shortest pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause for each lease asked about: no more than 20,000 of them a second.
const PAUSE_PER_LEASE: Duration = Duration::from_micros(50);
/// Pause for the time that the last answer took: a storage that is slow is asked less.
const PAUSE_PER_ANSWER: u32 = 2;

/// Everybody who waits in one vault.
pub(super) struct Waiting {
    backend: Arc<dyn Backend>,
    worker: WorkerThread,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    waiting: Vec<Waiter>,
    watched: bool,
    /// Why nobody is to wait any more.
    closed: Option<Error>,
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
    pub fn new(backend: Arc<dyn Backend>, worker: WorkerThread) -> Arc<Self> {
        Arc::new(Self {
            backend,
            worker,
            waiters: Mutex::default(),
        })
    }

    /// Told once the lease found with `holder` may be free, or why it is not waited for.
    pub fn wait(self: &Arc<Self>, session: &SessionId, holder: &Holder) -> oneshot::Receiver<Result<()>> {
        let (wake, woken) = oneshot::channel();
        let waiter = Waiter {
            session: session.clone(),
            token: holder.token,
            owner: holder.owner.clone(),
            wake,
        };
        let mut waiters = self.waiters.lock();
        if let Some(reason) = &waiters.closed {
            waiter.wake(Err(reason.clone()));
            return woken;
        }
        waiters.waiting.push(waiter);
        if !std::mem::replace(&mut waiters.watched, true) {
            self.worker.spawn(watch(self.clone()));
        }
        woken
    }

    /// Ends every wait with `reason`, and those that begin later. The first reason stays.
    pub fn close(&self, reason: Error) {
        let mut waiters = self.waiters.lock();
        let reason = waiters.closed.get_or_insert(reason).clone();
        for waiter in std::mem::take(&mut waiters.waiting) {
            waiter.wake(Err(reason.clone()));
        }
    }

    /// The leases waited for; `None`, and the watch is over, if nobody waits. Owners known to be dead need not be
    /// asked about.
    fn leases(&self) -> Option<Vec<(SessionId, Token)>> {
        let mut waiters = self.waiters.lock();
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
        let mut waiters = self.waiters.lock();
        let all = std::mem::take(&mut waiters.waiting);
        for waiter in all {
            match news.get(&(waiter.session.clone(), waiter.token)) {
                Some(news) => waiter.wake(news.clone()),
                None => waiters.waiting.push(waiter),
            }
        }
    }
}

/// Runs while anybody waits.
async fn watch(waiting: Arc<Waiting>) {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(leases) = waiting.leases() else {
            return;
        };
        let asked = Instant::now();
        let count = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        let held = waiting.backend.check_leases(&leases).await;
        waiting.tell(leases, held);
        pause = PAUSE
            .max(PAUSE_PER_LEASE * count)
            .max(asked.elapsed() * PAUSE_PER_ANSWER);
    }
}
