//! A commit as it stands in the outbox.
//!
//! All numbers are big-endian: format (1 byte, 1), base (8), patches (4), commit id (8), time to live in ms or 0
//! (8), number of changes (4); each change: length of the key (4), key, 1 or 0 for put or delete (1), and for a put
//! length (4) and bytes of the sealed record.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::LAYER;
use crate::backend::{Commit, Fence, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};
use crate::time;

const FORMAT: u8 = 1;
const HEADER: usize = 33;

/// About how many bytes an entry for these changes has.
pub(super) fn size_of(changes: &[Change]) -> usize {
    let sizes = changes
        .iter()
        .map(|change| 9 + change.key.as_bytes().len() + change.value.as_ref().map_or(0, Bytes::len));
    HEADER + sizes.sum::<usize>()
}

pub(super) fn encode(commit: &Commit) -> Bytes {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut entry = BytesMut::with_capacity(size_of(&commit.changes));
    entry.put_u8(FORMAT);
    entry.put_u64(commit.base);
    entry.put_u32(commit.patches);
    entry.put_u64(commit.id);
    let ttl = commit.ttl.map_or(0, |ttl| time::millis(ttl).max(1));
    entry.put_u64(ttl);
    entry.put_u32(length(commit.changes.len()));
    for change in &commit.changes {
        entry.put_u32(length(change.key.as_bytes().len()));
        entry.put_slice(change.key.as_bytes());
        match &change.value {
            None => entry.put_u8(0),
            Some(value) => {
                entry.put_u8(1);
                entry.put_u32(length(value.len()));
                entry.put_slice(value);
            }
        }
    }
    entry.freeze()
}

/// The base version of an entry, of which only the beginning need be there.
pub(super) fn base_of(entry: &[u8]) -> Option<u64> {
    let base = entry.get(1..9)?;
    (entry[0] == FORMAT).then(|| u64::from_be_bytes(base.try_into().unwrap_or_default()))
}

/// The commit, to be made by the owner with `token`.
pub(super) fn decode(session: &SessionId, token: Token, mut entry: Bytes) -> Result<Commit> {
    let corrupt =
        || Error::new(Kind::Corrupt, LAYER, "an entry of the outbox cannot be read").in_session(session);
    if entry.len() < HEADER || entry.get_u8() != FORMAT {
        return Err(corrupt());
    }
    let base = entry.get_u64();
    let patches = entry.get_u32();
    let id = entry.get_u64();
    let ttl = match entry.get_u64() {
        0 => None,
        millis => Some(Duration::from_millis(millis)),
    };
    let count = entry.get_u32();
    let mut changes = Vec::new();
    let take = |entry: &mut Bytes| {
        let length = entry.try_get_u32().ok()? as usize;
        (length <= entry.len()).then(|| entry.split_to(length))
    };
    for _ in 0..count {
        let key = take(&mut entry).ok_or_else(corrupt)?;
        let value = match entry.try_get_u8() {
            Ok(0) => None,
            Ok(1) => Some(take(&mut entry).ok_or_else(corrupt)?),
            _ => return Err(corrupt()),
        };
        changes.push(Change {
            key: RecordKey::from_bytes(&key)?,
            value,
        });
    }
    if !entry.is_empty() {
        return Err(corrupt());
    }
    Ok(Commit {
        session: session.clone(),
        fence: Fence::Owner(token),
        base,
        patches,
        expected: false,
        id,
        changes,
        ttl,
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_and_a_torn_one_does_not() {
        let key = |id| RecordKey::new("session", id).unwrap();
        let commit = Commit {
            session: "s".into(),
            fence: Fence::Owner(9),
            base: 41,
            patches: 3,
            expected: false,
            id: u64::MAX,
            changes: vec![
                Change {
                    key: key("a"),
                    value: Some(Bytes::from_static(b"1")),
                },
                Change {
                    key: key("b"),
                    value: None,
                },
                Change {
                    key: key("c"),
                    value: Some(Bytes::new()),
                },
            ],
            ttl: Some(Duration::from_millis(5)),
            note: None,
        };
        let entry = encode(&commit);
        let back = decode(&commit.session, 9, entry.clone()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{commit:?}"));
        assert_eq!(base_of(&entry[..12]), Some(41));
        assert_eq!(base_of(&entry[..8]), None);
        for length in 0..entry.len() {
            let torn = decode(&commit.session, 9, entry.slice(..length));
            assert_eq!(torn.unwrap_err().kind(), Kind::Corrupt, "{length} bytes");
        }
    }
}
