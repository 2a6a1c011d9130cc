//! What stands in `@`, and what the scripts answer.

use bytes::Bytes;

use super::super::errors::error;
use crate::backend::{Holder, Token};
use crate::error::{Kind, Result};

/// Who owns a copy and at which commit it stands: `token:version:commit id:time of the commit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The owner's token.
    pub token: Token,
    /// The version.
    pub version: u64,
    /// Id of the last commit; 0 at version 0.
    pub commit_id: u64,
    /// When that was, in ms since the Unix epoch; 0 at version 0.
    pub updated_at: u64,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}:{:016x}:{}",
            self.token, self.version, self.commit_id, self.updated_at
        )
    }
}

impl Mark {
    /// Whether both stand at the same commit.
    pub fn same_commit(&self, other: &Self) -> bool {
        (self.version, self.commit_id) == (other.version, other.commit_id)
    }

    pub(in crate::backend::redis) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let read = || {
            let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
            let mark = Self {
                token: parts.next()?.parse().ok()?,
                version: parts.next()?.parse().ok()?,
                commit_id: u64::from_str_radix(parts.next()?, 16).ok()?,
                updated_at: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(mark)
        };
        let corrupt = || error(Kind::Corrupt, "the mark of a hot copy cannot be read");
        read().map(Some).ok_or_else(corrupt)
    }
}

/// Answer of [`HotCopies::reserve`].
#[derive(Debug)]
pub enum Reserved {
    /// Nobody else will get it while the reservation lasts.
    Yes(Left),
    /// A live owner holds it.
    Held(Holder),
}

/// What a reservation found in an outbox; nothing was changed there.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// Who may write there, and where it stands; `None` if there is no outbox.
    pub mark: Option<Mark>,
    /// How the first entry begins that the truth does not have.
    pub first: Option<Bytes>,
}

/// Answer of [`HotCopies::install`].
#[derive(Debug, PartialEq, Eq)]
pub enum Installed {
    /// The copy stands at this mark.
    Yes(Mark),
    /// Something else stands there; `None` for nothing.
    No(Option<Mark>),
    /// There are entries that the caller did not say it knows of.
    Entries,
}

/// Answer of [`HotCopies::commit`].
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Yes,
    /// Something else stands there; `None` for nothing.
    No(Option<Mark>),
}

/// A lease of [`HotCopies::renew`].
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Which session.
    pub session: &'a str,
    /// The owner's token.
    pub token: Token,
    /// Random, of the grant.
    pub attempt: u64,
    /// The version that the owner knows to be in the outbox, or 0.
    pub version: u64,
}

/// Answer of [`HotCopies::renew`].
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

/// What [`HotCopies::read`] found.
#[derive(Debug)]
pub struct Copied {
    /// What the copy stands at; `None` if there is none.
    pub mark: Option<Mark>,
    /// Whether it holds every record.
    pub complete: bool,
    /// In the order asked.
    pub records: Vec<Option<Bytes>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back() {
        let mark = Mark {
            token: 7,
            version: 42,
            commit_id: u64::MAX,
            updated_at: 1_763_740_800_123,
        };
        assert_eq!(Mark::parse(mark.to_string().as_bytes()).unwrap(), Some(mark));
        assert_eq!(Mark::parse(b"").unwrap(), None);
        for bad in ["1", "1:2:3", "1:2:x:4", "1:2:3:4:5"] {
            assert_eq!(
                Mark::parse(bad.as_bytes()).unwrap_err().kind(),
                Kind::Corrupt,
                "{bad}"
            );
        }
    }
}
