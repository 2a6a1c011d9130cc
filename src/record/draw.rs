//! Random numbers for what is stored.

use crate::error::{Error, Kind, Result};

/// Random bytes for one commit, drawn from the operating system in one call. To be drawn when what is to be sealed is
/// known, and never kept for another commit: if the machine is copied while it runs, both copies can only use the same
/// bytes for the same commit, of which they then write the same ciphertext.
pub struct Draw {
    bytes: Vec<u8>,
    used: usize,
}

impl Draw {
    /// So many bytes.
    pub(super) fn of(count: usize) -> Result<Self> {
        let mut bytes = vec![0; count];
        getrandom::fill(&mut bytes).map_err(|cause| {
            let text = "the operating system gives no random numbers";
            Error::new(Kind::Internal, "record", text).because(&cause)
        })?;
        Ok(Self { bytes, used: 0 })
    }

    /// A number for the commit itself.
    pub fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        self.take(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn take(&mut self, out: &mut [u8]) -> Result<()> {
        let rest = self.bytes.get(self.used..self.used + out.len());
        let text = "fewer random numbers were drawn than are needed";
        out.copy_from_slice(rest.ok_or_else(|| Error::new(Kind::Internal, "record", text))?);
        self.used += out.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let mut draw = Draw::of(24).unwrap();
        let numbers = [(); 3].map(|()| draw.number().unwrap());
        assert_ne!(numbers[0], numbers[1]);
        assert_ne!(numbers[1], numbers[2]);
        assert_eq!(draw.number().unwrap_err().kind(), Kind::Internal);
        assert_ne!(Draw::of(8).unwrap().number().unwrap(), numbers[0]);
    }
}
