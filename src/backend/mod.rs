//! Where sessions are kept: the [`Backend`] trait and what its calls carry.
//!
//! A backend sees sealed bytes only. It promises:
//! - **A commit is atomic** and durable, as its documentation defines durable, before its answer is given.
//! - **The fence is checked in the same atomic step**: a commit, touch or delete with a token other than the
//!   session's current one is [`Kind::Fenced`](crate::error::Kind::Fenced) and changes nothing.
//! - **A commit may be sent again** when its answer was lost: if the session already stands at
//!   [`Commit::version`] by the same [`Commit::id`], the answer is the success that was lost.
//! - **Absent is an answer, unavailable an error.** A read that cannot be carried out is never "not found".
//! - **Lost is an error too.** A storage that can lose data without a word compares what it holds with what the reader
//!   has [`Seen`], in the same atomic step: less is `SessionLost`, another owner `Fenced`.

pub(crate) mod batcher;
#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
mod keeping;
#[cfg(test)]
pub(crate) mod memory;
pub mod mongo;
mod outbox;
mod owner;
pub mod postgres;
pub mod redis;
mod refusals;
#[cfg(test)]
pub(crate) mod servers;
#[cfg(test)]
pub(crate) mod tcp_proxy;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::record::{Change, KeyId, RecordKey};

pub(crate) use keeping::keeping;
pub use outbox::{AcquireOutcome, DeadLetter, Inherited, OutboxOpened, SessionMetadata};
pub use owner::Owner;
pub(crate) use refusals::{
    client_token_refused, fenced, session_closed, session_lost, store_closed, version_mismatch,
};
pub use tls::Tls;

/// A session's name; not empty.
pub type SessionId = Arc<str>;

/// A fencing token: grows with every owner of a session, below 2^53 so that Lua and JavaScript hold it exactly.
pub type Token = u64;

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Only the owner that holds this token.
    Owner(Token),
    /// Anybody (`exclusive: false`): the server merges record by record, the last write of a record wins.
    Shared,
}

/// What is asked of [`Backend::acquire`].
#[derive(Debug, Clone)]
pub struct Acquire {
    /// The session wanted.
    pub session: SessionId,
    /// Who wants it.
    pub owner: Owner,
    /// How long the lease lasts when it is not renewed.
    pub lease: Duration,
    /// The caller's own fencing token; below one that was accepted earlier is `Fenced`.
    pub client_token: Option<Token>,
    /// Take the lease from the holder with this token, known to be dead; ignored if somebody else holds it by now.
    pub preempt: Option<Token>,
    /// Records to read in the same step.
    pub read: Vec<RecordKey>,
}

/// Answer of [`Backend::acquire`].
#[derive(Debug, Clone)]
pub enum Acquired {
    /// The lease is held now.
    Granted(Grant),
    /// A live owner holds it.
    Held(Holder),
}

/// A lease that was granted.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Larger than every token of this session before it.
    pub token: Token,
    /// Where the session stands.
    pub head: Head,
    /// The records asked for, in the order asked; `None` where there is none.
    pub records: Vec<Option<Bytes>>,
    /// Whether the lease runs out unless renewed (a lock held by the operating system does not).
    pub expires: bool,
}

/// How long one try to renew leases that last `lease` may take. It is short, so that a connection that died without a
/// word leaves time for another one before the leases are over.
pub(crate) fn renewal_limit(lease: Duration) -> Duration {
    (lease / 4).min(Duration::from_secs(10))
}

/// The owner found holding a session.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Who it says it is.
    pub owner: Owner,
    /// Its token, for [`Acquire::preempt`].
    pub token: Token,
    /// How long its lease still runs, if it runs out at all.
    pub expires_in: Option<Duration>,
}

impl Holder {
    /// When it took the session, in milliseconds since the Unix epoch: tokens are taken from the clock, in microseconds.
    /// One that had to be larger than the token before it says a later time.
    pub fn since(&self) -> u64 {
        self.token / 1000
    }
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of patches committed since the session began; 0 if it does not exist.
    pub version: u64,
    /// When the last one was, in milliseconds since the Unix epoch; 0 if it does not exist.
    pub updated_at: u64,
}

/// One or more patches of one session, merged, to be committed in one step.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Which session.
    pub session: SessionId,
    /// Who may write.
    pub fence: Fence,
    /// The version this commit builds on; with [`Fence::Shared`] it is checked only if `expected` is set.
    pub base: u64,
    /// How many patches are merged here: the version moves forward by as many. At least 1.
    pub patches: u32,
    /// With [`Fence::Shared`]: fail with `VersionMismatch` unless the session is at `base`.
    pub expected: bool,
    /// Random, so that a commit sent again is known for the same.
    pub id: u64,
    /// The records, sealed; each key at most once.
    pub changes: Vec<Change>,
    /// How long the session lives without a write or touch; `None` is for ever.
    pub ttl: Option<Duration>,
    /// Text to keep with the session beyond its deletion, in the same step; only the embedded backend does.
    pub note: Option<Arc<str>>,
}

impl Commit {
    /// The version after this commit, for an owner's commit.
    pub fn version(&self) -> u64 {
        self.base + u64::from(self.patches)
    }
}

/// How the session layer hands commits over; see [`Backend::commit_policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// Most sessions in one call of [`Backend::commit`].
    pub sessions: usize,
    /// Most such calls under way at once.
    pub in_flight: usize,
}

/// What whoever reads a session knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether it takes itself for the owner.
    pub fence: Fence,
    /// The version that the session had reached.
    pub version: u64,
}

impl Seen {
    /// It knows nothing.
    pub const NOTHING: Self = Self {
        fence: Fence::Shared,
        version: 0,
    };
}

/// A lease to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Of which session.
    pub session: SessionId,
    /// Its owner's token.
    pub token: Token,
    /// The version that its owner knows the session had reached.
    pub version: u64,
}

/// A page of [`Backend::scan`] or [`Backend::list`].
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What was found; a page may be empty and yet not be the last.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// A place in a listing; only the backend that made it can read it.
pub type Cursor = Arc<str>;

/// A storage for sessions. All calls may run at once; for one session, the session layer sends one commit at a time.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// `"embedded"`, `"redis"`, `"mongodb"`, `"postgres"` or `"hybrid"`: the `layer` of its errors.
    fn name(&self) -> &'static str;

    /// How commits of many sessions are best handed over.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy {
            sessions: 1,
            in_flight: 64,
        }
    }

    /// Parts of a storage fail by themselves, such as nodes of a cluster: a number for the part that holds `session` now.
    /// Sessions of different parts are not put into one call whose answers come together.
    fn part_of(&self, _session: &SessionId) -> usize {
        0
    }

    /// Whether what was opened is still what its name leads to; a file can be removed or replaced under its user.
    fn is_in_place(&self) -> bool {
        true
    }

    /// Answers once the storage does.
    async fn ping(&self) -> Result<()>;

    /// Takes the lease, or says who holds it. Leftovers of a crash (a commit point without its records) are
    /// repaired before the answer.
    async fn acquire(&self, request: Acquire) -> Result<Acquired>;

    /// Which of these leases still stand, in the order asked; changes nothing. Asked over and over for all sessions
    /// that are waited for. `false` is no promise: [`Backend::acquire`] knows whether the session is free.
    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>>;

    /// Makes leases last `lease` from now; one answer for each. `Fenced` if somebody else has taken it since,
    /// `SessionLost` if the storage holds less than it did. Waits for no other call, and for no place among them.
    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>>;

    /// Gives the lease back, so that the next owner need not wait. Not an error if it is held no more.
    async fn release(&self, session: &SessionId, token: Token) -> Result<()>;

    /// Who holds the session, as far as that is written down; takes nothing, and waits for nobody. A lease that ran out
    /// and was not given back may be answered as well: nothing is left of it.
    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>>;

    /// When the master key of this name was first seen here, in milliseconds since the Unix epoch. If that is now,
    /// `now` is written down.
    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64>;

    /// What the storage's own clock shows, in milliseconds since the Unix epoch; `None` if it goes by this machine's.
    async fn clock(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Where the session stands.
    async fn head(&self, session: &SessionId) -> Result<Head>;

    /// Every [`Commit::note`] of the session, the oldest first. They survive power loss from now on, and so does what
    /// was committed with them.
    async fn notes(&self, _session: &SessionId) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The records asked for, in the order asked; `None` where there is none.
    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>>;

    /// Some of a session's records (of one type if `kind` is given), from `cursor` on, about `limit` of them.
    /// A record that exists from the first page to the last is returned at least once.
    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>>;

    /// Commits each of them atomically by itself; one answer for each, in order: where the session stands then.
    /// An error that leaves open whether a commit was applied is `Timeout` or `Unavailable`.
    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>>;

    /// Deletes the session and all its records; `false` if there was none. An owner's lease stays held.
    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool>;

    /// Leaves nothing of what was overwritten or deleted where it was stored, as far as that is in this backend's hands.
    async fn scrub(&self) -> Result<()> {
        Ok(())
    }

    /// Fails if what holds the records is damaged. Says nothing about the records themselves; may take long.
    async fn verify(&self) -> Result<()> {
        Ok(())
    }

    /// Makes the session live `ttl` from now (`None`: for ever); `false` if there is none.
    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool>;

    /// Some of the existing sessions, from `cursor` on, about `limit` of them.
    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>>;

    /// Flushes, and gives connections and files back.
    async fn close(&self) -> Result<()>;
}
