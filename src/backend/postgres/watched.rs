//! Leases that are watched.
//!
//! Each renewal changes what is stored of a lease. One that stands there unchanged for as long as it was to last, by
//! this process' own clock that nobody sets, has not been renewed, whatever the server's clock says of its end: after a
//! failover from a server whose clock was ahead, that may be hours away.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::time::Moment;

/// Of so many leases at most it is remembered since when they have stood there.
const REMEMBERED: usize = 10_000;

/// Since when leases have stood there as they do.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<Vec<u8>, (i64, Moment)>>);

impl Watched {
    /// Whether the lease `name`, which was in `state` when it was asked for at `asked`, has run out by this.
    pub fn has_outlived(&self, name: &[u8], state: i64, lasts: i64, asked: Moment) -> bool {
        let lasts = Duration::from_millis(u64::try_from(lasts).unwrap_or(0));
        let mut watched = self.0.lock();
        match watched.get(name) {
            Some((before, since)) if *before == state => {
                since.checked_add(lasts).is_some_and(|until| asked >= until)
            }
            _ => {
                if watched.len() >= REMEMBERED {
                    watched.clear();
                }
                watched.insert(name.to_vec(), (state, Moment::now()));
                false
            }
        }
    }

    pub fn forget(&self, name: &[u8]) {
        self.0.lock().remove(name);
    }
}
