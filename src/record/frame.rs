//! Frames: how records cross between JavaScript and the core, in one piece per call.
//!
//! All numbers are little-endian, texts UTF-8.
//!
//! | frame | layout |
//! | --- | --- |
//! | set | until the end: `u8` op (0 deletes, 1 puts), `u8` type length, `u16` id length, `u32` value length, type, id, value |
//! | get | `u8` type length, type, then until the end: `u16` id length, id |
//! | answer | for each record found: `u32` index into the ids asked for, `u32` value length, value |

use bytes::Bytes;

use super::{Patch, RecordKey};
use crate::error::{Error, Kind, Result};

const DELETE: u8 = 0;
const PUT: u8 = 1;
/// Bytes of an answer beside each value.
const ANSWER_HEADER: usize = 8;

/// The patch in a set frame; of two changes of one record the later wins. Anything malformed is
/// [`Kind::InvalidValue`].
///
/// Each value gets an allocation of its own. Slices of one copy of the frame would be cheaper to make, but the
/// smallest of them, kept in a session's cache, would keep the whole frame in memory.
pub fn decode_patch(frame: &[u8]) -> Result<Patch> {
    let mut rest = Reader(frame);
    let mut patch = Patch::default();
    while !rest.0.is_empty() {
        let op = rest.u8()?;
        let kind_len = rest.u8()?.into();
        let id_len = rest.u16()?.into();
        let value_len = rest.u32()?;
        let kind = rest.text(kind_len)?;
        let id = rest.text(id_len)?;
        let value = rest.take(usize::try_from(value_len).map_err(|_| malformed("value too long"))?)?;
        let value = match op {
            PUT => Some(Bytes::copy_from_slice(value)),
            DELETE if value.is_empty() => None,
            DELETE => return Err(malformed("a deletion has a value")),
            _ => return Err(malformed("unknown operation")),
        };
        patch.set(RecordKey::new(kind, id)?, value);
    }
    Ok(patch)
}

/// The keys in a get frame, in order; anything malformed is [`Kind::InvalidValue`].
pub fn decode_keys(frame: &[u8]) -> Result<Vec<RecordKey>> {
    let mut rest = Reader(frame);
    let kind_len = rest.u8()?.into();
    let kind = rest.text(kind_len)?;
    let mut keys = Vec::new();
    while !rest.0.is_empty() {
        let id_len = rest.u16()?.into();
        keys.push(RecordKey::new(kind, rest.text(id_len)?)?);
    }
    Ok(keys)
}

/// Bytes that [`write_answer`] needs for these values.
pub fn answer_len<'a>(values: impl Iterator<Item = &'a [u8]>) -> usize {
    values.map(|value| ANSWER_HEADER + value.len()).sum()
}

/// Writes an answer to the front of `out`: `(index into the ids asked for, value)` of the records found. The number
/// of bytes written; `None` if they do not fit, whereupon `out` holds nothing of use.
pub fn write_answer<'a>(out: &mut [u8], records: impl Iterator<Item = (u32, &'a [u8])>) -> Option<usize> {
    let mut at = 0;
    for (index, value) in records {
        let record = out.get_mut(at..)?;
        let (header, record) = record.split_at_mut_checked(ANSWER_HEADER)?;
        header[..4].copy_from_slice(&index.to_le_bytes());
        header[4..].copy_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        record.get_mut(..value.len())?.copy_from_slice(value);
        at += ANSWER_HEADER + value.len();
    }
    Some(at)
}

/// A set frame that puts all of `records`.
pub fn encode_records<'a>(records: impl Iterator<Item = (&'a RecordKey, &'a Bytes)>) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    for (key, value) in records {
        let too_long = |_| malformed("value too long");
        let [kind, id] = [key.kind().as_bytes(), key.id().as_bytes()];
        frame.push(PUT);
        frame.push(u8::try_from(kind.len()).map_err(too_long)?);
        frame.extend_from_slice(&u16::try_from(id.len()).map_err(too_long)?.to_le_bytes());
        frame.extend_from_slice(&u32::try_from(value.len()).map_err(too_long)?.to_le_bytes());
        frame.extend_from_slice(kind);
        frame.extend_from_slice(id);
        frame.extend_from_slice(value);
    }
    Ok(frame)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self, count: usize) -> Result<&'a str> {
        std::str::from_utf8(self.take(count)?).map_err(|_| malformed("a type or id is not UTF-8"))
    }
}

fn malformed(why: &str) -> Error {
    Error::new(Kind::InvalidValue, "record", format!("malformed frame: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(op: u8, kind: &str, id: &str, value: &[u8]) -> Vec<u8> {
        let mut frame = vec![op, u8::try_from(kind.len()).unwrap()];
        frame.extend(u16::try_from(id.len()).unwrap().to_le_bytes());
        frame.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        frame.extend([kind.as_bytes(), id.as_bytes(), value].concat());
        frame
    }

    fn question(kind: &str, ids: &[String]) -> Vec<u8> {
        let mut frame = vec![u8::try_from(kind.len()).unwrap()];
        frame.extend(kind.as_bytes());
        for id in ids {
            frame.extend(u16::try_from(id.len()).unwrap().to_le_bytes());
            frame.extend(id.as_bytes());
        }
        frame
    }

    fn invalid<T: std::fmt::Debug>(result: Result<T>) {
        assert_eq!(result.unwrap_err().kind(), Kind::InvalidValue);
    }

    #[test]
    fn a_patch_is_read_as_written_down() {
        let frame = b"\x01\x07\x01\x00\x02\x00\x00\x00sessionahi\x00\x07\x01\x00\x00\x00\x00\x00pre-key7";
        let patch = decode_patch(frame).unwrap();
        let session = RecordKey::new("session", "a").unwrap();
        let pre_key = RecordKey::new("pre-key", "7").unwrap();
        assert_eq!(patch.get(&session), Some(&Some(Bytes::from_static(b"hi"))));
        assert_eq!(patch.get(&pre_key), Some(&None));
        assert_eq!(patch.changes().len(), 2);
        assert!(decode_patch(b"").unwrap().is_empty());
    }

    #[test]
    fn an_empty_value_is_not_a_deletion() {
        let patch = decode_patch(&change(PUT, "session", "a", b"")).unwrap();
        assert_eq!(patch.changes()[0].value, Some(Bytes::new()));
    }

    #[test]
    fn malformed_patches_are_errors() {
        invalid(decode_patch(&change(2, "session", "a", b"")));
        invalid(decode_patch(&change(DELETE, "session", "a", b"v")));
        invalid(decode_patch(&change(PUT, "", "a", b"v")));
        let mut not_text = change(PUT, "session", "a", b"v");
        not_text[9] = 0xff;
        invalid(decode_patch(&not_text));
        let whole = change(PUT, "session", "a", b"v");
        for end in 1..whole.len() {
            invalid(decode_patch(&whole[..end]));
        }
        invalid(decode_patch(&[whole, vec![1]].concat()));
    }

    #[test]
    fn malformed_questions_are_errors() {
        invalid(decode_keys(b""));
        invalid(decode_keys(b"\x07sess"));
        invalid(decode_keys(b"\x00\x01\x00a"));
        invalid(decode_keys(b"\x01s\x02\x00a"));
        invalid(decode_keys(b"\x01s\x02"));
        invalid(decode_keys(b"\x01s\x01\x00\xff"));
        assert!(decode_keys(b"\x01s").unwrap().is_empty());
    }

    #[test]
    fn an_answer_is_written_as_written_down() {
        let records = [(0_u32, b"hi".as_slice()), (7, b"")];
        let length = answer_len(records.iter().map(|record| record.1));
        let mut out = vec![0xee; length + 3];
        assert_eq!(write_answer(&mut out, records.into_iter()), Some(length));
        assert_eq!(out, b"\0\0\0\0\x02\0\0\0hi\x07\0\0\0\0\0\0\0\xee\xee\xee");
        for short in 0..length {
            assert_eq!(write_answer(&mut out[..short], records.into_iter()), None);
        }
        assert_eq!(write_answer(&mut [], [].into_iter()), Some(0));
    }

    proptest! {
        #[test]
        fn patches_come_through(changes in prop::collection::vec(
            (any::<bool>(), "[a-z-]{1,20}", ".{0,20}", prop::collection::vec(any::<u8>(), 0..50)), 0..20,
        )) {
            let mut expected = Patch::default();
            let mut frame = Vec::new();
            for (put, kind, id, value) in &changes {
                let value = put.then_some(value.as_slice());
                frame.extend(change(u8::from(*put), kind, id, value.unwrap_or_default()));
                expected.set(RecordKey::new(kind, id).unwrap(), value.map(Bytes::copy_from_slice));
            }
            let decoded = decode_patch(&frame).unwrap();
            prop_assert_eq!(decoded.changes(), expected.changes());
        }

        #[test]
        fn questions_come_through(kind in "[a-z-]{1,20}", ids in prop::collection::vec(".{0,20}", 0..20)) {
            let keys: Vec<_> = ids.iter().map(|id| RecordKey::new(&kind, id).unwrap()).collect();
            prop_assert_eq!(decode_keys(&question(&kind, &ids)).unwrap(), keys);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for result in [decode_patch(&bytes).map(|_| ()), decode_keys(&bytes).map(|_| ())] {
                if let Err(error) = result {
                    prop_assert_eq!(error.kind(), Kind::InvalidValue);
                }
            }
            if let Err(error) = RecordKey::from_bytes(&bytes) {
                prop_assert_eq!(error.kind(), Kind::Corrupt);
            }
        }

        /// Mutations of a good frame reach deeper than noise does.
        #[test]
        fn damaged_frames_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut frame = [
                change(PUT, "session", "a", b"value"),
                change(DELETE, "pre-key", "7", b""),
            ].concat();
            let at = at.index(frame.len());
            frame[at] = byte;
            if let Err(error) = decode_patch(&frame) {
                prop_assert_eq!(error.kind(), Kind::InvalidValue);
            }
        }
    }
}
