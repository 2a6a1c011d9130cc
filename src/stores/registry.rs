//! The open stores of this process.
//!
//! Whoever opens the same location shares one [`Store`], from whichever thread: one connection, one owner, one
//! queue per session. It is closed with its last user.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use super::connect::{Connection, connect_by};
use super::request::OpenRequest;
use super::settings::SharedSettings;
use super::store::{Event, Listeners, Store};
use crate::config::{StoreConfig, ms};
use crate::error::{Error, Result};
use crate::resilience::away;
use crate::session::{LostSessions, OpenOptions, Session, Settings, Vault, cache};

/// What stands in the registry for a location.
#[derive(Default)]
struct Entry {
    /// Held while the store is connected or closed; empty while nobody uses it.
    open: tokio::sync::Mutex<Option<OpenStore>>,
    /// How the last attempt to open it failed, and when.
    failed: Mutex<Option<(Instant, Error)>>,
}

struct OpenStore {
    store: Arc<Store>,
    settings: SharedSettings,
    users: usize,
}

/// One user's hold on an open store, to be given back by [`StoreHandle::close`].
pub struct StoreHandle {
    store: Arc<Store>,
    /// How this user opens sessions.
    pub options: OpenOptions,
    location: String,
    /// Until it is given back.
    entry: Mutex<Option<Arc<Entry>>>,
}

fn entries() -> &'static Mutex<HashMap<String, Arc<Entry>>> {
    static ENTRIES: OnceLock<Mutex<HashMap<String, Arc<Entry>>>> = OnceLock::new();
    ENTRIES.get_or_init(Mutex::default)
}

/// What this process knows to be lost of each location, for as long as it lives.
fn lost_at(location: &str) -> Arc<LostSessions> {
    static LOST: OnceLock<Mutex<HashMap<String, Arc<LostSessions>>>> = OnceLock::new();
    let mut lost = LOST.get_or_init(Mutex::default).lock();
    // Nobody has a store open there, nor lost anything.
    lost.retain(|_, sessions| !sessions.is_empty() || Arc::strong_count(sessions) > 1);
    lost.entry(location.to_owned()).or_default().clone()
}

/// Opens the store, or shares it if it is open with the same settings; with what the operator should know about the
/// storage's set-up. Must run on its worker thread. A server that is not up yet, or loads its data, is waited for up to
/// `openTimeout`, and `tell` hears why.
pub async fn open(request: OpenRequest, tell: impl Fn(&Error) + Send) -> Result<(StoreHandle, Vec<String>)> {
    let begun = Instant::now();
    let entry = entries()
        .lock()
        .entry(request.location.clone())
        .or_default()
        .clone();
    let mut open = entry.open.lock().await;
    if let Some(replaced) = open.take_if(|open| !open.store.vault.is_in_place()) {
        // Its folder was removed: its handles fail from here on, and what is there now is opened.
        let _ = replaced.store.vault.close().await;
    }
    let (store, warnings) = if let Some(open) = &mut *open {
        open.store.vault.ensure_open()?;
        open.settings.ensure_equal(&request.settings)?;
        open.users += 1;
        (open.store.clone(), Vec::new())
    } else {
        let connection = entry.connect(begun, &request.config, tell).await?;
        let warnings = connection.warnings.clone();
        let store = Arc::new(set_up(connection, &request));
        *open = Some(OpenStore {
            store: store.clone(),
            settings: request.settings,
            users: 1,
        });
        (store, warnings)
    };
    drop(open);
    if let Some(bytes) = request.config.cache_bytes {
        cache::set_budget(bytes);
    }
    let handle = StoreHandle {
        store,
        options: request.options,
        location: request.location,
        entry: Mutex::new(Some(entry)),
    };
    Ok((handle, warnings))
}

fn set_up(connection: Connection, request: &OpenRequest) -> Store {
    let Connection {
        backend,
        breakers,
        outbox,
        relay,
        warnings: _,
    } = connection;
    let settings = Settings {
        lost: lost_at(&request.location),
        lease: ms(request.config.lease),
        operation_timeout: ms(request.config.resilience.operation_timeout),
    };
    let listeners = Arc::new(Listeners::default());
    let told = listeners.clone();
    let on_lost = move |session: &Session, reason: &Error| {
        told.tell(&Event::SessionLost(
            session.id().clone(),
            session.fence(),
            reason.clone(),
        ));
    };
    let vault = Vault::new(backend, request.worker.clone(), settings, on_lost);
    for breaker in &breakers {
        let (told, layer) = (Arc::downgrade(&listeners), breaker.layer());
        breaker.watch(Box::new(move |position, last| {
            if let Some(listeners) = told.upgrade() {
                listeners.tell(&Event::BreakerMoved(layer, position, last.cloned()));
            }
        }));
    }
    Store {
        vault,
        breakers,
        outbox,
        relay,
        listeners,
    }
}

impl Deref for StoreHandle {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl StoreHandle {
    /// Gives the store back, once; its last user closes it.
    pub async fn close(&self) -> Result<()> {
        let Some(entry) = self.entry.lock().take() else {
            return Ok(());
        };
        let mut open = entry.open.lock().await;
        let Some(current) = open.as_mut().filter(|open| Arc::ptr_eq(&open.store, &self.store)) else {
            // It was replaced, since its folder was removed.
            return Ok(());
        };
        current.users -= 1;
        if current.users > 0 {
            return Ok(());
        }
        *open = None;
        let outcome = self.store.vault.close().await;
        drop(open);
        let mut entries = entries().lock();
        // Two strong references are the map's and ours: nobody is waiting to open it again.
        if entries
            .get(&self.location)
            .is_some_and(|ours| Arc::ptr_eq(ours, &entry) && Arc::strong_count(ours) == 2)
        {
            entries.remove(&self.location);
        }
        outcome
    }
}

impl Entry {
    /// Connects for an opener that began to wait at `begun`.
    async fn connect(
        &self,
        begun: Instant,
        config: &StoreConfig,
        tell: impl Fn(&Error) + Send,
    ) -> Result<Connection> {
        let deadline = begun + ms(config.open_timeout);
        let failed = self.failed.lock().clone();
        if let Some((at, error)) = failed
            && at >= begun
            && Instant::now() >= deadline
        {
            // Who stood behind an opener that waited in vain has waited as long itself.
            return Err(error);
        }
        let connected = connect_by(deadline, config, tell).await;
        let failure = connected.as_ref().err().filter(|error| away(error));
        *self.failed.lock() = failure.map(|error| (Instant::now(), error.clone()));
        connected
    }
}
