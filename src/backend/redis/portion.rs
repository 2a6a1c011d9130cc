//! How much is asked for at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many fields one read may ask for.
#[derive(Debug)]
pub(super) struct Portion(AtomicUsize);

impl Default for Portion {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl Portion {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// More than that the server does not give.
    pub fn shrink_to(&self, most: usize) {
        self.0.fetch_min(most, Ordering::Relaxed);
    }
}
