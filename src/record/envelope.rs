//! The layout of a stored record: reading and writing the parts, without opening them.
//!
//! ```text
//! sealed   0xB1 | flags | key id (8) | nonce (24 or 12) | ciphertext | tag (16)
//! plain    0xB1 | flags | CRC-32 (4, little-endian)     | body
//! flags    low four bits: compression; high four bits: algorithm
//! ```

use super::RecordKey;
use super::compress::Compression;
use super::keyring::KeyId;

/// First byte of every envelope; a future layout takes another. No JSON, text or protobuf message that another
/// store may have left behind begins with it.
const FORMAT: u8 = 0xb1;
/// Format and flags.
const PREFIX: usize = 2;
const CHECKSUM: usize = 4;
/// Bytes of both algorithms' tags.
pub(super) const TAG: usize = 16;
/// The longer of both algorithms' nonces.
pub(super) const MAX_NONCE: usize = 24;

/// How records are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// XSalsa20-Poly1305, `NaCl`'s secretbox.
    SecretBox,
    /// AES-256 in Galois/Counter Mode.
    Aes256Gcm,
}

impl Algorithm {
    /// Number of algorithms, for tables with a place for each.
    pub(super) const COUNT: usize = 2;

    /// The algorithm's number in the flags, from 1; 0 is an unsealed record.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::SecretBox => 1,
            Self::Aes256Gcm => 2,
        }
    }

    pub(super) const fn nonce_len(self) -> usize {
        match self {
            Self::SecretBox => 24,
            Self::Aes256Gcm => 12,
        }
    }
}

/// What stands before the nonce of a sealed record: everything that says how to open it.
pub(super) type Header = [u8; PREFIX + KeyId::LEN];

/// An envelope taken apart.
pub(super) struct Envelope<'a> {
    pub compression: Option<Compression>,
    pub content: Content<'a>,
}

/// What an envelope holds.
pub(super) enum Content<'a> {
    Plain {
        checksum: u32,
        body: &'a [u8],
    },
    Sealed {
        algorithm: Algorithm,
        key: KeyId,
        header: &'a Header,
        nonce: &'a [u8],
        ciphertext: &'a [u8],
        tag: &'a [u8; TAG],
    },
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart; the error says why they are no envelope.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (&[format, flags], rest) = bytes.split_first_chunk::<PREFIX>().ok_or("too short")?;
        if format != FORMAT {
            return Err("unknown format");
        }
        let compression = match flags & 0x0f {
            0 => None,
            1 => Some(Compression::Snappy),
            2 => Some(Compression::Gzip),
            _ => return Err("unknown compression"),
        };
        let content = match flags >> 4 {
            0 => {
                let (checksum, body) = rest.split_first_chunk::<CHECKSUM>().ok_or("too short")?;
                Content::Plain {
                    checksum: u32::from_le_bytes(*checksum),
                    body,
                }
            }
            1 => Self::sealed(Algorithm::SecretBox, bytes)?,
            2 => Self::sealed(Algorithm::Aes256Gcm, bytes)?,
            _ => return Err("unknown algorithm"),
        };
        Ok(Self { compression, content })
    }

    fn sealed(algorithm: Algorithm, bytes: &'a [u8]) -> Result<Content<'a>, &'static str> {
        let too_short = "too short";
        let (header, rest) = bytes.split_first_chunk().ok_or(too_short)?;
        let (nonce, rest) = rest.split_at_checked(algorithm.nonce_len()).ok_or(too_short)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(too_short)?;
        let mut key = [0; KeyId::LEN];
        key.copy_from_slice(&header[PREFIX..]);
        Ok(Content::Sealed {
            algorithm,
            key: KeyId::from_bytes(key),
            header,
            nonce,
            ciphertext,
            tag,
        })
    }
}

/// The header of a record sealed under the master key `key`.
pub(super) fn sealed_header(compression: Option<Compression>, algorithm: Algorithm, key: KeyId) -> Header {
    let mut header = [0; PREFIX + KeyId::LEN];
    header[..PREFIX].copy_from_slice(&prefix(compression, Some(algorithm)));
    header[PREFIX..].copy_from_slice(key.as_bytes());
    header
}

/// The whole envelope of an unsealed record.
pub(super) fn plain(
    compression: Option<Compression>,
    session: &str,
    key: &RecordKey,
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + CHECKSUM + body.len());
    out.extend_from_slice(&prefix(compression, None));
    out.extend_from_slice(&checksum(compression, session, key, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// CRC-32 of all that an unsealed record is and of where it belongs. It finds accidents, which is all that can be
/// done without a key: each flipped bit and each damaged run of up to 32 bits for certain, anything else but for
/// one in 2^32.
pub(super) fn checksum(compression: Option<Compression>, session: &str, key: &RecordKey, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&prefix(compression, None));
    // The lengths keep "ab" + "c" apart from "a" + "bc".
    for part in [session.as_bytes(), key.as_bytes()] {
        crc.update(&(part.len() as u64).to_le_bytes());
        crc.update(part);
    }
    crc.update(body);
    crc.finalize()
}

fn prefix(compression: Option<Compression>, algorithm: Option<Algorithm>) -> [u8; PREFIX] {
    let compression = match compression {
        None => 0,
        Some(Compression::Snappy) => 1,
        Some(Compression::Gzip) => 2,
    };
    [FORMAT, algorithm.map_or(0, Algorithm::code) << 4 | compression]
}
