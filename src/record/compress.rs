//! Compression of a record's bytes before they are sealed.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use zeroize::Zeroizing;

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Snappy's raw format: fast, for large records of text.
    Snappy,
    /// Gzip: smaller, but compressing takes tens of microseconds for each record.
    Gzip,
}

/// The longest record that is compressed, and the most that one may decompress to. A longer one is stored as it is,
/// so whatever was sealed can be opened again.
pub const MAX_DECOMPRESSED: usize = 64 << 20;

/// Why bytes could not be compressed or decompressed.
pub(super) type Reason = Cow<'static, str>;

/// `plain` compressed, or `None` where that would not make it smaller. Wiped when dropped: it gives away `plain`.
pub(super) fn compress(method: Compression, plain: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Reason> {
    if plain.len() > MAX_DECOMPRESSED {
        return Ok(None);
    }
    let packed = match method {
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(plain).map_err(text)?,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len()), flate2::Compression::default());
            encoder.write_all(plain).map_err(text)?;
            encoder.finish().map_err(text)?
        }
    };
    let packed = Zeroizing::new(packed);
    Ok((packed.len() < plain.len()).then_some(packed))
}

/// What [`compress`] was given. Never takes more than [`MAX_DECOMPRESSED`] and a byte, whatever `packed` claims.
pub(super) fn decompress(method: Compression, packed: &[u8]) -> Result<Vec<u8>, Reason> {
    match method {
        Compression::Snappy => {
            let length = snap::raw::decompress_len(packed).map_err(text)?;
            if length > MAX_DECOMPRESSED {
                return Err(too_long());
            }
            snap::raw::Decoder::new().decompress_vec(packed).map_err(text)
        }
        Compression::Gzip => {
            let mut decoder = GzDecoder::new(packed);
            let mut plain = Vec::new();
            // One byte more than allowed tells "just fits" from "too long".
            (&mut decoder)
                .take(MAX_DECOMPRESSED as u64 + 1)
                .read_to_end(&mut plain)
                .map_err(text)?;
            if plain.len() > MAX_DECOMPRESSED {
                return Err(too_long());
            }
            if !decoder.into_inner().is_empty() {
                return Err("bytes follow the compressed data".into());
            }
            Ok(plain)
        }
    }
}

fn too_long() -> Reason {
    format!("decompresses to more than {} MiB", MAX_DECOMPRESSED >> 20).into()
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn text(error: impl std::error::Error) -> Reason {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Compression; 2] = [Compression::Snappy, Compression::Gzip];

    #[test]
    fn only_what_gets_smaller_is_kept() {
        let text = b"a session, a session, a session, a session, a session, a session".repeat(4);
        for method in BOTH {
            let packed = compress(method, &text).unwrap().unwrap();
            assert!(packed.len() < text.len());
            assert_eq!(decompress(method, &packed).unwrap(), text);
            assert!(compress(method, b"").unwrap().is_none());
            assert!(compress(method, b"short").unwrap().is_none());
        }
    }

    #[test]
    fn the_limit_itself_fits_and_longer_records_stay_as_they_are() {
        let mut zeros = vec![0; MAX_DECOMPRESSED];
        for method in BOTH {
            let packed = compress(method, &zeros).unwrap().unwrap();
            assert_eq!(decompress(method, &packed).unwrap().len(), MAX_DECOMPRESSED);
        }
        zeros.push(0);
        for method in BOTH {
            assert!(compress(method, &zeros).unwrap().is_none());
        }
    }

    #[test]
    fn bombs_are_errors() {
        let zeros = vec![0; MAX_DECOMPRESSED + 1];
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&zeros).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 100_000);
        assert!(
            decompress(Compression::Gzip, &bomb)
                .unwrap_err()
                .contains("64 MiB")
        );
        // Snappy says how long it gets: 4 GiB less a byte, in five bytes.
        let claim = b"\xff\xff\xff\xff\x0f";
        assert!(
            decompress(Compression::Snappy, claim)
                .unwrap_err()
                .contains("64 MiB")
        );
    }

    #[test]
    fn trailing_bytes_are_errors() {
        let text = vec![b'x'; 1_000];
        for method in BOTH {
            let mut packed = compress(method, &text).unwrap().unwrap().to_vec();
            packed.push(0);
            assert!(decompress(method, &packed).is_err(), "{method:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for method in BOTH {
                let _ = decompress(method, &bytes);
            }
        }
    }
}
