//! The sessions of one backend: opening, sharing and closing them.
//!
//! Whoever opens a session that is already open in this process gets the same [`Session`]; it is closed with its
//! last handle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::actor::Session;
use super::clock;
use super::committer::Committer;
use super::lease::{self};
use super::waiting::Waiting;
use crate::backend::{Backend, Fence, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::observe::{self, StoreMetrics};
use crate::record::{KeyRing, SealOptions};
use crate::resilience::breaker::Position;
use crate::runtime::Lane;

/// What holds for every session of a vault.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a lease lasts when it is not renewed.
    pub lease: Duration,
    /// How long a write may wait for the ones before it.
    pub operation_timeout: Duration,
}

/// How a session is to be opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Keys to seal and open records with.
    pub ring: Arc<KeyRing>,
    /// How records are sealed.
    pub seal: SealOptions,
    /// Whether this process is to be the only writer.
    pub exclusive: bool,
    /// How long to wait for a live owner.
    pub open_timeout: Duration,
    /// The caller's own fencing token.
    pub claim: Option<Token>,
    /// How long the session lives without a write or touch.
    pub ttl: Option<Duration>,
}

/// Something that happened on its own.
#[derive(Debug, Clone)]
pub enum Event {
    /// The storage took a session away: another owner came, or its records are gone.
    Lost(SessionId, Fence, Error),
    /// The circuit breaker before this storage changed its position.
    Breaker(&'static str, Position),
}

/// Told of every [`Event`].
pub trait Listener: Send + Sync {
    /// Called in the vault's lane; must not block.
    fn notice(&self, event: &Event);
}

/// Two openers with equal ones read and write alike.
type Fingerprint = ([u8; 32], SealOptions);

type Listeners = Arc<Mutex<Vec<Weak<dyn Listener>>>>;

/// A session is open once for exclusive and once for shared use.
type Name = (SessionId, bool);

enum Slot {
    /// Being opened or closed; told when that is over.
    Busy(Arc<Notify>),
    Open {
        session: Arc<Session>,
        handles: usize,
        fingerprint: Fingerprint,
    },
}

/// How [`Vault::open`] found a slot.
enum Entry {
    Shared(Arc<Session>),
    Busy(Arc<Notify>),
    /// Busy for the caller, who ends that with [`Vault::leave`].
    Mine(Arc<Notify>),
}

/// One backend in use, with its open sessions.
pub struct Vault {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) lane: Lane,
    pub(super) settings: Settings,
    pub(super) committer: Arc<Committer>,
    sessions: Mutex<HashMap<Name, Slot>>,
    pub(super) waiting: Waiting,
    pub(super) listeners: Listeners,
    pub(super) keeping: AtomicBool,
    /// Milliseconds after which sessions are looked through for ones to touch.
    pub(super) touch_every: AtomicU64,
    pub(super) hurry: Arc<Notify>,
    closed: AtomicBool,
    pub(super) metrics: &'static StoreMetrics,
}

impl Vault {
    /// Puts `backend` to use. Must be called in `lane`, as everything `async` here.
    pub fn new(backend: Arc<dyn Backend>, lane: Lane, settings: Settings) -> Arc<Self> {
        let committer = Arc::new(Committer::default());
        lane.spawn(committer.clone().run(backend.clone()));
        Arc::new(Self {
            metrics: observe::of(backend.name()),
            touch_every: AtomicU64::new(u64::MAX),
            backend,
            lane,
            settings,
            committer,
            sessions: Mutex::default(),
            waiting: Waiting::default(),
            listeners: Listeners::default(),
            keeping: AtomicBool::new(false),
            hurry: Arc::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// The backend in use.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Where this vault's work runs.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// What holds for every session.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells `listener` of every event from now on, for as long as somebody holds it.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    /// Tells every listener.
    pub fn announce(&self, event: &Event) {
        announce(&self.listeners, event);
    }

    /// How long [`lease::keep`] may wait before it looks for sessions to touch, and what ends its wait early.
    pub(super) fn touches(&self) -> (Duration, Arc<Notify>) {
        (
            Duration::from_millis(self.touch_every.load(Ordering::Relaxed)),
            self.hurry.clone(),
        )
    }

    /// Sees to it that a session with this time to live is touched in time.
    pub(super) fn keep_alive(&self, ttl: Option<Duration>) {
        if let Some(ttl) = ttl {
            self.touch_every
                .fetch_min(clock::millis(ttl / 3).max(1), Ordering::Relaxed);
            self.hurry.notify_one();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Opens session `id`, or shares it if it is open here; every success needs one [`Vault::close_session`].
    pub async fn open(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<Arc<Session>> {
        let name = (id.clone(), options.exclusive);
        loop {
            match self.enter(&name, fingerprint(options))? {
                Entry::Shared(session) => return Ok(session),
                Entry::Busy(busy) => self.wait_for(&name, &busy).await,
                Entry::Mine(notify) => {
                    let outcome = self.take(id, options).await.map_err(|error| error.in_session(id));
                    if let Ok(session) = &outcome
                        && self.is_closed()
                    {
                        self.end(session, STORE_CLOSED).await;
                        self.leave(name, None, &notify);
                        return Err(store_closed());
                    }
                    let slot = outcome.as_ref().ok().map(|session| Slot::Open {
                        session: session.clone(),
                        handles: 1,
                        fingerprint: fingerprint(options),
                    });
                    self.leave(name, slot, &notify);
                    return outcome;
                }
            }
        }
    }

    /// [`Vault::open`] for a call that names the session. If a handle of this process has lost it, that is the
    /// answer, until the handle is closed or the session opened anew: whoever made the call took itself for the owner.
    pub async fn open_unless_lost(
        self: &Arc<Self>,
        id: &SessionId,
        options: &OpenOptions,
    ) -> Result<Arc<Session>> {
        match self.lost(&(id.clone(), options.exclusive)) {
            Some(loss) => Err(loss),
            None => self.open(id, options).await,
        }
    }

    /// Why a session that has handles here was taken away, if it was.
    fn lost(&self, name: &Name) -> Option<Error> {
        let sessions = self.sessions.lock();
        let Some(Slot::Open { session, .. }) = sessions.get(name) else {
            return None;
        };
        let refusal = session.refusal();
        refusal.filter(is_loss)
    }

    /// Shares the slot of `name` if it is open, or makes it busy for the caller.
    fn enter(&self, name: &Name, fingerprint: Fingerprint) -> Result<Entry> {
        let mut sessions = self.sessions.lock();
        if self.is_closed() {
            return Err(store_closed());
        }
        match sessions.get_mut(name) {
            Some(Slot::Busy(busy)) => return Ok(Entry::Busy(busy.clone())),
            Some(Slot::Open {
                session,
                handles,
                fingerprint: in_use,
            }) => {
                if session.refusal().is_none() {
                    if *in_use != fingerprint {
                        return Err(other_sealing(&name.0));
                    }
                    *handles += 1;
                    return Ok(Entry::Shared(session.clone()));
                }
                // Taken away: its handles keep failing, and a new start is made.
                if let Fence::Owner(token) = session.fence() {
                    lease::forget(session.id(), token);
                }
            }
            None => {}
        }
        let notify = Arc::new(Notify::new());
        sessions.insert(name.clone(), Slot::Busy(notify.clone()));
        Ok(Entry::Mine(notify))
    }

    /// Ends the time that the slot of `name` is busy.
    fn leave(&self, name: Name, slot: Option<Slot>, notify: &Notify) {
        let mut sessions = self.sessions.lock();
        match slot {
            Some(slot) => sessions.insert(name, slot),
            None => sessions.remove(&name),
        };
        drop(sessions);
        notify.notify_waiters();
    }

    /// Waits until a slot found busy is not any more.
    async fn wait_for(&self, name: &Name, busy: &Arc<Notify>) {
        let mut over = std::pin::pin!(busy.notified());
        over.as_mut().enable();
        let still = matches!(self.sessions.lock().get(name), Some(Slot::Busy(now)) if Arc::ptr_eq(now, busy));
        if still {
            over.await;
        }
    }

    pub(super) async fn give_back(&self, id: &SessionId, token: Token) {
        // If the storage cannot be told, the lease runs out by itself, and this process may take it over before.
        let _ = self.backend.release(id, token).await;
        lease::forget(id, token);
    }

    /// Gives one handle of `session` back. With the last one it waits for queued patches and releases the lease.
    pub async fn close_session(&self, session: &Arc<Session>) {
        let name = (session.id().clone(), matches!(session.fence(), Fence::Owner(_)));
        let last = self.drop_handle(&name, session);
        session.flush().await;
        if let Some(notify) = last {
            self.end(session, "the session is closed").await;
            self.leave(name, None, &notify);
        }
    }

    /// Takes a handle off; with the last one the slot is busy for the caller.
    fn drop_handle(&self, name: &Name, session: &Arc<Session>) -> Option<Arc<Notify>> {
        let mut sessions = self.sessions.lock();
        match sessions.get_mut(name) {
            Some(Slot::Open {
                session: open,
                handles,
                ..
            }) if Arc::ptr_eq(open, session) => {
                *handles -= 1;
                if *handles > 0 {
                    return None;
                }
            }
            // Deleted, or taken away and opened anew since: this handle has nothing left to give back.
            _ => return None,
        }
        let notify = Arc::new(Notify::new());
        sessions.insert(name.clone(), Slot::Busy(notify.clone()));
        Some(notify)
    }

    async fn end(&self, session: &Session, text: &'static str) {
        session.refuse(&Error::new(Kind::Closed, "session", text).in_session(session.id()));
        session.quiesce().await;
        if let Fence::Owner(token) = session.fence() {
            self.give_back(session.id(), token).await;
        }
    }

    /// Deletes session `id`; `false` if there was none. If it is open here its handles take no writes any more,
    /// even when the storage fails to delete it; one that was lost is not deleted.
    pub async fn delete(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<bool> {
        let name = (id.clone(), options.exclusive);
        let (session, notify) = loop {
            let session = self.open_unless_lost(id, options).await?;
            if let Some(notify) = self.seize(&name, &session) {
                break (session, notify);
            }
        };
        session.refuse(&Error::new(Kind::Deleted, "session", "the session was deleted").in_session(id));
        session.quiesce().await;
        let outcome = self.backend.delete(id, session.fence()).await;
        if let Err(error) = &outcome
            && is_loss(error)
        {
            session.lose_instead(&error.clone().in_session(id));
        }
        if let Fence::Owner(token) = session.fence() {
            self.give_back(id, token).await;
        }
        self.leave(name, None, &notify);
        outcome.map_err(|error| error.in_session(id))
    }

    /// Makes the slot of `session` busy for the caller, unless somebody else ended it since it was opened.
    fn seize(&self, name: &Name, session: &Arc<Session>) -> Option<Arc<Notify>> {
        let mut sessions = self.sessions.lock();
        let ours = matches!(sessions.get(name), Some(Slot::Open { session: open, .. }) if Arc::ptr_eq(open, session));
        ours.then(|| {
            let notify = Arc::new(Notify::new());
            sessions.insert(name.clone(), Slot::Busy(notify.clone()));
            notify
        })
    }

    /// Makes session `id` live `ttl` from now; `false` if there is none.
    pub async fn touch(&self, id: &SessionId, ttl: Option<Duration>) -> Result<bool> {
        if let Some(loss) = self.lost(&(id.clone(), true)) {
            return Err(loss);
        }
        let open = match self.sessions.lock().get(&(id.clone(), true)) {
            Some(Slot::Open { session, .. }) => Some(session.clone()),
            _ => None,
        };
        let fence = open.as_ref().map_or(Fence::Shared, |session| session.fence());
        let touched = self
            .backend
            .touch(id, fence, ttl)
            .await
            .map_err(|error| error.in_session(id))?;
        if let Some(session) = open {
            session.set_ttl(ttl);
            self.keep_alive(ttl);
        }
        Ok(touched)
    }

    /// The names of all sessions.
    pub async fn list(&self) -> Result<Vec<SessionId>> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.backend.list(cursor, 1000).await?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                all.sort_unstable();
                all.dedup();
                return Ok(all);
            }
        }
    }

    pub(super) fn leased(&self) -> Vec<Arc<Session>> {
        self.sessions
            .lock()
            .values()
            .filter_map(|slot| match slot {
                Slot::Open { session, .. } if matches!(session.fence(), Fence::Owner(_)) => {
                    Some(session.clone())
                }
                _ => None,
            })
            .filter(|session| session.refusal().is_none())
            .collect()
    }

    pub(super) fn opened(&self, id: &SessionId) -> Option<Arc<Session>> {
        match self.sessions.lock().get(&(id.clone(), true)) {
            Some(Slot::Open { session, .. }) if session.refusal().is_none() => Some(session.clone()),
            _ => None,
        }
    }

    /// Closes what stands in a slot, or waits until whoever is opening or closing it has.
    async fn close_slot(&self, name: &Name) {
        enum Found {
            Session(Arc<Session>, Arc<Notify>),
            Busy(Arc<Notify>),
        }
        loop {
            let found = {
                let mut sessions = self.sessions.lock();
                match sessions.get_mut(name) {
                    None => return,
                    Some(Slot::Busy(busy)) => Found::Busy(busy.clone()),
                    Some(slot @ Slot::Open { .. }) => {
                        let notify = Arc::new(Notify::new());
                        let Slot::Open { session, .. } = std::mem::replace(slot, Slot::Busy(notify.clone()))
                        else {
                            return;
                        };
                        Found::Session(session, notify)
                    }
                }
            };
            match found {
                Found::Busy(busy) => self.wait_for(name, &busy).await,
                Found::Session(session, notify) => {
                    session.flush().await;
                    self.end(&session, STORE_CLOSED).await;
                    self.leave(name.clone(), None, &notify);
                }
            }
        }
    }

    /// Closes every session and the backend.
    pub async fn close(&self) -> Result<()> {
        let open: Vec<_> = {
            let sessions = self.sessions.lock();
            self.closed.store(true, Ordering::Release);
            sessions.keys().cloned().collect()
        };
        self.waiting.wake_all();
        for name in open {
            self.close_slot(&name).await;
        }
        self.committer.close();
        self.backend.close().await
    }
}

pub(super) fn announce(listeners: &Listeners, event: &Event) {
    let listeners: Vec<_> = listeners.lock().iter().filter_map(Weak::upgrade).collect();
    for listener in listeners {
        listener.notice(event);
    }
}

/// Whether the storage says that the session is not this owner's any more.
fn is_loss(reason: &Error) -> bool {
    matches!(reason.kind(), Kind::Fenced | Kind::SessionLost)
}

const STORE_CLOSED: &str = "the store is closed";

pub(super) fn store_closed() -> Error {
    Error::new(Kind::Closed, "session", STORE_CLOSED)
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.committer.close();
    }
}

fn fingerprint(options: &OpenOptions) -> Fingerprint {
    (options.ring.fingerprint(), options.seal)
}

fn other_sealing(id: &SessionId) -> Error {
    let text = "the session is already open in this process with another masterKey or other security options";
    Error::new(Kind::Config, "session", text)
        .with("field", "masterKey")
        .in_session(id)
}
