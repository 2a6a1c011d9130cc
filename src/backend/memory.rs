//! A backend in memory for tests, which fails on demand.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Acquire, Acquired, Backend, Commit, Cursor, Fence, Grant, Head, Holder, Owner, Page, Renewal, Seen,
    SessionId, Token,
};
use crate::backend::{client_token_refused, fenced, store_closed, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::record::{KeyId, RecordKey};
use crate::time::unix_millis;

const LAYER: &str = "memory";

/// No two sessions have the same, for the session layer knows the leases of the whole process by name and token, and
/// tests use the same names. Small numbers are what tests take for tokens that were never granted.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1000);

/// A call of the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Ping,
    Acquire,
    CheckLeases,
    Renew,
    Release,
    Holder,
    KeySeen,
    Head,
    Read,
    Scan,
    Commit,
    Delete,
    Touch,
    List,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The call fails and changes nothing.
    Refuse(Kind),
    /// The call does its work, and its answer is lost.
    Lose(Kind),
    /// A commit that fails, and is applied when [`Memory::deliver`] is called.
    Late(Kind),
    /// There is never an answer.
    Hang,
    /// The call panics.
    Panic,
}

#[derive(Default)]
struct Stored {
    records: BTreeMap<RecordKey, Bytes>,
    head: Head,
    commit: Option<(Fence, u64)>,
    /// Shared commits that are recognised when they are sent again.
    merged: HashMap<u64, Head>,
    token: Token,
    client_token: Option<Token>,
    lease: Option<(Token, Owner, Instant)>,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<SessionId, Stored>,
    /// When master keys were first seen, by name.
    keys: HashMap<KeyId, u64>,
    faults: Vec<(Op, Fault)>,
    /// Calls that wait, with how many may pass.
    held: HashMap<Op, usize>,
    calls: HashMap<Op, usize>,
    commits: Vec<Commit>,
    late: Vec<Commit>,
    /// How many requests for a lease find its holder there, whomever they preempt.
    staying: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Memory {
    /// The next call of `op` that meets no earlier fault meets this one.
    pub fn fail(&self, op: Op, fault: Fault) {
        self.inner.lock().faults.push((op, fault));
    }

    /// Calls of `op` wait before they do anything.
    pub fn hold(&self, op: Op) {
        self.inner.lock().held.insert(op, 0);
    }

    /// Lets one call of `op` pass that waits, or will.
    pub fn pass(&self, op: Op) {
        *self.inner.lock().held.entry(op).or_default() += 1;
        self.changed.notify_waiters();
    }

    /// Ends [`Memory::hold`].
    pub fn let_go(&self, op: Op) {
        self.inner.lock().held.remove(&op);
        self.changed.notify_waiters();
    }

    /// How often `op` was called.
    pub fn calls(&self, op: Op) -> usize {
        self.inner.lock().calls.get(&op).copied().unwrap_or(0)
    }

    /// Waits until `op` was called `count` times.
    pub async fn called(&self, op: Op, count: usize) {
        self.until(|inner| inner.calls.get(&op).copied().unwrap_or(0) >= count)
            .await;
    }

    /// So many requests for a lease find its holder there, whomever they preempt.
    pub fn keep_holders(&self, requests: usize) {
        self.inner.lock().staying = requests;
    }

    /// Every commit that arrived so far, resent ones included.
    pub fn commits(&self) -> Vec<Commit> {
        self.inner.lock().commits.clone()
    }

    /// Commits that were [`Fault::Late`] arrive now; how many were applied.
    pub fn deliver(&self) -> usize {
        let mut inner = self.inner.lock();
        let late = std::mem::take(&mut inner.late);
        late.into_iter()
            .filter(|commit| inner.commit(commit).is_ok())
            .count()
    }

    /// Puts `session` back to how it was at `version`: a copy without what came later.
    pub fn restore_to(&self, session: &str, version: u64) {
        let mut inner = self.inner.lock();
        let stored = inner.sessions.get_mut(session).expect("the session was opened");
        stored.head.version = version;
        stored.commit = None;
    }

    /// The sealed bytes of a record.
    pub fn stored(&self, session: &str, key: &RecordKey) -> Option<Bytes> {
        self.inner
            .lock()
            .sessions
            .get(session)
            .and_then(|stored| stored.records.get(key).cloned())
    }

    /// Where a session stands.
    pub fn version(&self, session: &str) -> u64 {
        self.inner
            .lock()
            .sessions
            .get(session)
            .map_or(0, |stored| stored.head.version)
    }

    /// Whether somebody holds the lease.
    pub fn is_held(&self, session: &str) -> bool {
        self.inner
            .lock()
            .sessions
            .get(session)
            .is_some_and(|stored| stored.lease.is_some())
    }

    async fn until(&self, done: impl Fn(&mut Inner) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if done(&mut self.inner.lock()) {
                return;
            }
            changed.await;
        }
    }

    async fn call<T>(&self, op: Op, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let fault = {
            let mut inner = self.inner.lock();
            *inner.calls.entry(op).or_default() += 1;
            let at = inner.faults.iter().position(|(of, _)| *of == op);
            at.map(|at| inner.faults.remove(at).1)
        };
        self.changed.notify_waiters();
        self.until(|inner| match inner.held.get_mut(&op) {
            None => true,
            Some(0) => false,
            Some(passes) => {
                *passes -= 1;
                true
            }
        })
        .await;
        let work = || {
            let mut inner = self.inner.lock();
            if inner.closed {
                Err(store_closed(LAYER))
            } else {
                work(&mut inner)
            }
        };
        match fault {
            None => work(),
            Some(Fault::Refuse(kind) | Fault::Late(kind)) => Err(error(kind)),
            Some(Fault::Lose(kind)) => {
                let _ = work();
                Err(error(kind))
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("injected"),
        }
    }
}

fn error(kind: Kind) -> Error {
    Error::new(kind, LAYER, "injected or refused")
}

impl Inner {
    fn stored(&mut self, session: &SessionId) -> &mut Stored {
        let stored = self.sessions.entry(session.clone()).or_default();
        if stored.expires.is_some_and(|end| end <= Instant::now()) {
            stored.clear();
        }
        stored
    }

    fn fenced(&mut self, session: &SessionId, fence: Fence) -> Result<&mut Stored> {
        let stored = self.stored(session);
        match fence {
            Fence::Owner(token) if token != stored.token => {
                let current = (stored.token > 0).then_some(stored.token);
                Err(fenced(LAYER, current).in_session(session))
            }
            _ => Ok(stored),
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<Head> {
        let session = &commit.session;
        let stored = self.fenced(session, commit.fence)?;
        let version = match commit.fence {
            Fence::Owner(_) => {
                if stored.head.version == commit.version() && stored.commit == Some((commit.fence, commit.id))
                {
                    return Ok(stored.head);
                }
                commit.version()
            }
            Fence::Shared => {
                if let Some(head) = stored.merged.get(&commit.id) {
                    return Ok(*head);
                }
                stored.head.version + u64::from(commit.patches)
            }
        };
        let checked = matches!(commit.fence, Fence::Owner(_)) || commit.expected;
        if checked && stored.head.version != commit.base {
            let found = stored.head.version;
            return Err(version_mismatch(LAYER, commit.base, found).in_session(session));
        }
        for change in &commit.changes {
            match &change.value {
                Some(value) => stored.records.insert(change.key.clone(), value.clone()),
                None => stored.records.remove(&change.key),
            };
        }
        stored.head = Head {
            version,
            updated_at: unix_millis(),
        };
        stored.commit = Some((commit.fence, commit.id));
        stored.expires = commit.ttl.map(|ttl| Instant::now() + ttl);
        if commit.fence == Fence::Shared {
            stored.merged.insert(commit.id, stored.head);
        }
        Ok(stored.head)
    }

    fn acquire(&mut self, request: Acquire) -> Result<Acquired> {
        let stays = self.staying > 0;
        self.staying = self.staying.saturating_sub(1);
        let stored = self.stored(&request.session);
        if let (Some(client_token), Some(accepted)) = (request.client_token, stored.client_token)
            && client_token < accepted
        {
            return Err(client_token_refused(LAYER, client_token, accepted).in_session(&request.session));
        }
        let now = Instant::now();
        if let Some((token, owner, until)) = &stored.lease
            && *until > now
            && (stays || request.preempt != Some(*token))
        {
            let (owner, expires_in) = (owner.clone(), Some(*until - now));
            return Ok(Acquired::Held(Holder {
                owner,
                token: *token,
                expires_in,
            }));
        }
        stored.client_token = stored.client_token.max(request.client_token);
        stored.token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
        stored.lease = Some((stored.token, request.owner, now + request.lease));
        let records = request
            .read
            .iter()
            .map(|key| stored.records.get(key).cloned())
            .collect();
        Ok(Acquired::Granted(Grant {
            token: stored.token,
            head: stored.head,
            records,
            expires: true,
        }))
    }
}

impl Stored {
    fn clear(&mut self) {
        self.records.clear();
        self.head = Head::default();
        self.commit = None;
        self.expires = None;
    }
}

#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        LAYER
    }

    /// Sessions whose names begin so are in a part of their own.
    fn part_of(&self, session: &SessionId) -> usize {
        usize::from(session.starts_with("elsewhere/"))
    }

    async fn ping(&self) -> Result<()> {
        self.call(Op::Ping, |_| Ok(())).await
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        self.call(Op::Acquire, |inner| inner.acquire(request)).await
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.call(Op::CheckLeases, |inner| {
            let now = Instant::now();
            let holds = |(session, token): &(SessionId, Token)| {
                let lease = &inner.stored(session).lease;
                lease
                    .as_ref()
                    .is_some_and(|(holder, _, until)| holder == token && *until > now)
            };
            Ok(leases.iter().map(holds).collect())
        })
        .await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let answers = self
            .call(Op::Renew, |inner| {
                let renew = |Renewal { session, token, .. }: &Renewal| {
                    let stored = inner.fenced(session, Fence::Owner(*token))?;
                    if let Some((_, _, until)) = &mut stored.lease {
                        *until = Instant::now() + lease;
                    }
                    Ok(())
                };
                Ok(leases.iter().map(renew).collect())
            })
            .await;
        answers.unwrap_or_else(|error| vec![Err(error); leases.len()])
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.call(Op::Release, |inner| {
            let stored = inner.stored(session);
            if stored.token == token {
                stored.lease = None;
            }
            Ok(())
        })
        .await
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        self.call(Op::Holder, |inner| {
            let lease = inner.stored(session).lease.clone();
            Ok(lease.map(|(token, owner, until)| Holder {
                owner,
                token,
                expires_in: Some(until.saturating_duration_since(Instant::now())),
            }))
        })
        .await
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        self.call(Op::KeySeen, |inner| Ok(*inner.keys.entry(key).or_insert(now)))
            .await
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.call(Op::Head, |inner| Ok(inner.stored(session).head)).await
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], _seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.call(Op::Read, |inner| {
            let records = &inner.stored(session).records;
            Ok(keys.iter().map(|key| records.get(key).cloned()).collect())
        })
        .await
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        _seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.call(Op::Scan, |inner| {
            let records = &inner.stored(session).records;
            let wanted = |key: &RecordKey| {
                kind.is_none_or(|kind| key.kind() == kind)
                    && cursor
                        .as_ref()
                        .is_none_or(|after| hex::encode(key.as_bytes()).as_str() > &**after)
            };
            let mut found = records.iter().filter(|(key, _)| wanted(key));
            let items: Vec<_> = found.by_ref().take(limit).collect();
            let next = found
                .next()
                .and_then(|_| items.last())
                .map(|(key, _)| hex::encode(key.as_bytes()).into());
            Ok(Page {
                items: items
                    .into_iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                next,
            })
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let mut answers = Vec::new();
        for commit in commits {
            let late = {
                let mut inner = self.inner.lock();
                inner.commits.push(commit.clone());
                let next = inner.faults.iter().find(|(op, _)| *op == Op::Commit);
                matches!(next, Some((_, Fault::Late(_))))
            };
            if late {
                self.inner.lock().late.push(commit.clone());
            }
            answers.push(self.call(Op::Commit, |inner| inner.commit(&commit)).await);
        }
        answers
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        self.call(Op::Delete, |inner| {
            let stored = inner.fenced(session, fence)?;
            let existed = stored.head.version > 0;
            stored.clear();
            Ok(existed)
        })
        .await
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.call(Op::Touch, |inner| {
            let stored = inner.fenced(session, fence)?;
            let exists = stored.head.version > 0;
            if exists {
                stored.expires = ttl.map(|ttl| Instant::now() + ttl);
            }
            Ok(exists)
        })
        .await
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.call(Op::List, |inner| {
            let names: Vec<_> = inner.sessions.keys().cloned().collect();
            let mut names: Vec<_> = names
                .into_iter()
                .filter(|name| inner.stored(name).head.version > 0)
                .collect();
            names.sort();
            names.retain(|name| cursor.as_ref().is_none_or(|after| **name > **after));
            let more = names.len() > limit;
            names.truncate(limit);
            let next = names.last().filter(|_| more).cloned();
            Ok(Page { items: names, next })
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.inner.lock().closed = true;
        Ok(())
    }
}

mod tests {
    use super::*;
    use crate::backend::contract;

    #[tokio::test]
    async fn it_keeps_every_promise() {
        contract::run(&Memory::default()).await;
        contract::closed(&Memory::default()).await;
    }
}
