//! Master keys, and the ring of them that a store holds.
//!
//! A master key never encrypts anything itself: every key in use is derived from it by HKDF-SHA256 with an `info`
//! that begins with a label of its own, so that no two uses share a key.

use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};

/// HKDF salt; part of the stored format.
const SALT: &[u8] = b"baileys-vault envelope 1";
/// HKDF `info` of a key id; part of the stored format.
const ID_LABEL: &[u8] = b"key id";
/// HKDF `info` of a key's share in [`KeyRing::fingerprint`]; lives no longer than a process.
const FINGERPRINT_LABEL: &[u8] = b"fingerprint";

/// Names a master key in the records sealed under it. Derived from the key, yet says nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Bytes of a key id.
    pub const LEN: usize = 8;

    /// The id that these bytes of an envelope spell.
    pub(super) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The id as it stands in an envelope.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A master key: 32 secret bytes, wiped from memory when dropped.
pub struct MasterKey {
    id: KeyId,
    // Boxed, so that moving the key around leaves no copies behind on the stack.
    secret: Box<Zeroizing<[u8; MasterKey::LEN]>>,
}

impl MasterKey {
    /// Bytes of a master key.
    pub const LEN: usize = 32;

    /// The key written as 64 hexadecimal digits. Anything else is [`Kind::Config`], naming `field`, the option that
    /// it came from; nothing is hashed or padded into a key, and the error does not repeat what was given.
    pub fn from_hex(field: &str, text: &str) -> Result<Self> {
        let mut secret = Box::new(Zeroizing::new([0; Self::LEN]));
        // The error of `hex` quotes the character it stumbled over.
        hex::decode_to_slice(text, secret.as_mut_slice()).map_err(|_| Self::refused(field))?;
        Ok(Self::of(secret))
    }

    /// The key as 32 raw bytes; the rest as for [`MasterKey::from_hex`].
    pub fn from_bytes(field: &str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() != Self::LEN {
            return Err(Self::refused(field));
        }
        let mut secret = Box::new(Zeroizing::new([0; Self::LEN]));
        secret.copy_from_slice(bytes);
        Ok(Self::of(secret))
    }

    /// The name of this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Fills `out` (at most 8,160 bytes) with key material for the use that `info` names; its parts are joined.
    pub(super) fn derive(&self, info: &[&[u8]], out: &mut [u8]) {
        expand(&self.secret, info, out);
    }

    fn of(secret: Box<Zeroizing<[u8; Self::LEN]>>) -> Self {
        let mut id = [0; KeyId::LEN];
        expand(&secret, &[ID_LABEL], &mut id);
        Self {
            id: KeyId(id),
            secret,
        }
    }

    fn refused(field: &str) -> Error {
        let expected = "64 hexadecimal digits or 32 bytes";
        Error::new(
            Kind::Config,
            "config",
            format!("{field} must be {expected}, from a secure random source"),
        )
        .with("field", field)
        .with("expected", expected)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

fn expand(secret: &[u8; MasterKey::LEN], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(SALT), secret)
        .expand_multi_info(info, out)
        .expect("HKDF-SHA256 gives up to 255 blocks of 32 bytes");
}

/// The master keys of a store: new records are sealed under the active one, stored ones are opened with whichever
/// their key id names.
pub struct KeyRing {
    /// The active key first, if there is one.
    keys: Vec<MasterKey>,
    has_active: bool,
}

impl KeyRing {
    /// A ring of keys. A key given twice counts once.
    pub fn new(active: Option<MasterKey>, previous: Vec<MasterKey>) -> Self {
        let has_active = active.is_some();
        let mut keys: Vec<MasterKey> = Vec::with_capacity(previous.len() + 1);
        for key in active.into_iter().chain(previous) {
            if keys.iter().all(|known| known.id != key.id) {
                keys.push(key);
            }
        }
        Self { keys, has_active }
    }

    /// The key that new records are sealed under.
    pub fn active(&self) -> Option<&MasterKey> {
        self.keys.first().filter(|_| self.has_active)
    }

    /// The key of this id.
    pub fn get(&self, id: KeyId) -> Option<&MasterKey> {
        self.find(id).map(|(_, key)| key)
    }

    /// Whether the ring holds no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Equal for two rings that hold the same keys and have the same one active, in whatever order the others were
    /// given. Says nothing about the keys; not for storing.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut shares: Vec<[u8; 32]> = self
            .keys
            .iter()
            .map(|key| {
                let mut share = [0; 32];
                key.derive(&[FINGERPRINT_LABEL], &mut share);
                share
            })
            .collect();
        shares[usize::from(self.has_active)..].sort_unstable();
        let mut hash = Sha256::new().chain_update([u8::from(self.has_active)]);
        for share in shares {
            hash.update(share);
        }
        hash.finalize().into()
    }

    /// The key of this id, and where it stands in the ring, for tables kept beside it.
    pub(super) fn find(&self, id: KeyId) -> Option<(usize, &MasterKey)> {
        self.keys.iter().enumerate().find(|(_, key)| key.id == id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("active", &self.active())
            .field("previous", &&self.keys[usize::from(self.has_active)..])
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes("masterKey", &[byte; 32]).unwrap()
    }

    #[test]
    fn hex_and_bytes_are_the_same_key() {
        let bytes: Vec<u8> = (0..32).map(|n| n * 7 + 11).collect();
        let id = MasterKey::from_bytes("masterKey", &bytes).unwrap().id();
        let lower = hex::encode(&bytes);
        assert_eq!(MasterKey::from_hex("masterKey", &lower).unwrap().id(), id);
        assert_eq!(
            MasterKey::from_hex("masterKey", &lower.to_uppercase())
                .unwrap()
                .id(),
            id
        );
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        let secret = "hunter2-hunter2-hunter2";
        let texts = [
            String::new(),
            secret.to_owned(),
            "a".repeat(63),
            "a".repeat(65),
            format!("{}g", "a".repeat(63)),
            format!("0x{}", "a".repeat(62)),
            format!("{} ", "a".repeat(63)),
            "é".repeat(32),
        ];
        for text in &texts {
            let error = MasterKey::from_hex("masterKey", text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(error.detail("field").unwrap(), "masterKey");
            let shown = format!("{error} {error:?} {:?}", error.details());
            assert!(shown.contains("masterKey") && shown.contains("64 hex"), "{shown}");
            assert!(
                text.is_empty() || !shown.contains(text.as_str()),
                "{shown} repeats {text}"
            );
        }
        for length in [0, 16, 31, 33, 64] {
            let error = MasterKey::from_bytes("previousKeys[1]", &vec![7; length]).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(error.detail("field").unwrap(), "previousKeys[1]");
        }
    }

    #[test]
    fn keys_are_found_by_id() {
        let ring = KeyRing::new(Some(key(1)), vec![key(2), key(1), key(2)]);
        assert_eq!(ring.len(), 2);
        assert_eq!(ring.active().unwrap().id(), key(1).id());
        assert_eq!(ring.get(key(2).id()).unwrap().id(), key(2).id());
        assert!(ring.get(key(3).id()).is_none());
        let only_previous = KeyRing::new(None, vec![key(1)]);
        assert!(only_previous.active().is_none() && !only_previous.is_empty());
        assert!(KeyRing::new(None, vec![]).is_empty());
    }

    #[test]
    fn fingerprints_tell_rings_apart() {
        let ring = |active: Option<u8>, previous: &[u8]| {
            KeyRing::new(active.map(key), previous.iter().copied().map(key).collect()).fingerprint()
        };
        assert_eq!(ring(Some(1), &[2, 3]), ring(Some(1), &[3, 2, 1]));
        let different = [
            ring(Some(1), &[2, 3]),
            ring(Some(2), &[1, 3]),
            ring(Some(1), &[2]),
            ring(Some(1), &[]),
            ring(None, &[1]),
            ring(None, &[]),
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[at + 1..].contains(one), "{at}");
        }
    }

    #[test]
    fn nothing_printed_holds_a_key() {
        let secret = [0xa7; 32];
        let key = MasterKey::from_bytes("masterKey", &secret).unwrap();
        let shown = format!("{key:?} {} {:?}", key.id(), key.id());
        let ring = format!("{:?}", KeyRing::new(Some(key), vec![]));
        for text in [shown, ring] {
            assert!(!text.contains("a7a7") && !text.contains("167, 167"), "{text}");
        }
    }
}
