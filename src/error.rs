//! The one error type of the core.
//!
//! An [`Error`] answers two questions: what happened ([`Kind`]) and may the caller try again
//! ([`Error::retryable`]). Driver errors are mapped to a kind once, in their backend; text written by a driver
//! goes through [`Error::because`], and callers must never put key material or a URL with a password in it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Result of every fallible operation of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An option is unknown, missing or out of range.
    Config,
    /// A value, record key or frame handed in by the caller is malformed.
    InvalidValue,
    /// The storage could not be reached or refused to work; nothing is known to be wrong with the data.
    Unavailable,
    /// An operation ran past its time limit; a write may or may not have been applied.
    Timeout,
    /// The circuit breaker is open: the storage kept failing, and was not asked.
    CircuitOpen,
    /// Somebody else owns the session now; this owner's token is older.
    Fenced,
    /// The session (or the embedded store) is held by a live owner.
    SessionBusy,
    /// The session's version is not the expected one.
    VersionMismatch,
    /// A record cannot be opened: unknown key id, wrong key, or altered bytes.
    Encryption,
    /// Stored bytes are not what this library writes.
    Corrupt,
    /// A record could not be compressed or decompressed.
    Compression,
    /// The session was deleted through this handle; it takes no more writes.
    Deleted,
    /// The storage lost a session that this owner had written (emptied, evicted, restored from an old copy).
    SessionLost,
    /// The storage has no room left.
    StorageFull,
    /// The handle or the store is closed.
    Closed,
    /// A defect in this library.
    Internal,
}

impl Kind {
    /// The stable code that JavaScript sees as `error.code`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Config => "CONFIG_INVALID",
            Self::InvalidValue => "INVALID_VALUE",
            Self::Unavailable => "STORAGE_UNAVAILABLE",
            Self::Timeout => "TIMEOUT",
            Self::CircuitOpen => "CIRCUIT_OPEN",
            Self::Fenced => "FENCED",
            Self::SessionBusy => "SESSION_BUSY",
            Self::VersionMismatch => "VERSION_MISMATCH",
            Self::Encryption => "ENCRYPTION_FAILED",
            Self::Corrupt => "CORRUPT_RECORD",
            Self::Compression => "COMPRESSION_FAILED",
            Self::Deleted => "SESSION_DELETED",
            Self::SessionLost => "SESSION_LOST",
            Self::StorageFull => "STORAGE_FULL",
            Self::Closed => "CLOSED",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    const fn retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::CircuitOpen | Self::SessionBusy | Self::StorageFull
        )
    }
}

/// An error with its kind, the layer it came from and the session it concerns.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    layer: &'static str,
    message: Cow<'static, str>,
    session: Option<Arc<str>>,
    /// Named facts for programs (`holder`, `expectedVersion` …); shown as `error.details` in JavaScript.
    details: serde_json::Map<String, serde_json::Value>,
    cause: Option<Arc<str>>,
    cut_off: bool,
    partial: bool,
}

impl Error {
    /// An error of `kind` raised in `layer` (`"embedded"`, `"redis"`, `"mongodb"`, `"postgres"`, `"session"` …).
    pub fn new(kind: Kind, layer: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            layer,
            message: message.into(),
            session: None,
            details: serde_json::Map::new(),
            cause: None,
            cut_off: false,
            partial: false,
        }))
    }

    /// Names the session that the operation was about; an earlier name stays.
    #[must_use]
    pub fn in_session(mut self, session: &Arc<str>) -> Self {
        self.0.session.get_or_insert_with(|| session.clone());
        self
    }

    /// Keeps the text of the underlying error.
    #[must_use]
    pub fn because(mut self, cause: &dyn fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string().into());
        self
    }

    /// Names the server that was asked, by its address.
    #[must_use]
    pub fn at_server(mut self, server: &str) -> Self {
        self.0.message = format!("{server}: {}", self.0.message).into();
        self.with("server", server)
    }

    /// Says that a connection which had worked ended under the call: one that stood idle for long, mostly. Whether
    /// the storage is away, the next call on a new connection will tell.
    #[must_use]
    pub fn of_ended_connection(mut self) -> Self {
        self.0.cut_off = true;
        self
    }

    /// See [`Error::of_ended_connection`].
    pub fn is_of_ended_connection(&self) -> bool {
        self.0.cut_off
    }

    /// Says that a part of the storage failed, a node or a replica: of the rest nothing is known.
    #[must_use]
    pub fn of_part(mut self) -> Self {
        self.0.partial = true;
        self
    }

    /// See [`Error::of_part`].
    pub fn is_of_part(&self) -> bool {
        self.0.partial
    }

    /// Adds a named fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it happened.
    pub fn layer(&self) -> &'static str {
        self.0.layer
    }

    /// What happened, in words.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The session concerned, if one was.
    pub fn session(&self) -> Option<&Arc<str>> {
        self.0.session.as_ref()
    }

    /// A named fact added by [`Error::with`].
    pub fn detail(&self, name: &str) -> Option<&serde_json::Value> {
        self.0.details.get(name)
    }

    /// All named facts.
    pub fn details(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.0.details
    }

    /// Text of the underlying error.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.layer, self.0.message)?;
        if let Some(cause) = &self.0.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.0.kind.code())?;
        if let Some(session) = &self.0.session {
            write!(f, " (session {session})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
