//! Compression of a record's bytes before they are sealed.

use std::borrow::Cow;
use std::fmt;
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

/// The most that a record may grow when it is decompressed. Gzip could grow a thousandfold, so that some kilobytes,
/// which whoever can write to the storage can plant, would take all memory. What compresses better is stored as it is.
const MAX_RATIO: usize = 64;

/// Why bytes could not be compressed or decompressed.
pub(super) type Reason = Cow<'static, str>;

/// What is wrong with compressed bytes.
#[derive(Debug)]
pub(super) enum Unpackable {
    /// They spell more than [`compress`] ever packs into so few.
    TooLong,
    /// They are not what they are said to be.
    Malformed(Reason),
}

impl fmt::Display for Unpackable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                let most = MAX_DECOMPRESSED >> 20;
                write!(
                    f,
                    "it would grow to more than {most} MiB or {MAX_RATIO} times its size"
                )
            }
            Self::Malformed(reason) => f.write_str(reason),
        }
    }
}

/// The most that so many bytes may decompress to.
fn most(packed: usize) -> usize {
    packed.saturating_mul(MAX_RATIO).min(MAX_DECOMPRESSED)
}

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
    Ok((packed.len() < plain.len() && plain.len() <= most(packed.len())).then_some(packed))
}

/// What [`compress`] was given. Never takes more than [`MAX_DECOMPRESSED`] or [`MAX_RATIO`] allow, whatever `packed`
/// claims.
pub(super) fn decompress(method: Compression, packed: &[u8]) -> Result<Vec<u8>, Unpackable> {
    let most = most(packed.len());
    match method {
        Compression::Snappy => {
            if snap::raw::decompress_len(packed).map_err(malformed)? > most {
                return Err(Unpackable::TooLong);
            }
            snap::raw::Decoder::new()
                .decompress_vec(packed)
                .map_err(malformed)
        }
        Compression::Gzip => {
            // Ends with its length; one that claims less than there is stops at the limit below.
            let claimed = packed.last_chunk().map_or(0, |end| u32::from_le_bytes(*end));
            if usize::try_from(claimed).is_ok_and(|claimed| claimed > most) {
                return Err(Unpackable::TooLong);
            }
            let mut decoder = GzDecoder::new(packed);
            let mut plain = Vec::new();
            // One byte more than allowed tells "just fits" from "too long".
            (&mut decoder)
                .take(most as u64 + 1)
                .read_to_end(&mut plain)
                .map_err(malformed)?;
            if plain.len() > most {
                return Err(Unpackable::TooLong);
            }
            if !decoder.into_inner().is_empty() {
                return Err(Unpackable::Malformed("bytes follow the compressed data".into()));
            }
            Ok(plain)
        }
    }
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn text(error: impl std::error::Error) -> Reason {
    error.to_string().into()
}

#[allow(clippy::needless_pass_by_value)]
fn malformed(error: impl std::error::Error) -> Unpackable {
    Unpackable::Malformed(text(error))
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
        let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8;
        let mut plain: Vec<u8> = (0..u32::try_from(MAX_DECOMPRESSED).unwrap())
            .map(|at| if at % 16 == 0 { noise(at) } else { 0 })
            .collect();
        for method in BOTH {
            let packed = compress(method, &plain).unwrap().unwrap();
            assert!(decompress(method, &packed).unwrap() == plain);
        }
        plain.push(0);
        for method in BOTH {
            assert!(compress(method, &plain).unwrap().is_none());
        }
    }

    #[test]
    fn what_would_grow_beyond_measure_stays_as_it_is() {
        // Snappy never grows more than 22-fold.
        let zeros = vec![0; 1 << 20];
        let packed = compress(Compression::Snappy, &zeros).unwrap().unwrap();
        assert_eq!(decompress(Compression::Snappy, &packed).unwrap(), zeros);
        assert!(compress(Compression::Gzip, &zeros).unwrap().is_none());
    }

    #[test]
    fn bombs_are_errors() {
        let too_long = |method, bytes: &[u8]| matches!(decompress(method, bytes), Err(Unpackable::TooLong));
        for size in [100_000, MAX_DECOMPRESSED, MAX_DECOMPRESSED + 1] {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; size]).unwrap();
            let mut bomb = encoder.finish().unwrap();
            assert!(bomb.len() < 100_000);
            assert!(too_long(Compression::Gzip, &bomb), "{size}");
            // One that claims to be short.
            let end = bomb.len() - 4;
            bomb[end..].copy_from_slice(&[1, 0, 0, 0]);
            assert!(too_long(Compression::Gzip, &bomb), "{size}");
        }
        // Snappy says how long it gets: 4 GiB less a byte, in five bytes.
        assert!(too_long(Compression::Snappy, b"\xff\xff\xff\xff\x0f"));
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
