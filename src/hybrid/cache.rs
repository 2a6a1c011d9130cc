//! What stands in front of the primary store: a cache of each open session with an outbox of patches that were
//! acknowledged before the primary had them.
//!
//! The cache may lose everything at any time. It counts only while it is at the [`Revision`] that its owner expects.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::{DeadLetter, Holder, Owner, SessionId, Token};
use crate::error::Result;
use crate::record::{Change, RecordKey};

/// Who owns a copy or an outbox, and at which commit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revision {
    /// The owner's token.
    pub token: Token,
    /// The version.
    pub version: u64,
    /// Id of the last commit; 0 at version 0.
    pub commit_id: u64,
    /// When that was, in ms since the Unix epoch; 0 at version 0.
    pub updated_at: u64,
}

impl Revision {
    /// Whether both are at the same commit.
    pub fn same_commit(&self, other: &Self) -> bool {
        (self.version, self.commit_id) == (other.version, other.commit_id)
    }
}

/// Answer of [`Cache::reserve`].
#[derive(Debug)]
pub enum Reserved {
    /// Nobody else will get it while the reservation lasts.
    Yes(OutboxFound),
    /// A live owner holds it.
    Held(Holder),
}

/// What a reservation found in an outbox; nothing was changed there.
#[derive(Debug, PartialEq, Eq)]
pub struct OutboxFound {
    /// Who may write there, and where it is; `None` if there is no outbox.
    pub revision: Option<Revision>,
    /// How the first entry begins that the primary does not have.
    pub first: Option<Bytes>,
}

/// Answer of [`Cache::install`].
#[derive(Debug, PartialEq, Eq)]
pub enum Installed {
    /// The copy is at this revision.
    Yes(Revision),
    /// Something else is there; `None` for nothing.
    No(Option<Revision>),
    /// There are entries that the caller did not say it knows of.
    Entries,
}

/// Answer of [`Cache::commit`].
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Yes,
    /// Something else is there; `None` for nothing.
    No(Option<Revision>),
}

/// A lease of [`Cache::renew`].
#[derive(Debug, Clone, Copy)]
pub struct HeldLease<'a> {
    /// Which session.
    pub session: &'a str,
    /// The owner's token.
    pub token: Token,
    /// Random, of the grant.
    pub request_id: u64,
    /// The version that the owner knows to be in the outbox, or 0.
    pub version: u64,
}

/// Answer of [`Cache::renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The lease lasts on.
    Yes,
    /// A later owner is there.
    Fenced,
    /// The server does not know this ownership.
    Unknown,
    /// Somebody is asking for the session.
    Contested,
}

/// What [`Cache::read`] found.
#[derive(Debug)]
pub struct Copied {
    /// What the copy is at; `None` if there is none.
    pub revision: Option<Revision>,
    /// Whether it holds every record.
    pub complete: bool,
    /// In the order asked.
    pub records: Vec<Option<Bytes>>,
}

/// A cache with an outbox. Each call is one atomic step for each session; whoever fails may have been heard.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Answers once the server does.
    async fn ping(&self) -> Result<()>;

    /// What an operator should know, one sentence each; of a server that holds an outbox there is more to say.
    async fn warnings(&self, holds_outbox: bool) -> Result<Vec<String>>;

    /// Gives the connections back.
    fn close(&self);

    /// What the copy has of `keys`.
    async fn read(&self, session: &SessionId, keys: &[RecordKey]) -> Result<Copied>;

    /// Adds records that the primary has at `revision`, unless anything was written since. `complete`: there are no
    /// others.
    async fn warm(
        &self,
        session: &SessionId,
        revision: Revision,
        records: &[(RecordKey, Bytes)],
        complete: bool,
        ttl: Option<Duration>,
    ) -> Result<bool>;

    /// Makes the copy, if there is one, live `ttl` from now.
    async fn touch(&self, session: &SessionId, ttl: Option<Duration>) -> Result<()>;

    /// Takes `changes` into the copy of an owner that is at version `base`, which becomes `revision`; with `entry`,
    /// the outbox gets that in the same step.
    async fn commit(
        &self,
        session: &SessionId,
        base: u64,
        revision: Revision,
        changes: &[Change],
        entry: Option<&Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Written>;

    /// Where the outbox is.
    async fn revision(&self, session: &SessionId) -> Result<Option<Revision>>;

    /// Whether the outbox has the entry of that version, on as many replicas as an acknowledgement needs.
    async fn confirm_entry(&self, session: &SessionId, version: u64) -> Result<bool>;

    /// All entries of the outbox with their versions, in order.
    async fn entries(&self, session: &SessionId) -> Result<Vec<(u64, Bytes)>>;

    /// Removes entries that the primary has, if the owner still is `token`.
    async fn trim(&self, session: &SessionId, token: Token, versions: &[u64]) -> Result<()>;

    /// Removes what is here of a session that was deleted, unless its outbox has got entries since it was at `seen`.
    async fn purge(&self, session: &SessionId, seen: Option<Revision>) -> Result<()>;

    /// Keeps others from taking the session for `lease`, unless somebody has it; what is in its outbox beyond
    /// `version`. Fences nobody.
    async fn reserve(
        &self,
        session: &SessionId,
        request_id: u64,
        owner: &Owner,
        lease: Duration,
        preempt: Option<Token>,
        version: u64,
    ) -> Result<Reserved>;

    /// Gives a reservation back.
    async fn cancel_reservation(&self, session: &SessionId, request_id: u64) -> Result<()>;

    /// Shuts owners with tokens below `token` out; answers with the revision found.
    async fn fence(&self, session: &SessionId, token: Token) -> Result<Option<Revision>>;

    /// Begins the ownership of `revision.token` with an empty outbox at `revision`, in place of what is at `found`, of
    /// an earlier owner's without entries, or of nothing; the copy stays if it is of the same version and commit.
    async fn install(
        &self,
        session: &SessionId,
        found: Option<Revision>,
        revision: Revision,
        owner: &Owner,
        request_id: u64,
        lease: Duration,
    ) -> Result<Installed>;

    /// Which of these leases still stand, in the order asked.
    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>>;

    /// Makes leases of this owner last `lease` from now; one answer for each.
    async fn renew(&self, leases: &[HeldLease<'_>], owner: &Owner, lease: Duration) -> Vec<Result<Renewed>>;

    /// Gives the lease back.
    async fn release(&self, session: &SessionId, token: Token) -> Result<()>;

    /// Puts a patch that can never be applied where an operator finds it.
    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()>;

    /// Those patches, the oldest first.
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>>;
}
