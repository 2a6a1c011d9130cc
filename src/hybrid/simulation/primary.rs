//! A primary store in memory, of one session, as MongoDB keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Mistake;
use super::network::{Network, Server};
use crate::backend::{
    Acquire, AcquireOutcome, Acquired, Backend, Commit, Cursor, DeadLetter, Fence, Grant, Head, Holder,
    Inherited, OutboxOpened, Owner, Page, Renewal, Seen, SessionId, SessionMetadata, Token, version_mismatch,
};
use crate::error::{Error, Kind, Result};
use crate::hybrid::primary::Primary;
use crate::record::{Change, KeyId, RecordKey};

/// Numbers what is said of outboxes, as a process does.
static STEP: AtomicU64 = AtomicU64::new(1);

/// What the server has.
#[derive(Default)]
pub struct Document {
    mistake: Mistake,
    pub token: Token,
    pub version: u64,
    commit_id: u64,
    updated_at: u64,
    lease: Option<(Token, Owner, Instant)>,
    pub outbox: Option<Token>,
    /// The last thing that its owner said of it, by number.
    outbox_step: u64,
    inherited: Inherited,
    pub records: BTreeMap<RecordKey, Bytes>,
    /// What the session was each time it was deleted.
    pub deleted: Vec<Incarnation>,
    pub dead_letters: Vec<DeadLetter>,
    /// Counts writes: a clock that ticks with each.
    clock: u64,
}

/// A session from nothing to its end.
#[derive(Debug, Clone)]
pub struct Incarnation {
    pub version: u64,
    pub records: BTreeMap<RecordKey, Bytes>,
}

/// What whoever opens the session does about an outbox.
#[derive(Clone, Copy)]
pub enum Outboxes {
    ReadyFor(Option<Token>),
    GivenUp,
}

fn refused(kind: Kind) -> Error {
    Error::new(kind, "simulation", "refused")
}

impl Document {
    pub fn with(mistake: Mistake) -> Self {
        Self {
            mistake,
            ..Self::default()
        }
    }

    fn head(&self) -> Head {
        Head {
            version: self.version,
            updated_at: self.updated_at,
        }
    }

    fn metadata(&self) -> SessionMetadata {
        SessionMetadata {
            token: self.token,
            version: self.version,
            commit_id: self.commit_id,
            updated_at: self.updated_at,
            expires_in: None,
            outbox: self.outbox,
            inherited: self.inherited,
        }
    }

    fn holder(&self) -> Option<Holder> {
        let (token, owner, until) = self.lease.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| Holder {
            owner: owner.clone(),
            token: *token,
            expires_in: Some(left),
        })
    }

    pub fn acquire(&mut self, request: &Acquire, outboxes: Outboxes) -> AcquireOutcome {
        if let Some(holder) = self.holder().filter(|held| request.preempt != Some(held.token)) {
            return AcquireOutcome::Held(holder);
        }
        match (self.outbox, outboxes) {
            (Some(_), _) if self.mistake == Mistake::TakeoverSkipsTheOutbox => self.outbox = None,
            (Some(outbox), Outboxes::GivenUp) => {
                self.inherited = self.inherited.and((outbox, self.version));
                self.outbox = None;
            }
            (Some(outbox), Outboxes::ReadyFor(owner)) if owner != Some(outbox) => {
                return AcquireOutcome::Outbox(self.metadata());
            }
            _ => {}
        }
        self.token += 1;
        self.outbox_step = 0;
        self.lease = Some((self.token, request.owner.clone(), Instant::now() + request.lease));
        let grant = Grant {
            token: self.token,
            head: self.head(),
            records: self.read(&request.read),
            expires: true,
        };
        AcquireOutcome::Granted(grant, self.metadata())
    }

    fn read(&self, keys: &[RecordKey]) -> Vec<Option<Bytes>> {
        keys.iter().map(|key| self.records.get(key).cloned()).collect()
    }

    pub fn commit(&mut self, commit: &Commit) -> Result<Head> {
        match commit.fence {
            Fence::Owner(token) => {
                if token != self.token && self.mistake != Mistake::PrimaryTakesAnyToken {
                    return Err(refused(Kind::Fenced).with("currentToken", self.token));
                }
            }
            Fence::Shared => return Err(refused(Kind::SessionBusy)),
        }
        if self.version == commit.version() && self.commit_id == commit.id {
            return Ok(self.head());
        }
        if self.version != commit.base {
            return Err(version_mismatch("simulation", commit.base, self.version));
        }
        for Change { key, value } in &commit.changes {
            match value {
                Some(value) => self.records.insert(key.clone(), value.clone()),
                None => self.records.remove(key),
            };
        }
        self.clock += 1;
        self.version = commit.version();
        self.commit_id = commit.id;
        self.updated_at = self.clock;
        Ok(self.head())
    }

    fn open_outbox(
        &mut self,
        step: u64,
        token: Token,
        begins: (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> OutboxOpened {
        if token != self.token {
            return OutboxOpened::Fenced;
        }
        if begins != (self.version, self.commit_id) || self.outbox_step >= step {
            return OutboxOpened::Moved;
        }
        self.outbox_step = step;
        self.outbox = Some(token);
        self.inherited = inherited.map_or(self.inherited, |owner| self.inherited.and(owner));
        OutboxOpened::Yes
    }

    fn close_outbox(&mut self, step: u64, token: Token, inherited: Option<(Token, u64)>) -> bool {
        let in_order = self.outbox_step < step || self.mistake == Mistake::OutboxClosedByWhatIsLate;
        let counts = token == self.token && in_order;
        if counts {
            self.outbox_step = step;
            self.outbox = None;
            self.inherited = inherited.map_or(self.inherited, |owner| self.inherited.and(owner));
        }
        counts
    }

    fn delete(&mut self, fence: Fence) -> Result<bool> {
        match fence {
            Fence::Owner(token) if token != self.token => {
                return Err(refused(Kind::Fenced).with("currentToken", self.token));
            }
            Fence::Shared if self.outbox.is_some() => return Err(refused(Kind::SessionBusy)),
            _ => {}
        }
        if self.version == 0 {
            return Ok(false);
        }
        let incarnation = self.incarnation();
        self.deleted.push(incarnation);
        self.records.clear();
        (self.version, self.commit_id, self.updated_at) = (0, 0, 0);
        Ok(true)
    }

    /// The session, if it is the one that the caller knows.
    fn since(&mut self, known: usize) -> Result<&mut Self> {
        if self.deleted.len() != known {
            return Err(refused(Kind::Unavailable));
        }
        Ok(self)
    }

    /// The session as it is.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation {
            version: self.version,
            records: self.records.clone(),
        }
    }

    /// Whether a commit with this trace was applied, to the session or to an earlier one.
    pub fn knows(&self, trace: &RecordKey) -> bool {
        let earlier = self.deleted.iter().map(|incarnation| &incarnation.records);
        earlier
            .chain([&self.records])
            .any(|records| records.contains_key(trace))
    }

    fn renew(&mut self, token: Token, lease: Duration) -> Result<()> {
        if token != self.token {
            return Err(refused(Kind::Fenced));
        }
        if let Some((_, _, until)) = &mut self.lease {
            *until = Instant::now() + lease;
        }
        Ok(())
    }

    pub fn release(&mut self, token: Token) {
        if token == self.token {
            self.lease = None;
        }
    }
}

/// The server as one process reaches it.
pub struct MemoryPrimary {
    pub network: Arc<Network>,
    pub process: usize,
    pub document: Arc<Mutex<Document>>,
}

impl MemoryPrimary {
    /// How often the session was deleted when a call begins. MongoDB's updates name the epoch, which says the same; that
    /// of a delete also the version, and that there is no outbox.
    fn known(&self) -> usize {
        self.document.lock().deleted.len()
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Document) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let document = self.document.clone();
        let work = move || work(&mut document.lock());
        self.network.call(self.process, Server::Primary, work).await
    }
}

#[async_trait]
impl Primary for MemoryPrimary {
    fn operation_timeout(&self) -> Duration {
        Duration::from_millis(80)
    }

    fn check_changes(&self, _changes: &[Change]) -> Result<()> {
        Ok(())
    }

    async fn acquire_checking_outbox(
        &self,
        request: Acquire,
        ready_for: Option<Token>,
    ) -> Result<AcquireOutcome> {
        self.call(move |document| Ok(document.acquire(&request, Outboxes::ReadyFor(ready_for))))
            .await
    }

    async fn metadata(&self, _: &SessionId) -> Result<Option<SessionMetadata>> {
        self.call(|document| Ok(Some(document.metadata()))).await
    }

    async fn open_outbox(
        &self,
        _: &SessionId,
        token: Token,
        begins: (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> Result<OutboxOpened> {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        self.call(move |document| Ok(document.open_outbox(step, token, begins, inherited)))
            .await
    }

    async fn close_outbox(
        &self,
        _: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        self.call(move |document| Ok(document.close_outbox(step, token, inherited)))
            .await
    }

    async fn abandoned_outboxes(&self) -> Result<Vec<SessionId>> {
        self.call(|document| {
            let abandoned = document.outbox.is_some() && document.holder().is_none();
            Ok(if abandoned { vec!["s".into()] } else { Vec::new() })
        })
        .await
    }

    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let letter = letter.clone();
        self.call(move |document| {
            document.dead_letters.push(letter);
            Ok(())
        })
        .await
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.call(|document| Ok(document.dead_letters.clone())).await
    }
}

#[async_trait]
impl Backend for MemoryPrimary {
    fn name(&self) -> &'static str {
        "simulation"
    }

    async fn ping(&self) -> Result<()> {
        self.call(|_| Ok(())).await
    }

    async fn acquire(&self, _request: Acquire) -> Result<Acquired> {
        unreachable!("hybrid mode checks the outbox")
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let tokens: Vec<_> = leases.iter().map(|(_, token)| *token).collect();
        self.call(move |document| {
            let holder = document.holder().map(|holder| holder.token);
            Ok(tokens.iter().map(|token| holder == Some(*token)).collect())
        })
        .await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let tokens: Vec<_> = leases.iter().map(|renewal| renewal.token).collect();
        let renewed = self.call(move |document| {
            let renewed = tokens.iter().map(|token| document.renew(*token, lease));
            Ok(renewed.collect::<Vec<_>>())
        });
        let renewed = renewed.await;
        renewed.unwrap_or_else(|error| leases.iter().map(|_| Err(error.clone())).collect())
    }

    async fn release(&self, _: &SessionId, token: Token) -> Result<()> {
        self.call(move |document| {
            document.release(token);
            Ok(())
        })
        .await
    }

    async fn holder(&self, _: &SessionId) -> Result<Option<Holder>> {
        unreachable!("no case asks who holds the session")
    }

    async fn key_seen(&self, _: KeyId, _: u64) -> Result<u64> {
        unreachable!("no case asks how old a key is")
    }

    async fn head(&self, _: &SessionId) -> Result<Head> {
        self.call(|document| Ok(document.head())).await
    }

    async fn read(&self, _: &SessionId, keys: &[RecordKey], _: Seen) -> Result<Vec<Option<Bytes>>> {
        let keys = keys.to_vec();
        self.call(move |document| Ok(document.read(&keys))).await
    }

    async fn scan(
        &self,
        _: &SessionId,
        _: Option<&str>,
        _: Option<Cursor>,
        limit: usize,
        _: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.call(move |document| {
            assert!(document.records.len() <= limit, "one page has them all");
            let records = document.records.iter();
            Ok(Page {
                items: records.map(|(key, value)| (key.clone(), value.clone())).collect(),
                next: None,
            })
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let count = commits.len();
        let known = self.known();
        let answers = self.call(move |document| {
            let document = document.since(known)?;
            let answers = commits.iter().map(|commit| document.commit(commit));
            Ok(answers.collect::<Vec<_>>())
        });
        let answers = answers.await;
        answers.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
    }

    async fn delete(&self, _: &SessionId, fence: Fence) -> Result<bool> {
        let (known, version) = (self.known(), self.document.lock().version);
        self.call(move |document| {
            let document = document.since(known)?;
            if document.version != version || document.outbox.is_some() {
                return Err(refused(Kind::Unavailable));
            }
            document.delete(fence)
        })
        .await
    }

    async fn touch(&self, _: &SessionId, _: Fence, _: Option<Duration>) -> Result<bool> {
        unreachable!("no case has a time to live")
    }

    async fn list(&self, _: Option<Cursor>, _: usize) -> Result<Page<SessionId>> {
        unreachable!("no case lists sessions")
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
