//! What this process knows of one session that it owns.
//!
//! A slot lives from the grant of a lease to its release. Commits acknowledged by the outbox alone stay in its
//! memory until MongoDB has them: so a Redis that comes back empty loses nothing while the process lives.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::cache::Revision;
use super::entry;
use super::merge::merge;
use crate::backend::{Commit, Head, Owner, SessionId, Token};
use crate::error::Error;
use crate::record::{Change, RecordKey};
use crate::time::Moment;

/// For so long before the end of a session, or the last tenth of its life, MongoDB's clock is asked.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10);

/// A commit that MongoDB does not have yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub commit: Commit,
    pub bytes: usize,
    pub since: Instant,
}

pub(super) struct Slot {
    pub session: SessionId,
    pub token: Token,
    pub owner: Arc<Owner>,
    /// Random, written beside the lease in Redis.
    pub request_id: u64,
    /// Held while the session is written: one write at a time.
    pub turn: tokio::sync::Mutex<()>,
    /// Held while entries go to MongoDB.
    pub applying: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// Whether MongoDB knows that this owner uses an outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announced {
    No,
    Yes,
    /// It did. What Redis has may have been begun without its word that this still is the owner, or be of an outbox that
    /// it no longer names.
    Unconfirmed,
}

impl From<bool> for Announced {
    fn from(announced: bool) -> Self {
        if announced { Self::Yes } else { Self::No }
    }
}

/// What Redis may still get that was sent to the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    Nothing,
    /// Something was not answered.
    Unanswered,
    /// Something that was not answered before the session began anew: it could not be told from what is new.
    FromBefore,
}

struct State {
    lease: Duration,
    /// The last acknowledged commit.
    revision: Revision,
    behind: Option<Box<Behind>>,
    /// Whether Redis' copy follows every commit.
    ready: bool,
    announced: Announced,
    /// A commit that was sent and not answered.
    doubt: Option<Box<Commit>>,
    /// When it was sent first.
    sent_at: Moment,
    ttl: Option<Duration>,
    expires_at: Option<Moment>,
    /// Why nothing is acknowledged any more.
    lost: Option<Error>,
    /// Deleted in MongoDB, but Redis could not be told.
    half_deleted: bool,
    late: Late,
}

/// Commits on their way to MongoDB. There is none while nothing is: most sessions are idle most of the time.
#[derive(Default)]
struct Behind {
    pending: VecDeque<Arc<Pending>>,
    /// What the pending commits made of records.
    overlay: HashMap<RecordKey, (u64, Option<Bytes>)>,
    /// Entries that MongoDB has and Redis could not be told of.
    untrimmed: Vec<u64>,
}

impl Slot {
    pub fn new(
        session: SessionId,
        revision: Revision,
        owner: Arc<Owner>,
        request_id: u64,
        lease: Duration,
    ) -> Self {
        Self {
            session,
            token: revision.token,
            owner,
            request_id,
            turn: tokio::sync::Mutex::default(),
            applying: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                lease,
                revision,
                behind: None,
                ready: false,
                announced: Announced::No,
                doubt: None,
                sent_at: Moment::now(),
                ttl: None,
                expires_at: None,
                lost: None,
                half_deleted: false,
                late: Late::Nothing,
            }),
        }
    }

    pub fn revision(&self) -> Revision {
        self.state.lock().revision
    }

    pub fn head(&self) -> Head {
        let revision = self.state.lock().revision;
        Head {
            version: revision.version,
            updated_at: revision.updated_at,
        }
    }

    pub fn lease(&self) -> Duration {
        self.state.lock().lease
    }

    pub fn set_lease(&self, lease: Duration) {
        self.state.lock().lease = lease;
    }

    pub fn is_ready(&self) -> bool {
        self.state.lock().ready
    }

    /// The version that Redis has at least, or 0 if that is not known at this moment.
    pub fn version_in_redis(&self) -> u64 {
        let written = self.turn.try_lock();
        let state = self.state.lock();
        if written.is_ok() && state.ready {
            state.revision.version
        } else {
            0
        }
    }

    pub fn set_ready(&self, ready: bool) {
        self.state.lock().ready = ready;
    }

    pub fn is_announced(&self) -> bool {
        self.state.lock().announced != Announced::No
    }

    pub fn set_announced(&self, announced: bool) {
        self.state.lock().announced = announced.into();
    }

    /// Redis does not serve until MongoDB has confirmed that this is still the owner, whatever Redis says by then.
    pub fn begin_anew(&self) {
        let mut state = self.state.lock();
        state.ready = false;
        if state.announced == Announced::Yes {
            state.announced = Announced::Unconfirmed;
        }
    }

    pub fn is_unconfirmed(&self) -> bool {
        self.state.lock().announced == Announced::Unconfirmed
    }

    pub fn lost(&self) -> Option<Error> {
        self.state.lock().lost.clone()
    }

    /// Nothing is acknowledged any more.
    pub fn lose(&self, reason: &Error) {
        let mut state = self.state.lock();
        state.ready = false;
        state.lost.get_or_insert_with(|| reason.clone());
    }

    pub fn doubt(&self) -> Option<Commit> {
        self.state.lock().doubt.as_deref().cloned()
    }

    /// Whether a commit is under way or in doubt.
    pub fn has_doubt(&self) -> bool {
        self.state.lock().doubt.is_some()
    }

    /// Before a commit is sent, and after it is known to be refused.
    pub fn set_doubt(&self, commit: Option<Commit>) {
        let mut state = self.state.lock();
        if state.doubt.is_none() {
            state.sent_at = Moment::now();
        }
        state.doubt = commit.map(Box::new);
    }

    pub fn take_half_deleted(&self) -> bool {
        std::mem::take(&mut self.state.lock().half_deleted)
    }

    pub fn set_half_deleted(&self) {
        self.state.lock().half_deleted = true;
    }

    /// Something was sent to the outbox, and not answered.
    pub fn set_unanswered(&self) {
        let mut state = self.state.lock();
        if state.late == Late::Nothing {
            state.late = Late::Unanswered;
        }
    }

    /// Whether versions may be met a second time, so that this owner acknowledges nothing by the outbox alone.
    pub fn is_without_outbox(&self) -> bool {
        self.state.lock().late == Late::FromBefore
    }

    /// Whether the session may have outlived its time to live: then MongoDB alone decides.
    pub fn may_have_expired(&self) -> bool {
        self.state.lock().expires_at.is_some_and(|at| at <= Moment::now())
    }

    pub fn ttl(&self) -> Option<Duration> {
        self.state.lock().ttl
    }

    /// The session lives `ttl` from `since` on, which must not be later than MongoDB takes it.
    pub fn lives_for(&self, ttl: Option<Duration>, since: Moment) {
        self.state.lock().lives_for(ttl, since);
    }

    pub fn has_pending(&self) -> bool {
        self.state.lock().pending().next().is_some()
    }

    /// Redis has this commit and its entry.
    pub fn acknowledged_behind(&self, commit: Commit, revision: Revision) -> usize {
        let bytes = entry::size_of(&commit.changes);
        let mut state = self.state.lock();
        let behind = state.behind.get_or_insert_default();
        for Change { key, value } in &commit.changes {
            behind
                .overlay
                .insert(key.clone(), (revision.version, value.clone()));
        }
        let ttl = commit.ttl;
        behind.pending.push_back(Arc::new(Pending {
            commit,
            bytes,
            since: Instant::now(),
        }));
        state.revision = revision;
        let since = state.sent_at;
        state.lives_for(ttl, since);
        state.doubt = None;
        bytes
    }

    /// MongoDB has this commit, and everything before it.
    pub fn acknowledged(&self, revision: Revision, ttl: Option<Duration>) {
        let mut state = self.state.lock();
        state.revision = revision;
        let since = state.sent_at;
        state.lives_for(ttl, since);
        state.doubt = None;
    }

    /// The session was deleted, and begins anew.
    pub fn begin_at_nothing(&self) {
        self.reset(0, 0, 0);
        let mut state = self.state.lock();
        if state.late == Late::Unanswered {
            state.late = Late::FromBefore;
        }
    }

    /// The session stands elsewhere than was known.
    pub fn reset(&self, version: u64, commit_id: u64, updated_at: u64) {
        let mut state = self.state.lock();
        let token = state.revision.token;
        state.revision = Revision {
            token,
            version,
            commit_id,
            updated_at,
        };
        state.expires_at = None;
        state.doubt = None;
        state.ready = false;
    }

    /// Redis' copy is at the same commit and has this time for it.
    pub fn installed(&self, revision: Revision, announced: bool) {
        let mut state = self.state.lock();
        state.revision = revision;
        state.ready = true;
        state.announced = announced.into();
        if let Some(behind) = &mut state.behind {
            behind.untrimmed.clear();
        }
        state.settle();
    }

    /// What memory knows of each of `keys`, with the revision and whether Redis may be asked.
    pub fn recall(&self, keys: &[RecordKey]) -> (Vec<Option<Option<Bytes>>>, Revision, bool) {
        let state = self.state.lock();
        let overlay = state.behind.as_ref().map(|behind| &behind.overlay);
        let known = |key| overlay?.get(key).map(|(_, value)| value.clone());
        (keys.iter().map(known).collect(), state.revision, state.ready)
    }

    /// The first pending commits, merged into one that ends where the last of them ends.
    pub fn batch(&self) -> Option<Commit> {
        let state = self.state.lock();
        merge(state.pending().map(|pending| &pending.commit), self.token)
    }

    /// The versions and ids of the pending commits.
    pub fn pending_ids(&self) -> Vec<(u64, u64)> {
        let state = self.state.lock();
        state
            .pending()
            .map(|pending| (pending.commit.version(), pending.commit.id))
            .collect()
    }

    /// The pending commits themselves.
    pub fn pending(&self) -> Vec<Commit> {
        let state = self.state.lock();
        state.pending().map(|pending| pending.commit.clone()).collect()
    }

    /// MongoDB has everything up to `version`; what that was, and which entries Redis still has.
    pub fn applied(&self, version: u64) -> (Vec<Arc<Pending>>, Vec<u64>) {
        let mut state = self.state.lock();
        let mut done = Vec::new();
        let Some(behind) = &mut state.behind else {
            return (done, Vec::new());
        };
        while behind
            .pending
            .front()
            .is_some_and(|pending| pending.commit.version() <= version)
        {
            done.extend(behind.pending.pop_front());
        }
        for pending in &done {
            for change in &pending.commit.changes {
                if behind
                    .overlay
                    .get(&change.key)
                    .is_some_and(|(at, _)| *at <= version)
                {
                    behind.overlay.remove(&change.key);
                }
            }
            behind.untrimmed.push(pending.commit.version());
        }
        (done, behind.untrimmed.clone())
    }

    /// Redis was told of these.
    pub fn trimmed(&self, versions: &[u64]) {
        let mut state = self.state.lock();
        if let Some(behind) = &mut state.behind {
            behind.untrimmed.retain(|version| !versions.contains(version));
        }
        state.settle();
    }

    /// Gives all pending commits up.
    pub fn abandon(&self) -> Vec<Arc<Pending>> {
        let behind = self.state.lock().behind.take();
        behind.map_or_else(Vec::new, |behind| behind.pending.into())
    }
}

impl State {
    fn pending(&self) -> impl Iterator<Item = &Arc<Pending>> {
        self.behind.iter().flat_map(|behind| &behind.pending)
    }

    /// Gives back what is kept for commits on their way, if there are none.
    fn settle(&mut self) {
        self.behind
            .take_if(|behind| behind.pending.is_empty() && behind.untrimmed.is_empty());
    }

    fn lives_for(&mut self, ttl: Option<Duration>, since: Moment) {
        self.ttl = ttl;
        let sure = |ttl: Duration| ttl.saturating_sub((ttl / 10).min(CLOCKS_DIFFER));
        self.expires_at = ttl.and_then(|ttl| since.checked_add(sure(ttl)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Fence;
    use crate::backend::contract::{change, commit};

    fn slot() -> Slot {
        let revision = Revision {
            token: 3,
            ..Revision::default()
        };
        Slot::new(
            "s".into(),
            revision,
            Arc::new(Owner::current().clone()),
            1,
            Duration::from_secs(5),
        )
    }

    fn add(slot: &Slot, base: u64, id: &str, value: &str) {
        let commit = commit(
            &slot.session,
            Fence::Owner(3),
            base,
            vec![change("session", id, value)],
        );
        let revision = Revision {
            token: 3,
            version: base + 1,
            commit_id: commit.id,
            updated_at: 1,
        };
        slot.acknowledged_behind(commit, revision);
    }

    #[test]
    fn pending_commits_are_seen_until_applied() {
        let slot = slot();
        add(&slot, 0, "a", "1");
        add(&slot, 1, "b", "1");
        add(&slot, 2, "a", "");
        let keys = [change("session", "a", "").key, change("session", "b", "").key];
        let seen = |slot: &Slot| slot.recall(&keys).0;
        assert_eq!(seen(&slot), [Some(None), Some(Some(Bytes::from_static(b"1")))]);
        let batch = slot.batch().unwrap();
        assert_eq!((batch.base, batch.version()), (0, 3));
        assert_eq!(
            batch.changes,
            [change("session", "a", ""), change("session", "b", "1")]
        );
        assert_eq!(slot.applied(2).0.len(), 2);
        assert_eq!(seen(&slot), [Some(None), None], "the deletion is not applied yet");
        assert_eq!(slot.applied(3).1, [1, 2, 3]);
        slot.trimmed(&[1, 2, 3]);
        assert!(slot.state.lock().behind.is_none(), "nothing is kept for it");
        assert!(!slot.has_pending());
        assert_eq!(seen(&slot), [None, None]);
    }
}
