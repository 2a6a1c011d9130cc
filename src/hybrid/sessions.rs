//! Which sessions this process owns, which of them the primary is behind of, and what is left of earlier ones.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::slot::Slot;
use crate::backend::{Owner, SessionId, Token};

type Slots = HashMap<SessionId, Arc<Slot>>;

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    owned: Mutex<Slots>,
    /// Those with commits that the primary does not have.
    behind: Mutex<Slots>,
    /// Released or replaced with commits that the primary may not have.
    orphans: Mutex<Vec<Arc<Slot>>>,
    /// The owner that was last seen: of many sessions the same.
    owner: Mutex<Option<Arc<Owner>>>,
}

/// Whether it is this very slot that is listed for its session.
fn has(slots: &Slots, slot: &Arc<Slot>) -> bool {
    slots
        .get(&slot.session)
        .is_some_and(|listed| Arc::ptr_eq(listed, slot))
}

impl Sessions {
    /// The owner, shared with the sessions that it owns already.
    pub fn shared_owner(&self, owner: &Owner) -> Arc<Owner> {
        let mut last = self.owner.lock();
        match &*last {
            Some(last) if **last == *owner => last.clone(),
            _ => last.insert(Arc::new(owner.clone())).clone(),
        }
    }

    pub fn get(&self, session: &SessionId) -> Option<Arc<Slot>> {
        self.owned.lock().get(session).cloned()
    }

    /// The slot of a session that this very owner holds.
    pub fn of_owner(&self, session: &SessionId, token: Token) -> Option<Arc<Slot>> {
        self.get(session).filter(|slot| slot.token == token)
    }

    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.owned.lock().values().cloned().collect()
    }

    pub fn put(&self, slot: Arc<Slot>) {
        let old = self.owned.lock().insert(slot.session.clone(), slot);
        if let Some(old) = old.filter(|old| old.has_pending()) {
            self.orphans.lock().push(old);
        }
    }

    /// Takes the slot out, unless another one has its place.
    pub fn remove(&self, slot: &Arc<Slot>) {
        for listed in [&self.behind, &self.owned] {
            let mut listed = listed.lock();
            if has(&listed, slot) {
                listed.remove(&slot.session);
            }
        }
    }

    /// Has the reconciler bring what is pending of a session to the primary.
    pub fn put_behind(&self, slot: &Arc<Slot>) {
        self.behind.lock().insert(slot.session.clone(), slot.clone());
    }

    /// The sessions in use that may have something pending.
    pub fn behind(&self) -> Vec<Arc<Slot>> {
        let behind = self.behind.lock();
        let owned = self.owned.lock();
        // Those that were given up since are orphans.
        behind
            .values()
            .filter(|slot| has(&owned, slot))
            .cloned()
            .collect()
    }

    /// Lets the reconciler forget a session that has nothing pending any more.
    pub fn remove_behind(&self, slot: &Arc<Slot>) {
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

    pub fn remove_orphan(&self, slot: &Arc<Slot>) {
        self.orphans.lock().retain(|orphan| !Arc::ptr_eq(orphan, slot));
    }

    /// A slot of this process with that token, in use or left over, whose memory has what its owner acknowledged.
    pub fn former(&self, session: &SessionId, token: Token) -> Option<Arc<Slot>> {
        let left = || {
            self.orphans()
                .into_iter()
                .find(|slot| slot.session == *session && slot.token == token)
        };
        let slot = self.of_owner(session, token).or_else(left)?;
        (slot.lost().is_none() || slot.has_pending()).then_some(slot)
    }
}
