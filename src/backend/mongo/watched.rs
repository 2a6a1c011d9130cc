//! Leases that are watched.
//!
//! Each renewal changes what is stored of a lease. One that stands there unchanged for as long as it was to last, by
//! this process' own clock that nobody sets, has not been renewed, whatever a clock on a wall says of its end: after
//! a fail-over from a primary whose clock was ahead, that may be hours away.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;

use crate::time::Moment;

/// Of so many leases at most it is remembered since when they have stood there.
const REMEMBERED: usize = 10_000;

/// How long a lease lasts of which that is not written: the longest there may be.
const UNKNOWN: Duration = Duration::from_secs(3600);

/// Since when leases have stood there as they do.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<String, (Document, Moment)>>);

impl Watched {
    /// Whether the lease `name`, which reads `found` and was asked for at `asked`, has run out by this.
    pub fn has_outlived(&self, name: &str, found: Document, lasts: Option<i64>, asked: Moment) -> bool {
        let lasts = lasts
            .and_then(|millis| u64::try_from(millis).ok())
            .map_or(UNKNOWN, Duration::from_millis);
        let mut watched = self.0.lock();
        match watched.get(name) {
            Some((before, since)) if *before == found => {
                since.checked_add(lasts).is_some_and(|until| asked >= until)
            }
            _ => {
                if watched.len() >= REMEMBERED {
                    watched.clear();
                }
                watched.insert(name.to_owned(), (found, Moment::now()));
                false
            }
        }
    }

    pub fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

/// What of a session's document a renewal, or a new owner, changes.
pub(super) fn of_session(token: i64, until: Option<i64>, lease: Option<&str>) -> Document {
    doc! { "token": token, "until": until, "lease": lease }
}

/// What of a process' lease a renewal changes.
pub(super) fn of_process(lease: &Document) -> Document {
    let part = |field| lease.get(field).cloned().unwrap_or(mongodb::bson::Bson::Null);
    doc! { "until": part("until"), "renewals": part("renewals") }
}
