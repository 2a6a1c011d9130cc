//! Names and numbers as columns.
//!
//! Names are bytes: a name may have a NUL, which `text` cannot hold, and is compared byte by byte whatever the
//! database's collation is.

use sha2::{Digest, Sha256};

use super::LAYER;
use super::errors::corrupt;
use crate::backend::{Commit, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;

/// An index entry has at most 2,704 bytes, for a session's name, a type of up to 255 bytes and an id.
const LONGEST_SESSION: usize = 1000;
/// Longer ids stand for themselves by a digest.
const LONGEST_ID: usize = 1000;
/// Begins a digest; no UTF-8 has this byte.
const DIGEST: u8 = 0xFF;
/// The server takes 1 GB in one value; all values of one kind go in one.
const LARGEST_COMMIT: usize = 512 * 1024 * 1024;

/// A record's id as its column, and the whole of it where that is only a digest.
pub(super) fn id_columns(key: &RecordKey) -> (Vec<u8>, Option<&[u8]>) {
    let id = key.id().as_bytes();
    if id.len() <= LONGEST_ID {
        return (id.to_vec(), None);
    }
    let mut digest = vec![DIGEST];
    digest.extend_from_slice(&Sha256::digest(id));
    (digest, Some(id))
}

/// The key that a row stands for.
pub(super) fn key_of(kind: &[u8], id: &[u8], long_id: Option<&[u8]>) -> Result<RecordKey> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| corrupt("a record's name is not UTF-8"));
    RecordKey::new(text(kind)?, text(long_id.unwrap_or(id))?)
        .map_err(|_| corrupt("a record has no valid name"))
}

/// A session's name as it was given.
pub(super) fn session_of(id: &[u8]) -> Result<SessionId> {
    let name = std::str::from_utf8(id).map_err(|_| corrupt("a session's name is not UTF-8"))?;
    Ok(name.into())
}

/// Refuses a name that no index can hold.
pub(super) fn check_session(session: &str) -> Result<()> {
    if session.len() <= LONGEST_SESSION {
        return Ok(());
    }
    Err(Error::new(
        Kind::InvalidValue,
        LAYER,
        "a session's name must have at most 1,000 bytes",
    ))
}

/// About how large a commit is.
pub(super) fn size_of(commit: &Commit) -> usize {
    let change = |change: &crate::record::Change| {
        change.key.as_bytes().len() + change.value.as_ref().map_or(0, bytes::Bytes::len) + 64
    };
    256 + commit.changes.iter().map(change).sum::<usize>()
}

/// Refuses what the server could not take.
pub(super) fn check_size(bytes: usize) -> Result<()> {
    if bytes <= LARGEST_COMMIT {
        return Ok(());
    }
    Err(Error::new(
        Kind::InvalidValue,
        LAYER,
        "a patch must have at most 512 MiB, sealed",
    ))
}

/// A number as a column: ids use all 64 bits and are only compared.
pub(super) fn long(number: u64) -> i64 {
    number.cast_signed()
}

/// A column that is never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_length_come_back() {
        for length in [0, 1, LONGEST_ID, LONGEST_ID + 1, RecordKey::MAX_ID] {
            let key = RecordKey::new("session", &"é".repeat(length / 2)).unwrap();
            let (id, long) = id_columns(&key);
            assert!(id.len() <= LONGEST_ID);
            assert_eq!(key_of(key.kind().as_bytes(), &id, long).unwrap(), key);
        }
    }
}
