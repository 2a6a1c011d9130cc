//! What the rooms share: both servers, the breaker, the slots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::HybridConfig;
use super::queue::Queue;
use super::slot::Slot;
use super::stats::Counters;
use super::{LAYER, entry};
use crate::backend::gather::{self, Carrier, Waiting};
use crate::backend::mongo::MongoBackend;
use crate::backend::redis::HotCopies;
use crate::backend::{Backend, Commit, Head, Letter, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::resilience::Breaker;
use crate::runtime;

/// How often a Redis that went away is looked for.
const PROBE: Duration = Duration::from_millis(250);

/// Takes commits of many sessions to MongoDB in one command.
pub(super) struct ToMongo {
    mongo: MongoBackend,
    waiting: Mutex<Waiting<Self>>,
}

impl Carrier for ToMongo {
    type Item = Commit;
    type Answer = Result<Head>;

    const IN_FLIGHT: usize = 8;
    const MOST_ITEMS: usize = 64;
    const MOST_BYTES: usize = 4 << 20;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    fn kind(_: &Commit) -> u8 {
        0
    }

    fn bytes(commit: &Commit) -> usize {
        entry::size_of(&commit.changes)
    }

    /// Bounded by MongoDB's own time limit.
    async fn carry(&self, commits: &[&Commit], _: Instant) -> Vec<Result<Head>> {
        let commits = commits.iter().map(|&commit| commit.clone()).collect();
        self.mongo.commit(commits).await
    }

    fn timed_out() -> Result<Head> {
        let text = "too many commits waited for MongoDB";
        Err(Error::new(Kind::Timeout, LAYER, text))
    }

    fn interrupted() -> Result<Head> {
        Err(Error::new(Kind::Unavailable, LAYER, "the commit was interrupted"))
    }
}

/// Whether it is this very slot that is listed for its session.
fn has(slots: &HashMap<SessionId, Arc<Slot>>, slot: &Arc<Slot>) -> bool {
    slots
        .get(&slot.session)
        .is_some_and(|listed| Arc::ptr_eq(listed, slot))
}

pub(super) struct Core {
    pub config: HybridConfig,
    pub mongo: MongoBackend,
    to_mongo: Arc<ToMongo>,
    pub redis: HotCopies,
    /// In front of MongoDB.
    pub breaker: Arc<Breaker>,
    pub queue: Option<Arc<dyn Queue>>,
    pub counters: Counters,
    /// Wakes the reconciler.
    pub wake: Arc<Notify>,
    /// Dead letters that Redis has not taken yet.
    pub unsent_letters: Mutex<Vec<Letter>>,
    pub sending_letters: tokio::sync::Mutex<()>,
    me: Weak<Core>,
    /// The owner that was last seen: of many sessions the same.
    owner: Mutex<Option<Arc<Owner>>>,
    slots: Mutex<HashMap<SessionId, Arc<Slot>>>,
    /// Sessions with commits that MongoDB does not have.
    behind: Mutex<HashMap<SessionId, Arc<Slot>>>,
    /// Released or replaced with commits that MongoDB may not have.
    orphans: Mutex<Vec<Arc<Slot>>>,
    redis_away: AtomicBool,
    /// What Redis last failed with.
    redis_failure: Mutex<Option<Error>>,
    /// When MongoDB was last asked about all leases that are waited for.
    pub asked_for_leases: Mutex<Option<Instant>>,
    closed: AtomicBool,
}

impl Core {
    pub fn new(
        config: HybridConfig,
        mongo: MongoBackend,
        redis: HotCopies,
        breaker: Arc<Breaker>,
        queue: Option<Arc<dyn Queue>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            breaker,
            config,
            to_mongo: Arc::new(ToMongo {
                mongo: mongo.clone(),
                waiting: Mutex::default(),
            }),
            mongo,
            redis,
            queue,
            counters: Counters::default(),
            wake: Arc::default(),
            unsent_letters: Mutex::default(),
            sending_letters: tokio::sync::Mutex::default(),
            me: me.clone(),
            owner: Mutex::default(),
            slots: Mutex::default(),
            behind: Mutex::default(),
            orphans: Mutex::default(),
            redis_away: AtomicBool::new(false),
            redis_failure: Mutex::default(),
            asked_for_leases: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Closed, LAYER, "the store is closed"));
        }
        Ok(())
    }

    pub fn shut(&self) -> bool {
        self.closed.swap(true, Ordering::AcqRel)
    }

    /// This core, for work in the background.
    pub fn shared(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    /// The owner, shared with the sessions that it owns already.
    pub fn shared_owner(&self, owner: &Owner) -> Arc<Owner> {
        let mut last = self.owner.lock();
        match &*last {
            Some(last) if **last == *owner => last.clone(),
            _ => last.insert(Arc::new(owner.clone())).clone(),
        }
    }

    pub fn slot(&self, session: &SessionId) -> Option<Arc<Slot>> {
        self.slots.lock().get(session).cloned()
    }

    /// The slot of a session that this very owner holds.
    pub fn slot_of(&self, session: &SessionId, token: Token) -> Option<Arc<Slot>> {
        self.slot(session).filter(|slot| slot.token == token)
    }

    pub fn put_slot(&self, slot: Arc<Slot>) {
        let old = self.slots.lock().insert(slot.session.clone(), slot);
        if let Some(old) = old.filter(|old| old.has_pending()) {
            self.orphans.lock().push(old);
        }
    }

    /// Takes the slot out, unless another one has its place.
    pub fn drop_slot(&self, slot: &Arc<Slot>) {
        for listed in [&self.behind, &self.slots] {
            let mut listed = listed.lock();
            if has(&listed, slot) {
                listed.remove(&slot.session);
            }
        }
    }

    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Has the reconciler bring what is pending of a session to MongoDB.
    pub fn put_behind(&self, slot: &Arc<Slot>) {
        self.behind.lock().insert(slot.session.clone(), slot.clone());
    }

    /// The sessions in use that may have something pending.
    pub fn slots_behind(&self) -> Vec<Arc<Slot>> {
        let behind = self.behind.lock();
        let slots = self.slots.lock();
        // Those that were given up since are orphans.
        behind
            .values()
            .filter(|slot| has(&slots, slot))
            .cloned()
            .collect()
    }

    /// Lets the reconciler forget a session that has nothing pending any more.
    pub fn drop_behind(&self, slot: &Arc<Slot>) {
        let mut behind = self.behind.lock();
        // Looked at under the lock: whoever makes something pending lists the session afterwards.
        if has(&behind, slot) && !slot.has_pending() {
            behind.remove(&slot.session);
        }
    }

    pub fn orphans(&self) -> Vec<Arc<Slot>> {
        self.orphans.lock().clone()
    }

    pub fn add_orphan(&self, slot: Arc<Slot>) {
        self.orphans.lock().push(slot);
    }

    pub fn drop_orphan(&self, slot: &Arc<Slot>) {
        self.orphans.lock().retain(|orphan| !Arc::ptr_eq(orphan, slot));
    }

    /// A slot of this process with that token, in use or left over, whose memory has what its owner acknowledged.
    pub fn former(&self, session: &SessionId, token: Token) -> Option<Arc<Slot>> {
        let left = || {
            self.orphans()
                .into_iter()
                .find(|slot| slot.session == *session && slot.token == token)
        };
        let slot = self.slot_of(session, token).or_else(left)?;
        (slot.lost().is_none() || slot.has_pending()).then_some(slot)
    }

    /// A call to MongoDB, unless the breaker is open.
    pub async fn truth<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.breaker.call(call).await
    }

    /// A call to MongoDB whatever the breaker says; it is told how that ended.
    pub async fn probe<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.breaker.call_always(call).await
    }

    /// Commits to MongoDB, together with other sessions' commits that wait.
    pub async fn commit_to_mongo(&self, commit: Commit) -> Result<Head> {
        let missing = || {
            Err(Error::new(
                Kind::Internal,
                LAYER,
                "MongoDB left a commit unanswered",
            ))
        };
        let deadline = Instant::now() + self.mongo.operation_timeout();
        let mut answers = gather::carry(&self.to_mongo, vec![commit], deadline).await;
        answers.pop().unwrap_or_else(missing)
    }

    /// Whether Redis answered when it was last asked.
    pub fn redis_is_there(&self) -> bool {
        !self.redis_away.load(Ordering::Acquire)
    }

    /// A call to Redis, unless it is away: nobody but the prober waits for a Redis that does not answer.
    pub async fn hot<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.redis_is_there() {
            let error = Error::new(Kind::Unavailable, LAYER, "Redis cannot be reached");
            return Err(match &*self.redis_failure.lock() {
                Some(failure) => error.because(failure),
                None => error,
            });
        }
        let answer = call.await;
        if let Err(error) = &answer
            && matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
            && !error.is_of_part()
        {
            *self.redis_failure.lock() = Some(error.clone());
            if !self.redis_away.swap(true, Ordering::AcqRel) {
                runtime::spawn(look_for_redis(self.me.clone()));
            }
        }
        answer
    }
}

async fn look_for_redis(core: Weak<Core>) {
    loop {
        tokio::time::sleep(PROBE).await;
        let Some(core) = core.upgrade() else { return };
        if core.open().is_err() {
            return;
        }
        if core.redis.ping().await.is_ok() {
            core.redis_away.store(false, Ordering::Release);
            core.wake.notify_one();
            return;
        }
    }
}
