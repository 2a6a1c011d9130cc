//! Names of keys and the head of a session, as written down in `docs/internals/redis.md`.

use crate::backend::{Head, SessionId, Token};
use crate::record::KeyId;

/// Field of a session's hash: `token:version:commit id:flag:updated at:earlier commit ids`. Record fields begin
/// with their type's length, so none of up to 64 bytes begins with `@` (64).
pub(crate) const HEAD: &[u8] = b"@";

/// Whether a field is one of ours and not a record.
pub(super) fn is_own_field(field: &[u8]) -> bool {
    field.first() == Some(&b'@') && field.len() <= 64
}

/// Names of the keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The hash of a session.
    pub fn hash(&self, session: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + session.len() + 3);
        key.push_str(&self.prefix);
        key.push_str(":{");
        for character in session.chars() {
            match character {
                '{' => key.push_str("%7B"),
                '}' => key.push_str("%7D"),
                '%' => key.push_str("%25"),
                other => key.push(other),
            }
        }
        key.push('}');
        key
    }

    /// The lease of a session.
    pub fn lease(&self, session: &str) -> String {
        let mut key = self.hash(session);
        key.push_str(":lease");
        key
    }

    /// When a master key was first seen. No key of a session ends so.
    pub fn key_seen(&self, key: KeyId) -> String {
        format!("{}:{{keys}}:{key}:seen", self.prefix)
    }

    /// A hash and a string that no session has; `installation` names whose, as in hybrid mode.
    pub fn proof(&self, installation: &str) -> [String; 2] {
        ["hash", "string"].map(|kind| format!("{}:{{proof}}:{installation}:{kind}", self.prefix))
    }

    /// What SCAN must match to find the hashes.
    pub fn pattern(&self) -> Vec<u8> {
        let mut pattern = glob_escape(self.prefix.as_bytes());
        pattern.extend_from_slice(b":{*}");
        pattern
    }

    /// The session whose hash this is.
    pub fn session(&self, key: &[u8]) -> Option<SessionId> {
        let key = std::str::from_utf8(key).ok()?;
        let escaped = key
            .strip_prefix(&self.prefix)?
            .strip_prefix(":{")?
            .strip_suffix('}')?;
        if escaped.is_empty() || escaped.contains(['{', '}']) {
            return None;
        }
        Some(
            escaped
                .replace("%7B", "{")
                .replace("%7D", "}")
                .replace("%25", "%")
                .into(),
        )
    }
}

/// Makes `bytes` match itself in a Redis glob.
pub(super) fn glob_escape(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len() + 4);
    for &byte in bytes {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// A session's head, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadField {
    pub token: Token,
    pub version: u64,
    /// Id of the last commit.
    pub commit: u64,
    pub updated_at: u64,
}

impl HeadField {
    /// `None` if this is not what the scripts write.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(6, ':');
        let head = Self {
            token: parts.next()?.parse().ok()?,
            version: parts.next()?.parse().ok()?,
            commit: u64::from_str_radix(parts.next()?, 16).ok()?,
            updated_at: parts.nth(1)?.parse().ok()?,
        };
        parts.next()?;
        Some(head)
    }

    /// Where the session stands.
    pub fn head(&self) -> Head {
        if self.version == 0 {
            return Head::default();
        }
        Head {
            version: self.version,
            updated_at: self.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_session_has_its_own_hash_tag(session in "[{}%7BD25a:*é ]{1,12}") {
            let keys = Keys::new("bv");
            let key = keys.hash(&session);
            let tag = key.split_once('{').unwrap().1;
            prop_assert_eq!(tag.find('}').unwrap(), tag.len() - 1);
            prop_assert_eq!(&*keys.session(key.as_bytes()).unwrap(), session.as_str());
            prop_assert_eq!(keys.session(keys.lease(&session).as_bytes()), None);
        }
    }

    #[test]
    fn a_head_is_parsed() {
        let head = HeadField::parse(b"1763740800000000:42:00000000000000ff:t:1763740800123:").unwrap();
        assert_eq!(
            head,
            HeadField {
                token: 1_763_740_800_000_000,
                version: 42,
                commit: 255,
                updated_at: 1_763_740_800_123
            }
        );
        for bad in ["", "1:2", "x:2:3:t:4:", "1:2:3:t:4"] {
            assert_eq!(HeadField::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
