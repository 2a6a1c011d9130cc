//! The end of sessions: closed, deleted, or brought down by a panic.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use super::lease;
use super::session::Session;
use super::vault::{Entry, LAYER, Name, OpenOptions, Purpose, Slot, Vault, is_loss};
use crate::backend::{Fence, SessionId, Token, session_closed, store_closed};
use crate::error::{Error, Kind, Result};

/// What [`Vault::delete`] did.
#[derive(Debug)]
pub struct Deletion {
    /// Whether there was such a session.
    pub existed: bool,
    /// Why it could not have been opened, if it could not.
    pub unreadable: Option<Error>,
}

impl Vault {
    /// Gives one handle of `session` back. With the last one it waits for queued patches and releases the lease.
    pub async fn close_session(&self, session: &Arc<Session>) {
        let name = (session.id().clone(), matches!(session.fence(), Fence::Owner(_)));
        let last = self.drop_handle(&name, session);
        session.flush().await;
        if let Some(notify) = last {
            self.end(session, session_closed()).await;
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
        sessions.insert(name.clone(), Slot::Busy(notify.clone(), Some(session.clone())));
        Some(notify)
    }

    pub(super) async fn end(&self, session: &Session, reason: Error) {
        session.terminate(&reason.in_session(session.id()));
        session.quiesce().await;
        self.give_session_back(session).await;
    }

    async fn give_session_back(&self, session: &Session) {
        if let Fence::Owner(token) = session.fence() {
            session.given_back.store(true, Ordering::Release);
            self.give_back(session.id(), token).await;
        }
    }

    pub(super) async fn give_back(&self, id: &SessionId, token: Token) {
        // If the storage cannot be told, the lease runs out by itself, and this process may take it over before.
        let _ = self.backend.release(id, token).await;
        lease::forget(id, token);
    }

    /// Deletes session `id`, whether or not it can be read. If it is open here its handles take no writes any more,
    /// even when the storage fails to delete it. One that was fenced off is not deleted; one that was lost is, and may
    /// then be begun anew.
    pub async fn delete(self: &Arc<Self>, id: &SessionId, options: &OpenOptions) -> Result<Deletion> {
        let name = (id.clone(), options.exclusive);
        if let Some(loss) = self.lost(&name).filter(|loss| loss.kind() == Kind::Fenced) {
            return Err(loss);
        }
        let (session, unreadable, notify) = loop {
            match self.enter(&name, &options.agreement(), Purpose::Delete)? {
                Entry::Shared(session) => {
                    if let Some(notify) = self.seize(&name, &session) {
                        break (session, None, notify);
                    }
                }
                Entry::Busy(busy) => self.wait_for(&name, &busy).await,
                Entry::Mine(notify) => {
                    let (session, unreadable) =
                        self.take_slot(&name, options, Purpose::Delete, &notify).await?;
                    self.hold(&name, &session, &notify);
                    break (session, unreadable, notify);
                }
            }
        };
        session.terminate(&Error::new(Kind::Deleted, "session", "the session was deleted").in_session(id));
        session.quiesce().await;
        let outcome = self.backend.delete(id, session.fence()).await;
        if let Err(error) = &outcome
            && is_loss(error)
        {
            session.lose_instead(&error.clone().in_session(id));
        }
        self.give_session_back(&session).await;
        if outcome.is_ok() {
            self.settings.lost.forget(id);
        }
        self.leave(name, None, &notify);
        match outcome {
            Ok(existed) => Ok(Deletion {
                existed,
                unreadable: unreadable.filter(|_| existed),
            }),
            Err(error) => Err(error.in_session(id)),
        }
    }

    /// Makes the slot of `session` busy for the caller, unless somebody else ended it since it was opened.
    fn seize(&self, name: &Name, session: &Arc<Session>) -> Option<Arc<Notify>> {
        let mut sessions = self.sessions.lock();
        let ours = matches!(sessions.get(name), Some(Slot::Open { session: open, .. }) if Arc::ptr_eq(open, session));
        ours.then(|| {
            let notify = Arc::new(Notify::new());
            sessions.insert(name.clone(), Slot::Busy(notify.clone(), Some(session.clone())));
            notify
        })
    }

    /// Lets a panic find `session` in a slot that is busy for the caller.
    fn hold(&self, name: &Name, session: &Arc<Session>, notify: &Arc<Notify>) {
        if let Some(Slot::Busy(_, held)) = self
            .sessions
            .lock()
            .get_mut(name)
            .filter(|slot| matches!(slot, Slot::Busy(busy, _) if Arc::ptr_eq(busy, notify)))
        {
            *held = Some(session.clone());
        }
    }

    /// Closes every session and the backend.
    pub async fn close(&self) -> Result<()> {
        let open: Vec<_> = {
            let sessions = self.sessions.lock();
            self.closed.store(true, Ordering::Release);
            sessions.keys().cloned().collect()
        };
        self.waiting.close(store_closed(LAYER));
        for name in open {
            self.close_slot(&name).await;
        }
        self.committer.close();
        self.backend.close().await
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
                    Some(Slot::Busy(busy, _)) => Found::Busy(busy.clone()),
                    Some(Slot::Open { session, .. }) => {
                        let (session, notify) = (session.clone(), Arc::new(Notify::new()));
                        let busy = Slot::Busy(notify.clone(), Some(session.clone()));
                        sessions.insert(name.clone(), busy);
                        Found::Session(session, notify)
                    }
                }
            };
            match found {
                Found::Busy(busy) => self.wait_for(name, &busy).await,
                Found::Session(session, notify) => {
                    session.flush().await;
                    self.end(&session, store_closed(LAYER)).await;
                    self.leave(name.clone(), None, &notify);
                }
            }
        }
    }

    /// Something panicked: nothing in memory is to be relied upon any more, so every session ends and whoever waits
    /// is told. Leases are left to run out, and to be taken over by whoever opens the store anew.
    pub(super) fn fail(&self, defect: &Error) {
        let slots = std::mem::take(&mut *self.sessions.lock());
        for slot in slots.into_values() {
            let (session, busy) = match slot {
                Slot::Busy(notify, session) => (session, Some(notify)),
                Slot::Open { session, .. } => (Some(session), None),
            };
            if let Some(session) = session {
                if let Fence::Owner(token) = session.fence() {
                    lease::forget(session.id(), token);
                }
                session.abandon(&defect.clone().in_session(session.id()));
            }
            if let Some(busy) = busy {
                busy.notify_waiters();
            }
        }
        self.waiting.close(defect.clone());
        self.committer.close();
    }
}
