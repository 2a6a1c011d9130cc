//! The keys that seal one session's records, and their use.
//!
//! Each session has its own keys, so a record does not open in another session. Within a session, a record is bound
//! to its `(type, id)` and to its header: AES-256-GCM takes both as associated data. Secretbox has no associated
//! data, so there the sealed bytes begin with a digest of both; whoever cannot forge a tag cannot change the digest.
//! The digest is keyed, so that nobody without the master key can look for two names that share one.

use aes_gcm::Aes256Gcm;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::RecordKey;
use super::envelope::{Algorithm, Header, MAX_NONCE, TAG};
use super::keyring::MasterKey;

/// HKDF `info` of a session's keys, followed by the algorithm's number and the session id; part of the stored format.
const LABEL: &[u8] = b"session";
const KEY: usize = 32;
/// Bytes of the digest that binds a record sealed by secretbox to its place.
const BINDING: usize = 16;

/// A session's key for one algorithm, derived from one master key. Wiped from memory when dropped.
pub(super) enum SessionKey {
    SecretBox {
        cipher: XSalsa20Poly1305,
        binding: Zeroizing<[u8; KEY]>,
    },
    // Boxed: its expanded key takes a kilobyte.
    Aes256Gcm(Box<Aes256Gcm>),
}

impl SessionKey {
    pub fn derive(master: &MasterKey, algorithm: Algorithm, session: &str) -> Self {
        let mut material = Zeroizing::new([0; 2 * KEY]);
        let info = [LABEL, &[algorithm.code()], session.as_bytes()];
        master.derive(&info, material.as_mut_slice());
        let (key, rest) = material.split_at(KEY);
        match algorithm {
            Algorithm::SecretBox => {
                let mut binding = Zeroizing::new([0; KEY]);
                binding.copy_from_slice(rest);
                Self::SecretBox {
                    cipher: XSalsa20Poly1305::new(key.into()),
                    binding,
                }
            }
            Algorithm::Aes256Gcm => Self::Aes256Gcm(Box::new(Aes256Gcm::new(key.into()))),
        }
    }

    /// The sealed envelope of `body`. `nonce` may be longer than the algorithm's; its front is used. `None` if `body`
    /// is longer than the algorithm can seal.
    pub fn seal(
        &self,
        header: &Header,
        nonce: &[u8; MAX_NONCE],
        key: &RecordKey,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let nonce = &nonce[..self.algorithm().nonce_len()];
        let mut out = Vec::with_capacity(header.len() + nonce.len() + BINDING + body.len() + TAG);
        out.extend_from_slice(header);
        out.extend_from_slice(nonce);
        let start = out.len();
        let tag = match self {
            Self::SecretBox { cipher, binding } => {
                out.extend_from_slice(&digest(binding, header, key));
                out.extend_from_slice(body);
                cipher.encrypt_in_place_detached(nonce.into(), b"", &mut out[start..])
            }
            Self::Aes256Gcm(cipher) => {
                out.extend_from_slice(body);
                cipher.encrypt_in_place_detached(nonce.into(), &associated(header, key), &mut out[start..])
            }
        };
        out.extend_from_slice(&tag.ok()?);
        Some(out)
    }

    /// The body and where in the answer it begins; `None` if these bytes were not sealed by this key for this place.
    pub fn open(
        &self,
        header: &Header,
        nonce: &[u8],
        key: &RecordKey,
        ciphertext: &[u8],
        tag: &[u8; TAG],
    ) -> Option<(Vec<u8>, usize)> {
        let mut body = ciphertext.to_vec();
        match self {
            Self::SecretBox { cipher, binding } => {
                cipher
                    .decrypt_in_place_detached(nonce.into(), b"", &mut body, tag.into())
                    .ok()?;
                let expected = digest(binding, header, key);
                let bound = body
                    .first_chunk::<BINDING>()
                    .is_some_and(|found| found.ct_eq(&expected).into());
                if bound {
                    Some((body, BINDING))
                } else {
                    body.zeroize();
                    None
                }
            }
            Self::Aes256Gcm(cipher) => {
                cipher
                    .decrypt_in_place_detached(nonce.into(), &associated(header, key), &mut body, tag.into())
                    .ok()?;
                Some((body, 0))
            }
        }
    }

    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::SecretBox { .. } => Algorithm::SecretBox,
            Self::Aes256Gcm(_) => Algorithm::Aes256Gcm,
        }
    }
}

fn digest(binding: &[u8; KEY], header: &Header, key: &RecordKey) -> [u8; BINDING] {
    // All but the last part are of fixed length, so no two places are hashed as the same bytes.
    let whole: [u8; 32] = Sha256::new()
        .chain_update(binding)
        .chain_update(header)
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    let mut front = [0; BINDING];
    front.copy_from_slice(&whole[..BINDING]);
    front
}

fn associated(header: &Header, key: &RecordKey) -> Vec<u8> {
    [header, key.as_bytes()].concat()
}
