//! The name of a record.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};

/// `(type, id)` in one allocation: a length byte, the type, the id. Cheap to clone and to hash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey(Arc<[u8]>);

impl RecordKey {
    /// Longest type, in bytes of UTF-8.
    pub const MAX_KIND: usize = 255;
    /// Longest id, in bytes of UTF-8.
    pub const MAX_ID: usize = 65_535;

    /// The key of record `id` of type `kind`. A type of 0 or more than 255 bytes, or an id of more than 65,535,
    /// is [`Kind::InvalidValue`].
    pub fn new(kind: &str, id: &str) -> Result<Self> {
        let length = match u8::try_from(kind.len()) {
            Ok(length) if length > 0 => length,
            _ => {
                return Err(Error::new(
                    Kind::InvalidValue,
                    "record",
                    "type must have 1 to 255 bytes",
                ));
            }
        };
        if id.len() > Self::MAX_ID {
            return Err(Error::new(
                Kind::InvalidValue,
                "record",
                "id must have at most 65,535 bytes",
            ));
        }
        let mut bytes = Vec::with_capacity(1 + kind.len() + id.len());
        bytes.push(length);
        bytes.extend_from_slice(kind.as_bytes());
        bytes.extend_from_slice(id.as_bytes());
        Ok(Self(bytes.into()))
    }

    /// The key of the creds record.
    pub fn creds() -> Self {
        Self(b"\x05creds".as_slice().into())
    }

    /// The record's type: `session`, `pre-key` …
    pub fn kind(&self) -> &str {
        self.text(1, 1 + usize::from(self.0[0]))
    }

    /// The record's id within its type; empty for the creds.
    pub fn id(&self) -> &str {
        self.text(1 + usize::from(self.0[0]), self.0.len())
    }

    /// Length byte, type, id: unambiguous, so it can be bound into a seal or used as a field name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`RecordKey::as_bytes`] gave; anything else is [`Kind::Corrupt`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(Kind::Corrupt, "record", "not a record key");
        let (&length, rest) = bytes.split_first().ok_or_else(corrupt)?;
        let (kind, id) = rest.split_at_checked(usize::from(length)).ok_or_else(corrupt)?;
        let (kind, id) = (std::str::from_utf8(kind), std::str::from_utf8(id));
        match (kind, id) {
            (Ok(kind), Ok(id)) => Self::new(kind, id).map_err(|_| corrupt()),
            _ => Err(corrupt()),
        }
    }

    fn text(&self, from: usize, to: usize) -> &str {
        // Both constructors only take `str`s, so the slices are UTF-8.
        std::str::from_utf8(&self.0[from..to]).unwrap_or_default()
    }
}

impl Borrow<[u8]> for RecordKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.id())
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_id_come_back() {
        let key = RecordKey::new("app-state-sync-key", "AAAAé/:").unwrap();
        assert_eq!((key.kind(), key.id()), ("app-state-sync-key", "AAAAé/:"));
        assert_eq!(RecordKey::from_bytes(key.as_bytes()).unwrap(), key);
        assert_eq!(RecordKey::new("creds", "").unwrap(), RecordKey::creds());
    }

    #[test]
    fn limits_are_errors() {
        assert_eq!(RecordKey::new("", "x").unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(
            RecordKey::new(&"t".repeat(256), "x").unwrap_err().kind(),
            Kind::InvalidValue
        );
        assert_eq!(
            RecordKey::new("t", &"x".repeat(65_536)).unwrap_err().kind(),
            Kind::InvalidValue
        );
        assert_eq!(RecordKey::from_bytes(b"").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(
            RecordKey::from_bytes(b"\x09abc").unwrap_err().kind(),
            Kind::Corrupt
        );
        assert_eq!(
            RecordKey::from_bytes(b"\x01\xff").unwrap_err().kind(),
            Kind::Corrupt
        );
    }
}
