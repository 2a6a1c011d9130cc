/// The most that bytes may grow to: a session of another library may be one value.
const MOST: usize = 512 << 20;

/// What was packed in Snappy's raw format; `None` if these bytes are not that.
pub fn unpack_snappy(packed: &[u8]) -> Option<Vec<u8>> {
    snap::raw::decompress_len(packed)
        .is_ok_and(|length| length <= MOST)
        .then(|| snap::raw::Decoder::new().decompress_vec(packed).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_packed_or_claims_too_much_is_refused() {
        let text = b"the same, the same, the same, the same".as_slice();
        let packed = snap::raw::Encoder::new().compress_vec(text).unwrap();
        assert_eq!(unpack_snappy(&packed).as_deref(), Some(text));
        assert_eq!(unpack_snappy(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack_snappy(b"{\"creds\":{}}"), None);
        assert_eq!(unpack_snappy(b""), None);
        // 4 GiB less one.
        assert_eq!(unpack_snappy(b"\xff\xff\xff\xff\x0f\x00a"), None);
    }
}
