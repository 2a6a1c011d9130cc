//! How a [`Revision`] is written in `@`: `token:version:commit id:time of the commit`.

use crate::backend::redis::error;
use crate::error::{Kind, Result};
use crate::hybrid::cache::Revision;

pub(super) fn write(revision: &Revision) -> String {
    let Revision {
        token,
        version,
        commit_id,
        updated_at,
    } = revision;
    format!("{token}:{version}:{commit_id:016x}:{updated_at}")
}

/// `None` of nothing.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Revision>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let read = || {
        let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
        let revision = Revision {
            token: parts.next()?.parse().ok()?,
            version: parts.next()?.parse().ok()?,
            commit_id: u64::from_str_radix(parts.next()?, 16).ok()?,
            updated_at: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(revision)
    };
    let corrupt = || {
        error(
            Kind::Corrupt,
            "the revision of a copy or an outbox cannot be read",
        )
    };
    read().map(Some).ok_or_else(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_comes_back() {
        let revision = Revision {
            token: 7,
            version: 42,
            commit_id: u64::MAX,
            updated_at: 1_763_740_800_123,
        };
        let written = write(&revision);
        assert_eq!(written, "7:42:ffffffffffffffff:1763740800123");
        assert_eq!(parse(written.as_bytes()).unwrap(), Some(revision));
        assert_eq!(parse(b"").unwrap(), None);
        for bad in ["1", "1:2:3", "1:2:x:4", "1:2:3:4:5"] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
    }
}
