//! Sealing and opening a session's records.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::RecordKey;
use super::cipher::SessionKey;
use super::compress::{Compression, Unpackable, compress, decompress};
use super::draw::Draw;
use super::envelope::{self, Algorithm, Content, Envelope, MAX_NONCE};
use super::keyring::{KeyId, KeyRing, MasterKey};
use crate::error::{Error, Kind, Result};

/// How records are written, and which are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealOptions {
    /// How new records are sealed; `None` stores them unsealed.
    pub encryption: Option<Algorithm>,
    /// How new records are compressed, where that makes them smaller.
    pub compression: Option<Compression>,
    /// Whether unsealed records are opened while `encryption` is on. Whoever can write to the storage can plant such
    /// records, so this is for moving existing data to encryption, and to be switched off once all is re-sealed.
    pub accept_plain: bool,
}

/// Seals and opens the records of one session. Its keys are derived when first needed, and wiped when it is dropped.
pub struct Sealer {
    ring: Arc<KeyRing>,
    options: SealOptions,
    session: Arc<str>,
    /// For each key of the ring, this session's key for each algorithm.
    derived: Box<[[OnceLock<SessionKey>; Algorithm::COUNT]]>,
}

impl Sealer {
    /// The sealer of `session`. Encryption without an active key is [`Kind::Config`].
    pub fn new(ring: Arc<KeyRing>, options: SealOptions, session: &Arc<str>) -> Result<Self> {
        if options.encryption.is_some() && ring.active().is_none() {
            let message = "encryption needs a masterKey";
            return Err(Error::new(Kind::Config, "config", message).with("field", "masterKey"));
        }
        let derived = (0..ring.len()).map(|_| Default::default()).collect();
        Ok(Self {
            ring,
            options,
            session: session.clone(),
            derived,
        })
    }

    /// Random numbers for a commit that puts so many records, and for one [`Draw::number`].
    pub fn draw(&self, records: usize) -> Result<Draw> {
        let nonce = self.options.encryption.map_or(0, Algorithm::nonce_len);
        Draw::of(size_of::<u64>() + records * nonce)
    }

    /// The bytes to store for record `key`, with the next random numbers of `draw`.
    pub fn seal_with(&self, draw: &mut Draw, key: &RecordKey, plain: &[u8]) -> Result<Bytes> {
        let mut nonce = [0; MAX_NONCE];
        if let Some(algorithm) = self.options.encryption {
            draw.take(&mut nonce[..algorithm.nonce_len()])?;
        }
        self.seal_under(key, plain, &nonce)
    }

    /// [`Sealer::seal_with`] for a record by itself. Calling it twice gives different bytes when encryption is on.
    pub fn seal(&self, key: &RecordKey, plain: &[u8]) -> Result<Bytes> {
        self.seal_with(&mut self.draw(1)?, key, plain)
    }

    /// What was sealed as record `key` of this session.
    ///
    /// [`Kind::Encryption`]: sealed under a key that the ring lacks, altered, belonging to another record or session,
    /// or not sealed at all while encryption is on. [`Kind::Corrupt`]: no envelope, an unsealed record that was
    /// damaged or belongs elsewhere, or one that would grow beyond what is ever packed into so few bytes. [`Kind::Compression`]: opened, but does not decompress. The error names the
    /// record and, if there is one, the key: details `recordType`, `recordId` and `keyId`.
    pub fn open(&self, key: &RecordKey, sealed: &[u8]) -> Result<Bytes> {
        let envelope = Envelope::parse(sealed).map_err(|reason| {
            self.error(
                Kind::Corrupt,
                key,
                None,
                &format!("is not a stored record: {reason}"),
            )
        })?;
        match envelope.content {
            Content::Plain { checksum, body } => {
                if self.options.encryption.is_some() && !self.options.accept_plain {
                    let problem = "is not sealed, which is not accepted while encryption is on";
                    return Err(self.error(Kind::Encryption, key, None, problem));
                }
                if envelope::checksum(envelope.compression, &self.session, key, body) != checksum {
                    let problem = "was damaged or belongs elsewhere: its checksum is wrong";
                    return Err(self.error(Kind::Corrupt, key, None, problem));
                }
                match envelope.compression {
                    None => Ok(Bytes::copy_from_slice(body)),
                    Some(method) => self.unpack(key, None, method, body),
                }
            }
            Content::Sealed {
                algorithm,
                key: id,
                header,
                nonce,
                ciphertext,
                tag,
            } => {
                let (body, start) = self
                    .session_key(key, id, algorithm)?
                    .open(header, nonce, key, ciphertext, tag)
                    .ok_or_else(|| {
                        let problem =
                            format!("does not open under key {id}: it was altered or belongs elsewhere");
                        self.error(Kind::Encryption, key, Some(id), &problem)
                    })?;
                match envelope.compression {
                    None => Ok(Bytes::from(body).slice(start..)),
                    Some(method) => self.unpack(key, Some(id), method, &Zeroizing::new(body)[start..]),
                }
            }
        }
    }

    /// The key that sealed these bytes; `None` if none did, or they are no envelope.
    pub fn key_of(sealed: &[u8]) -> Option<KeyId> {
        match Envelope::parse(sealed).ok()?.content {
            Content::Plain { .. } => None,
            Content::Sealed { key, .. } => Some(key),
        }
    }

    /// Whether stored bytes are sealed otherwise than new records are: under another key or algorithm, or sealed
    /// where new ones are not, or the reverse. True too of what is no envelope, so that whoever re-seals a session
    /// meets the error instead of passing over it.
    pub fn needs_reseal(&self, sealed: &[u8]) -> bool {
        let found = match Envelope::parse(sealed).map(|envelope| envelope.content) {
            Ok(Content::Plain { .. }) => None,
            Ok(Content::Sealed { algorithm, key, .. }) => Some((algorithm, key)),
            Err(_) => return true,
        };
        let wanted = self.options.encryption.zip(self.ring.active().map(MasterKey::id));
        found != wanted
    }

    fn seal_under(&self, key: &RecordKey, plain: &[u8], nonce: &[u8; MAX_NONCE]) -> Result<Bytes> {
        let packed = match self.options.compression {
            None => None,
            Some(method) => compress(method, plain)
                .map_err(|reason| {
                    self.error(
                        Kind::Compression,
                        key,
                        None,
                        &format!("cannot be compressed: {reason}"),
                    )
                })?
                .map(|packed| (method, packed)),
        };
        let (compression, body) = match &packed {
            None => (None, plain),
            Some((method, packed)) => (Some(*method), packed.as_slice()),
        };
        let Some((algorithm, active)) = self.options.encryption.zip(self.ring.active()) else {
            return Ok(envelope::plain(compression, &self.session, key, body).into());
        };
        let id = active.id();
        let header = envelope::sealed_header(compression, algorithm, id);
        match self
            .session_key(key, id, algorithm)?
            .seal(&header, nonce, key, body)
        {
            Some(sealed) => Ok(sealed.into()),
            None => Err(self.error(Kind::InvalidValue, key, Some(id), "is too long to be sealed")),
        }
    }

    fn unpack(
        &self,
        key: &RecordKey,
        id: Option<KeyId>,
        method: Compression,
        packed: &[u8],
    ) -> Result<Bytes> {
        decompress(method, packed).map(Bytes::from).map_err(|reason| {
            let kind = match reason {
                Unpackable::TooLong => Kind::Corrupt,
                Unpackable::Malformed(_) => Kind::Compression,
            };
            self.error(kind, key, id, &format!("does not decompress: {reason}"))
        })
    }

    fn session_key(&self, key: &RecordKey, id: KeyId, algorithm: Algorithm) -> Result<&SessionKey> {
        let Some((at, master)) = self.ring.find(id) else {
            let why = if self.ring.is_empty() {
                "no master key was given"
            } else {
                "which is none of the master keys given"
            };
            let problem = format!("is sealed with key {id}, {why}");
            return Err(self.error(Kind::Encryption, key, Some(id), &problem));
        };
        Ok(self.derived[at][usize::from(algorithm.code()) - 1]
            .get_or_init(|| SessionKey::derive(master, algorithm, &self.session)))
    }

    fn error(&self, kind: Kind, key: &RecordKey, id: Option<KeyId>, problem: &str) -> Error {
        let error = Error::new(kind, "record", format!("record {key} {problem}"))
            .with("recordType", key.kind())
            .with("recordId", key.id())
            .in_session(&self.session);
        match id {
            Some(id) => error.with("keyId", id.to_string()),
            None => error,
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("session", &self.session)
            .field("options", &self.options)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
