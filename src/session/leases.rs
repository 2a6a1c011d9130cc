//! Leases that are to be renewed beside those of open sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::session::Session;
use crate::backend::{SessionId, Token};

/// See the module.
#[derive(Default)]
pub(super) struct Leases {
    opening: Mutex<Vec<(SessionId, Token)>>,
    asked: Mutex<Vec<Asked>>,
    /// Held by who renews what was asked for.
    pub under_way: tokio::sync::Mutex<()>,
}

/// A session whose lease is to be renewed out of turn, since somebody wants to read it.
#[derive(Clone)]
pub(super) struct Asked {
    pub session: Arc<Session>,
    done: Arc<AtomicBool>,
}

impl Asked {
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn set_done(&self) {
        self.done.store(true, Ordering::Release);
    }
}

impl Leases {
    /// Those of sessions that are being opened.
    pub fn opening(&self) -> Vec<(SessionId, Token)> {
        self.opening.lock().clone()
    }

    /// Of a session that is being opened, until this is dropped.
    pub fn open(&self, session: &SessionId, token: Token) -> Opening<'_> {
        let lease = (session.clone(), token);
        self.opening.lock().push(lease.clone());
        Opening { leases: self, lease }
    }

    pub fn ask(&self, session: &Arc<Session>) -> Asked {
        let asked = Asked {
            session: session.clone(),
            done: Arc::default(),
        };
        self.asked.lock().push(asked.clone());
        asked
    }

    /// Everything that was asked for, and `own`, which somebody may have taken along who has given up.
    pub fn take_asked(&self, own: &Asked) -> Vec<Asked> {
        let mut all = std::mem::take(&mut *self.asked.lock());
        if !all.iter().any(|other| Arc::ptr_eq(&other.done, &own.done)) {
            all.push(own.clone());
        }
        all
    }
}

/// See [`Leases::open`].
pub(super) struct Opening<'a> {
    leases: &'a Leases,
    lease: (SessionId, Token),
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self.leases.opening.lock();
        if let Some(at) = opening.iter().position(|lease| *lease == self.lease) {
            opening.swap_remove(at);
        }
    }
}
