//! One open store.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::queue::{JobRelay, JobSink};
use super::rules;
use crate::backend::{Fence, SessionId, embedded};
use crate::error::{Error, Result};
use crate::hybrid::HybridBackend;
use crate::resilience::Breaker;
use crate::resilience::breaker::Position;
use crate::session::Vault;

/// An open store, shared by all its users in this process.
pub struct Store {
    pub(super) vault: Arc<Vault>,
    pub(super) breakers: Vec<Arc<Breaker>>,
    pub(super) outbox: Option<HybridBackend>,
    pub(super) relay: Option<Arc<JobRelay>>,
    pub(super) listeners: Arc<Listeners>,
}

impl Store {
    /// Its sessions.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Its circuit breakers.
    pub fn breakers(&self) -> &[Arc<Breaker>] {
        &self.breakers
    }

    /// Its outbox, if it has one.
    pub fn outbox(&self) -> Option<&HybridBackend> {
        self.outbox.as_ref()
    }

    /// Tells `listener` of every event from now on, for as long as somebody holds it.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        self.listeners.add(listener);
    }

    /// From now on the queue of `sink`'s store `number` gets jobs, if this store has any to give.
    pub fn hand_jobs_to(&self, sink: Weak<dyn JobSink>, number: u32) {
        if let Some(relay) = &self.relay {
            relay.join(sink, number);
        }
    }

    /// The time to live that a touch asks for by itself, where this store can keep it; `None` if it asks for none.
    pub fn ttl_of_touch(&self, seconds: Option<u64>) -> Result<Option<Duration>> {
        rules::ttl_of_touch(self.vault.backend_name() == embedded::NAME, seconds)
    }
}

/// Something that happened on its own.
#[derive(Debug, Clone)]
pub enum Event {
    /// The storage took a session away: another owner came, or its records are gone.
    SessionLost(SessionId, Fence, Error),
    /// The circuit breaker before this storage changed its position; with what the storage last failed with.
    BreakerMoved(&'static str, Position, Option<Error>),
}

/// Told of every [`Event`].
pub trait Listener: Send + Sync {
    /// Called on the store's worker thread; must not block.
    fn notice(&self, event: &Event);
}

/// Everybody who is told of the events of one store.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Weak<dyn Listener>>>);

impl Listeners {
    fn add(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.0.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        // Once, however many users it has of this store: it knows its sessions by itself.
        if !listeners.iter().any(|known| known.ptr_eq(&listener)) {
            listeners.push(listener);
        }
    }

    pub fn tell(&self, event: &Event) {
        // Outside the lock: a listener may want to listen to another store.
        let listeners: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in listeners {
            listener.notice(event);
        }
    }
}
