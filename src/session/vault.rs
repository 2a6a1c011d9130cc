//! The sessions of one backend: opening, sharing and closing them.
//!
//! Whoever opens a session that is already open in this process gets the same [`Session`]; it is closed with its
//! last handle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::actor::{Lookup, Reply, Session};
use super::committer::Committer;
use super::lease::{self, Wanted};
use crate::backend::{Backend, Fence, Head, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{KeyRing, Patch, RecordKey, SealOptions, Sealer};
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

/// Something that happened to a session on its own.
#[derive(Debug, Clone)]
pub enum Event {
    /// The storage took the session away: another owner came, or its records are gone.
    Lost(SessionId, Error),
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
    backend: Arc<dyn Backend>,
    lane: Lane,
    settings: Settings,
    committer: Arc<Committer>,
    sessions: Mutex<HashMap<Name, Slot>>,
    listeners: Listeners,
    renewing: AtomicBool,
}

impl Vault {
    /// Puts `backend` to use. Must be called in `lane`, as everything `async` here.
    pub fn new(backend: Arc<dyn Backend>, lane: Lane, settings: Settings) -> Arc<Self> {
        let committer = Arc::new(Committer::default());
        lane.spawn(committer.clone().run(backend.clone()));
        Arc::new(Self {
            backend,
            lane,
            settings,
            committer,
            sessions: Mutex::default(),
            listeners: Listeners::default(),
            renewing: AtomicBool::new(false),
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

    /// Shares the slot of `name` if it is open, or makes it busy for the caller.
    fn enter(&self, name: &Name, fingerprint: Fingerprint) -> Result<Entry> {
        let mut sessions = self.sessions.lock();
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

    /// Takes the lease and checks that what is stored can be opened, before anything may be written.
    async fn take(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<Arc<Session>> {
        let sealer = Sealer::new(options.ring.clone(), options.seal, id)?;
        if !options.exclusive {
            let head = self.backend.head(id).await?;
            let creds = self.backend.read(id, &[RecordKey::creds()]).await?;
            self.check_readable(id, &sealer, head, creds.first().and_then(Option::as_ref))
                .await?;
            return Ok(Arc::new(self.session(id, Fence::Shared, sealer, head, options)));
        }
        let wanted = Wanted {
            session: id.clone(),
            lease: self.settings.lease,
            open_timeout: options.open_timeout,
            claim: options.claim,
            read: vec![RecordKey::creds()],
        };
        let (grant, trusted_until) = lease::take(&*self.backend, wanted).await?;
        let creds = grant.records.into_iter().next().flatten();
        match self.check_readable(id, &sealer, grant.head, creds.as_ref()).await {
            Ok(plain) => {
                let fence = Fence::Owner(grant.token);
                let session = Arc::new(self.session(id, fence, sealer, grant.head, options));
                session.remember(&RecordKey::creds(), plain);
                session.trust_until(trusted_until);
                if grant.expires && !self.renewing.swap(true, Ordering::AcqRel) {
                    self.lane
                        .spawn(lease::keep(Arc::downgrade(self), self.settings.lease));
                }
                Ok(session)
            }
            Err(error) => {
                self.give_back(id, grant.token).await;
                Err(error)
            }
        }
    }

    fn session(
        &self,
        id: &SessionId,
        fence: Fence,
        sealer: Sealer,
        head: Head,
        options: &OpenOptions,
    ) -> Session {
        let listeners = self.listeners.clone();
        let on_lost = Arc::new(move |id: &SessionId, error: &Error| {
            let listeners: Vec<_> = listeners.lock().iter().filter_map(Weak::upgrade).collect();
            for listener in listeners {
                listener.notice(&Event::Lost(id.clone(), error.clone()));
            }
        });
        Session::new(
            id.clone(),
            fence,
            sealer,
            head,
            self.settings.operation_timeout,
            options.ttl,
            on_lost,
        )
    }

    /// A wrong key must show before the first write, not at the first read: so one stored record is opened.
    /// Answers with the creds.
    async fn check_readable(
        &self,
        id: &SessionId,
        sealer: &Sealer,
        head: Head,
        creds: Option<&Bytes>,
    ) -> Result<Option<Bytes>> {
        if let Some(sealed) = creds {
            return sealer.open(&RecordKey::creds(), sealed).map(Some);
        }
        if head.version > 0 {
            let page = self.backend.scan(id, None, None, 1).await?;
            if let Some((key, sealed)) = page.items.first() {
                sealer.open(key, sealed)?;
            }
        }
        Ok(None)
    }

    async fn give_back(&self, id: &SessionId, token: Token) {
        lease::forget(id, token);
        // If the storage cannot be told, the lease runs out by itself, and this process may take it over before.
        let _ = self.backend.release(id, token).await;
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

    /// Queues `patch` in the order of the calls; may be called from any thread. See [`Session`].
    pub fn commit(&self, session: &Arc<Session>, patch: Patch, expected: Option<u64>, reply: Reply) {
        if session.enqueue(patch, expected, reply) {
            self.committer.schedule(session.clone());
        }
    }

    /// [`Vault::commit`], waiting for the outcome.
    pub async fn committed(
        &self,
        session: &Arc<Session>,
        patch: Patch,
        expected: Option<u64>,
    ) -> Result<Head> {
        let (reply, outcome) = waiting();
        self.commit(session, patch, expected, reply);
        outcome.await
    }

    pub(super) fn schedule(&self, session: Arc<Session>) {
        self.committer.schedule(session);
    }

    /// Reads records; memory answers what it can, one call to the storage the rest.
    pub async fn read(&self, session: &Arc<Session>, keys: &[RecordKey]) -> Result<Vec<Option<Bytes>>> {
        if matches!(session.fence(), Fence::Owner(_)) && !session.is_trusted() {
            // The same token still stands: then nobody has written since, and memory holds.
            lease::renew(self, vec![session.clone()]).await;
        }
        if let Lookup::Found(found) = session.lookup(keys)? {
            return Ok(found);
        }
        let (mut known, version) = session.recall(keys);
        let unknown: Vec<_> = keys
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let sealed = self
            .backend
            .read(session.id(), &unknown)
            .await
            .map_err(|error| error.in_session(session.id()))?;
        let mut read = Vec::with_capacity(unknown.len());
        for (key, sealed) in unknown.into_iter().zip(sealed) {
            let plain = sealed
                .map(|sealed| session.sealer().open(&key, &sealed))
                .transpose()?;
            read.push((key, plain));
        }
        session.learn(version, &mut read)?;
        let mut read = read.into_iter().map(|(_, plain)| plain);
        for known in &mut known {
            if known.is_none() {
                *known = read.next();
            }
        }
        Ok(known.into_iter().map(Option::flatten).collect())
    }

    /// Deletes session `id`; `false` if there was none. If it is open here its handles take no writes any more,
    /// even when the storage fails to delete it.
    pub async fn delete(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<bool> {
        let session = self.open(id, options).await?;
        let name = (id.clone(), options.exclusive);
        let notify = Arc::new(Notify::new());
        self.sessions
            .lock()
            .insert(name.clone(), Slot::Busy(notify.clone()));
        session.refuse(&Error::new(Kind::Deleted, "session", "the session was deleted").in_session(id));
        session.quiesce().await;
        let outcome = self.backend.delete(id, session.fence()).await;
        if let Fence::Owner(token) = session.fence() {
            self.give_back(id, token).await;
        }
        self.leave(name, None, &notify);
        outcome.map_err(|error| error.in_session(id))
    }

    /// Makes session `id` live `ttl` from now; `false` if there is none.
    pub async fn touch(&self, id: &SessionId, ttl: Option<Duration>) -> Result<bool> {
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

    /// Closes every session and the backend.
    pub async fn close(&self) -> Result<()> {
        let open: Vec<_> = self.sessions.lock().drain().collect();
        for (_, slot) in open {
            if let Slot::Open { session, .. } = slot {
                session.flush().await;
                self.end(&session, "the store is closed").await;
            }
        }
        self.committer.close();
        self.backend.close().await
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.committer.close();
    }
}

/// A [`Reply`] and the future of what it is called with.
pub(super) fn waiting() -> (Reply, impl Future<Output = Result<Head>>) {
    let (sender, receiver) = oneshot::channel();
    let reply: Reply = Box::new(move |outcome| {
        let _ = sender.send(outcome);
    });
    (reply, async {
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Internal,
                "session",
                "a write was dropped unanswered",
            ))
        })
    })
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
