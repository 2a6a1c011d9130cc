//! What this process knows of the sessions it writes.
//!
//! It is a shortcut, never the authority: every write is guarded by the server's document, and whatever is not known
//! (another process granted the lease, an answer was lost) is read again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mongodb::bson::DateTime;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::documents::{Entry, SessionDoc, size_of};
use crate::backend::{SessionId, Token};
use crate::time::Moment;

/// So many patches may wait to be applied before the next commit applies them itself …
const QUEUE_ENTRIES: usize = 32;
/// … or so many bytes: pending patches stand in the session's document, which has a limit of 16 MiB.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// A session at one version: what a read needs beside the records.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub epoch: Arc<str>,
    pub version: u64,
    /// Patches whose changes may not stand in the records yet, oldest first.
    pub pending: Vec<Arc<Entry>>,
}

/// Where a session stood after the last write by this process whose outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub epoch: Arc<str>,
    pub version: u64,
}

impl Known {
    pub fn of(session: &SessionDoc) -> Self {
        Self {
            epoch: session.epoch.clone(),
            version: session.version,
        }
    }
}

/// What this process knows of one session.
pub(super) struct Slot {
    pub session: SessionId,
    /// Held while a write is under way; empty if the document must be read before the next one.
    pub known: Arc<tokio::sync::Mutex<Option<Known>>>,
    queue: Mutex<Queue>,
    /// Woken when an applier leaves this session alone.
    idle: Notify,
}

#[derive(Default)]
struct Queue {
    /// The patches of the document's `pending` that are not known to be applied: always its newest ones.
    entries: VecDeque<Arc<Entry>>,
    epoch: Option<Arc<str>>,
    version: u64,
    expires_at: Option<DateTime>,
    applying: bool,
    /// A commit was sent whose outcome is not known yet.
    doubt: bool,
    /// When the last commit was sent, or the document asked for …
    asked: Option<Moment>,
    /// … and of which moment it is known that the entries were pending then.
    pending_at: Option<Moment>,
    /// Until when reads may rely on nobody else writing.
    owned_until: Option<Moment>,
    /// The owner's token, and the lease of this process that the session's document names.
    attached: Option<(Token, Arc<str>)>,
}

impl Slot {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            known: Arc::default(),
            queue: Mutex::default(),
            idle: Notify::new(),
        }
    }

    /// Takes what the server's document says for what is known; its pending patches are the queue.
    pub fn learn(&self, session: &SessionDoc) {
        let mut queue = self.queue.lock();
        queue.pending_at = queue.asked;
        queue.epoch = Some(session.epoch.clone());
        queue.version = session.version;
        queue.doubt = false;
        queue.expires_at = session.expires_at;
        queue.entries = session.pending.iter().cloned().collect();
    }

    /// A commit is about to be sent; until its outcome is known, nothing is read from memory.
    pub fn begin_doubt(&self) {
        let mut queue = self.queue.lock();
        queue.doubt = true;
        queue.asked = Some(Moment::now());
    }

    /// Of which moment it is known that what is queued was pending then: that of the question, for its answer may have
    /// lain here while this process stood still.
    pub fn known_pending_at(&self) -> Moment {
        self.queue.lock().pending_at.unwrap_or_else(Moment::now)
    }

    /// The document, asked for at `asked`, says what of the queue is still pending.
    pub fn confirm_pending(&self, session: Option<&SessionDoc>, asked: Moment) {
        let mut queue = self.queue.lock();
        let epoch = queue.epoch.clone();
        let found = session.filter(|found| Some(&found.epoch) == epoch.as_ref());
        let versions: HashSet<u64> = found
            .iter()
            .flat_map(|found| found.pending.iter().map(|entry| entry.version))
            .collect();
        // What was queued since is younger than the question.
        if queue.pending_at.is_none_or(|at| at < asked) {
            queue.entries.retain(|entry| versions.contains(&entry.version));
            queue.pending_at = Some(asked);
        }
    }

    /// How many entries the server's `pending` must keep beside a new one.
    pub fn queued(&self) -> usize {
        self.queue.lock().entries.len()
    }

    /// Whether the next commit must wait for records.
    pub fn full(&self) -> bool {
        let queue = self.queue.lock();
        let bytes: usize = queue
            .entries
            .iter()
            .map(|entry| entry.changes.as_deref().map_or(0, size_of))
            .sum();
        queue.entries.len() >= QUEUE_ENTRIES || bytes >= QUEUE_BYTES
    }

    /// A patch passed its commit point.
    pub fn push(&self, epoch: &Arc<str>, entry: Arc<Entry>, expires_at: Option<DateTime>) {
        let mut queue = self.queue.lock();
        queue.epoch = Some(epoch.clone());
        queue.version = entry.version;
        queue.pending_at = queue.asked;
        queue.doubt = false;
        queue.expires_at = expires_at;
        queue.entries.push_back(entry);
    }

    /// The patches up to `version` stand in the records.
    pub fn applied(&self, epoch: &str, version: u64) {
        let mut queue = self.queue.lock();
        if queue.epoch.as_deref() != Some(epoch) {
            return;
        }
        while queue
            .entries
            .front()
            .is_some_and(|entry| entry.version <= version)
        {
            queue.entries.pop_front();
        }
    }

    /// The session was deleted: a new incarnation without patches.
    pub fn deleted(&self, epoch: &Arc<str>) {
        let mut queue = self.queue.lock();
        queue.entries.clear();
        queue.epoch = Some(epoch.clone());
        queue.version = 0;
        queue.doubt = false;
    }

    /// All patches before the newest are applied.
    pub fn forget_queue(&self) {
        self.queue.lock().entries.clear();
    }

    /// Nothing is known any more.
    pub fn forget(&self) {
        let mut queue = self.queue.lock();
        queue.owned_until = None;
        queue.attached = None;
        queue.entries.clear();
        queue.epoch = None;
    }

    /// The lease is ours until then.
    pub fn owned_until(&self, until: Option<Moment>) {
        self.queue.lock().owned_until = until;
    }

    /// The session's document names this lease.
    pub fn attached_to(&self, token: Token, lease: Arc<str>) {
        self.queue.lock().attached = Some((token, lease));
    }

    /// Whether the owner's session is held by this lease.
    pub fn is_attached_to(&self, token: Token, lease: &Arc<str>) -> bool {
        let queue = self.queue.lock();
        queue
            .attached
            .as_ref()
            .is_some_and(|(owner, named)| *owner == token && named == lease)
    }

    /// The session lives until then.
    pub fn lives_until(&self, expires_at: Option<DateTime>) {
        self.queue.lock().expires_at = expires_at;
    }

    /// What the owner knows without asking, while the lease lasts.
    pub fn owners_view(&self, now: DateTime) -> Option<View> {
        let queue = self.queue.lock();
        let owned = queue.owned_until.is_some_and(|until| until > Moment::now());
        let expired = queue.expires_at.is_some_and(|at| at <= now);
        if !owned || expired || queue.doubt {
            return None;
        }
        Some(View {
            epoch: queue.epoch.clone()?,
            version: queue.version,
            pending: queue.entries.iter().cloned().collect(),
        })
    }

    /// The patches to apply, for whoever becomes this session's one applier; [`Slot::done`] ends that.
    pub fn start(&self) -> bool {
        let mut queue = self.queue.lock();
        if queue.applying || queue.entries.is_empty() {
            return false;
        }
        queue.applying = true;
        true
    }

    /// The epoch and the patches waiting.
    pub fn work(&self) -> Option<(Arc<str>, Vec<Arc<Entry>>)> {
        let queue = self.queue.lock();
        let epoch = queue.epoch.clone()?;
        (!queue.entries.is_empty()).then(|| (epoch, queue.entries.iter().cloned().collect()))
    }

    /// Ends an applier's turn, unless there is more to do and `more` is wanted; whether it ended.
    pub fn done(&self, more: bool) -> bool {
        let mut queue = self.queue.lock();
        if more && !queue.entries.is_empty() {
            return false;
        }
        queue.applying = false;
        drop(queue);
        self.idle.notify_waiters();
        true
    }

    /// Waits until no applier works on this session.
    pub async fn settle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Registered before looking, so that a wake-up in between is not missed.
            idle.as_mut().enable();
            if !self.queue.lock().applying {
                return;
            }
            idle.await;
        }
    }
}

/// The slots of all sessions that this process has written.
#[derive(Default)]
pub(super) struct Slots(Mutex<HashMap<SessionId, Arc<Slot>>>);

impl Slots {
    /// The slot of a session, made if there is none.
    pub fn get_or_make(&self, session: &SessionId) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(session) {
            return slot.clone();
        }
        let slot = Arc::new(Slot::new(session.clone()));
        slots.insert(session.clone(), slot.clone());
        slot
    }

    /// The slot of a session that was written here.
    pub fn get(&self, session: &SessionId) -> Option<Arc<Slot>> {
        self.0.lock().get(session).cloned()
    }

    /// Drops what is known of a session.
    pub fn remove(&self, session: &SessionId) {
        self.0.lock().remove(session);
    }

    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.0.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::documents::blank_session;
    use super::*;
    use crate::time::testing::sleep;

    /// The process may have stood still before it heard the answer.
    #[test]
    fn what_is_pending_is_as_old_as_the_question() {
        let day = Duration::from_secs(24 * 3600);
        let slot = Slot::new("s".into());
        let entry = Entry {
            version: 1,
            changes: Some(Vec::new()),
            stage: None,
        };
        slot.begin_doubt();
        sleep(day);
        slot.push(&"epoch".into(), Arc::new(entry), None);
        assert!(slot.known_pending_at().elapsed() >= day);

        let document = blank_session("s", "epoch", DateTime::from_millis(0));
        slot.begin_doubt();
        sleep(day);
        slot.learn(&SessionDoc::parse(&document).unwrap());
        assert!(slot.known_pending_at().elapsed() >= day);
    }
}
