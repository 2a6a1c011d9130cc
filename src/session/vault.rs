//! The sessions of one backend: opening, sharing and closing them.
//!
//! Whoever opens a session that is already open in this process gets the same [`Session`]; it is closed with its
//! last handle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::agreement::Agreement;
use super::committer::Committer;
use super::lease;
use super::leases::Leases;
use super::lost::LostSessions;
use super::session::{OnLost, Session};
use super::waiting::Waiting;
use crate::backend::{Backend, Fence, Holder, SessionId, Token, store_closed};
use crate::error::{Error, Kind, Result};
use crate::observe::{self, StoreMetrics};
use crate::record::{KeyId, KeyRing, SealOptions};
use crate::runtime::WorkerThread;
use crate::time::unix_millis;

/// The `layer` of errors of this module.
pub(super) const LAYER: &str = "session";

/// What holds for every session of a vault.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sessions of this location that are known to be lost.
    pub lost: Arc<LostSessions>,
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
    pub client_token: Option<Token>,
    /// How long the session lives without a write or touch.
    pub ttl: Option<Duration>,
}

impl OpenOptions {
    /// What all who share the session must agree on.
    pub(super) fn agreement(&self) -> Agreement {
        Agreement {
            sealing: (self.ring.fingerprint(), self.seal),
            ttl: self.ttl,
            client_token: self.client_token,
        }
    }
}

/// A session is open once for exclusive and once for shared use.
pub(super) type Name = (SessionId, bool);

pub(super) enum Slot {
    /// Being opened, or this session being closed; told when that is over.
    Busy(Arc<Notify>, Option<Arc<Session>>),
    Open {
        session: Arc<Session>,
        handles: usize,
        agreed: Agreement,
    },
}

/// What a session is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Use,
    /// It need not be readable, and may be lost.
    Delete,
}

/// How [`Vault::open`] found a slot.
pub(super) enum Entry {
    Shared(Arc<Session>),
    Busy(Arc<Notify>),
    /// Busy for the caller, who ends that with [`Vault::leave`].
    Mine(Arc<Notify>),
}

/// One backend in use, with its open sessions.
pub struct Vault {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) worker: WorkerThread,
    pub(super) settings: Settings,
    pub(super) committer: Arc<Committer>,
    pub(super) sessions: Mutex<HashMap<Name, Slot>>,
    pub(super) waiting: Arc<Waiting>,
    /// Told once of each session that the storage takes away.
    pub(super) on_lost: OnLost,
    /// Whether leases are being renewed.
    pub(super) keeping: AtomicBool,
    pub(super) leases: Leases,
    pub(super) touching: AtomicBool,
    /// Milliseconds after which sessions are looked through for ones to touch.
    pub(super) touch_every: AtomicU64,
    pub(super) hurry: Arc<Notify>,
    pub(super) closed: AtomicBool,
    pub(super) metrics: &'static StoreMetrics,
}

impl Vault {
    /// Puts `backend` to use. Must be called on `worker`, as everything `async` here. `on_lost` is told once of each
    /// session that the storage takes away: another owner came, or its records are gone. It must not block.
    pub fn new(
        backend: Arc<dyn Backend>,
        worker: WorkerThread,
        settings: Settings,
        on_lost: impl Fn(&Session, &Error) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let committer = Arc::new(Committer::default());
        worker.spawn(committer.clone().run(backend.clone()));
        let lost = settings.lost.clone();
        let vault = Arc::new(Self {
            waiting: Waiting::new(backend.clone(), worker.clone()),
            on_lost: Arc::new(move |session, reason| {
                session.metrics().leases_lost.increment();
                lost.note(session.id(), reason);
                on_lost(session, reason);
            }),
            metrics: observe::of(backend.name()),
            touch_every: AtomicU64::new(u64::MAX),
            backend,
            worker,
            settings,
            committer,
            sessions: Mutex::default(),
            keeping: AtomicBool::new(false),
            leases: Leases::default(),
            touching: AtomicBool::new(false),
            hurry: Arc::default(),
            closed: AtomicBool::new(false),
        });
        let failing = Arc::downgrade(&vault);
        vault.worker.on_defect(move |defect| {
            if let Some(vault) = failing.upgrade() {
                vault.fail(defect);
            }
        });
        vault
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The name of the backend in use.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// Whether what was opened is still what its name leads to.
    pub fn is_in_place(&self) -> bool {
        self.backend.is_in_place()
    }

    /// Answers once the storage does.
    pub async fn ping(&self) -> Result<()> {
        self.backend.ping().await
    }

    /// Every note that was committed with the session, the oldest first.
    pub async fn notes(&self, id: &SessionId) -> Result<Vec<String>> {
        self.backend.notes(id).await
    }

    /// Who holds session `id`, as far as that is written down.
    pub async fn holder(&self, id: &SessionId) -> Result<Option<Holder>> {
        let holder = self.backend.holder(id).await;
        holder.map_err(|error| error.in_session(id))
    }

    /// When the master key of this name was first seen in the storage, in milliseconds since the Unix epoch.
    pub async fn key_seen(&self, key: KeyId) -> Result<u64> {
        self.backend.key_seen(key, unix_millis()).await
    }

    /// By how many milliseconds the storage's clock is ahead of this machine's, and how wrong that may be; `None` if it
    /// has none of its own.
    pub async fn clock_skew(&self) -> Result<Option<(i64, u64)>> {
        let asked = unix_millis();
        let shown = self.backend.clock().await?;
        let answered = unix_millis();
        Ok(shown.map(|shown| {
            let between = asked.midpoint(answered);
            (
                shown.wrapping_sub(between).cast_signed(),
                answered.saturating_sub(asked),
            )
        }))
    }

    /// Where this vault's work runs.
    pub fn worker(&self) -> &WorkerThread {
        &self.worker
    }

    /// What holds for every session.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long `touching` may wait before it looks for sessions to touch, and what ends its wait early.
    pub(super) fn touches(&self) -> (Duration, Arc<Notify>) {
        (
            Duration::from_millis(self.touch_every.load(Ordering::Relaxed)),
            self.hurry.clone(),
        )
    }

    /// Fails once the vault was closed, or after a panic.
    pub fn ensure_open(&self) -> Result<()> {
        if let Some(defect) = self.worker.defect() {
            return Err(defect.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(store_closed(LAYER));
        }
        Ok(())
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Opens session `id`, or shares it if it is open here; every success needs one [`Vault::close_session`].
    pub async fn open(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<Arc<Session>> {
        let name = (id.clone(), options.exclusive);
        loop {
            self.settings.lost.check(id)?;
            match self.enter(&name, &options.agreement(), Purpose::Use)? {
                Entry::Shared(session) => return Ok(session),
                Entry::Busy(busy) => self.wait_for(&name, &busy).await,
                Entry::Mine(notify) => {
                    let session = self.take_slot(&name, options, Purpose::Use, &notify).await?.0;
                    let slot = Slot::Open {
                        session: session.clone(),
                        handles: 1,
                        agreed: options.agreement(),
                    };
                    self.leave(name, Some(slot), &notify);
                    // A panic meanwhile has ended it, or left it out.
                    session.ensure_usable()?;
                    return Ok(session);
                }
            }
        }
    }

    /// [`Vault::take`] for the slot of `name`, which is busy for the caller and is given up if it fails.
    pub(super) async fn take_slot(
        self: &Arc<Self>,
        name: &Name,
        options: &OpenOptions,
        purpose: Purpose,
        notify: &Notify,
    ) -> Result<(Arc<Session>, Option<Error>)> {
        let taken = self.take(&name.0, options, purpose).await;
        if let (Ok((session, _)), Err(closed)) = (&taken, self.ensure_open()) {
            self.end(session, store_closed(LAYER)).await;
            self.leave(name.clone(), None, notify);
            return Err(closed);
        }
        if taken.is_err() {
            self.leave(name.clone(), None, notify);
        }
        taken.map_err(|error| error.in_session(&name.0))
    }

    /// [`Vault::open`] for a call that names the session. If a handle of this process was fenced off, that is the
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
    pub(super) fn lost(&self, name: &Name) -> Option<Error> {
        let sessions = self.sessions.lock();
        let Some(Slot::Open { session, .. }) = sessions.get(name) else {
            return None;
        };
        let error = session.terminal_error();
        error.filter(is_loss)
    }

    /// Shares the slot of `name` if it is open, or makes it busy for the caller. The same session in use with other
    /// keys, in either way, is an error, and to be used also with other options.
    pub(super) fn enter(&self, name: &Name, wanted: &Agreement, purpose: Purpose) -> Result<Entry> {
        let mut sessions = self.sessions.lock();
        self.ensure_open()?;
        let beside = (name.0.clone(), !name.1);
        if let Some(Slot::Open { session, agreed, .. }) = sessions.get(&beside) {
            agreed.check_sealing(session, wanted)?;
        }
        match sessions.get_mut(name) {
            Some(Slot::Busy(busy, _)) => return Ok(Entry::Busy(busy.clone())),
            Some(Slot::Open {
                session,
                handles,
                agreed,
            }) => {
                if session.terminal_error().is_none() {
                    match purpose {
                        Purpose::Use => agreed.check(session, wanted)?,
                        Purpose::Delete => agreed.check_sealing(session, wanted)?,
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
        sessions.insert(name.clone(), Slot::Busy(notify.clone(), None));
        Ok(Entry::Mine(notify))
    }

    /// Ends the time that the slot of `name` is busy.
    pub(super) fn leave(&self, name: Name, slot: Option<Slot>, notify: &Notify) {
        let mut sessions = self.sessions.lock();
        let unlisted = match (self.worker.defect(), slot) {
            (None, Some(slot)) => {
                sessions.insert(name, slot);
                None
            }
            (defect, slot) => {
                sessions.remove(&name);
                defect.zip(slot)
            }
        };
        drop(sessions);
        if let Some((defect, Slot::Open { session, .. })) = unlisted {
            session.abandon(&defect.clone().in_session(session.id()));
        }
        notify.notify_waiters();
    }

    /// Waits until a slot found busy is not any more.
    pub(super) async fn wait_for(&self, name: &Name, busy: &Arc<Notify>) {
        let mut over = std::pin::pin!(busy.notified());
        over.as_mut().enable();
        let still =
            matches!(self.sessions.lock().get(name), Some(Slot::Busy(now, _)) if Arc::ptr_eq(now, busy));
        if still {
            over.await;
        }
    }

    /// Whether there is a session `id`.
    pub async fn exists(&self, id: &SessionId) -> Result<bool> {
        self.settings.lost.check(id)?;
        let open = [true, false].map(
            |exclusive| match self.sessions.lock().get(&(id.clone(), exclusive)) {
                Some(Slot::Open { session, .. }) => Some((session.clone(), session.head().version)),
                _ => None,
            },
        );
        let head = self.backend.head(id).await;
        let head = head.map_err(|error| error.in_session(id))?;
        for (session, version) in open.into_iter().flatten() {
            session.ensure_at_least(version, head)?;
        }
        Ok(head.version > 0)
    }

    /// Makes session `id` live `ttl` from now; `false` if there is none.
    pub async fn touch(self: &Arc<Self>, id: &SessionId, ttl: Option<Duration>) -> Result<bool> {
        self.settings.lost.check(id)?;
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

    /// The sessions that this process owns and that take calls.
    pub(super) fn in_use(&self) -> Vec<Arc<Session>> {
        self.owned(false)
            .into_iter()
            .filter(|session| session.terminal_error().is_none())
            .collect()
    }

    /// The sessions whose leases are held, until they are given back: also those that are being closed or deleted, which
    /// may take longer than a lease lasts.
    pub(super) fn held(&self) -> Vec<Arc<Session>> {
        self.owned(true)
            .into_iter()
            .filter(|session| !session.given_back.load(Ordering::Acquire))
            .filter(|session| !session.terminal_error().is_some_and(|reason| is_loss(&reason)))
            .collect()
    }

    fn owned(&self, ending: bool) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock();
        let sessions = sessions.values().filter_map(|slot| match slot {
            Slot::Open { session, .. } => Some(session),
            Slot::Busy(_, session) => session.as_ref().filter(|_| ending),
        });
        sessions
            .filter(|session| matches!(session.fence(), Fence::Owner(_)))
            .cloned()
            .collect()
    }

    /// The session that this process owns, if it does; an error if it was opened with other keys.
    pub(super) fn opened(&self, id: &SessionId, options: &OpenOptions) -> Result<Option<Arc<Session>>> {
        match self.sessions.lock().get(&(id.clone(), true)) {
            Some(Slot::Open { session, agreed, .. }) if session.terminal_error().is_none() => {
                agreed.check_sealing(session, &options.agreement())?;
                Ok(Some(session.clone()))
            }
            _ => Ok(None),
        }
    }
}

/// Whether the storage says that the session is not this owner's any more.
pub(super) fn is_loss(reason: &Error) -> bool {
    matches!(reason.kind(), Kind::Fenced | Kind::SessionLost)
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.committer.close();
    }
}
