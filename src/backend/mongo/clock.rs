//! What time it is, for leases and times to live.
//!
//! All processes go by the clock of the primary that has the leases, asked by a write: a router answers `hello` by
//! itself, and each of those has a clock of its own. But one clock may be wrong: after a fail-over it is another one. So
//! there is a second reading, this machine's own clock, and each use takes the safer one: what is written lasts
//! until the later of them, and is over when the earlier of them says so. A lease or a session then ends too early
//! only if two clocks are wrong. What lasts too long for it is found out by watching ([`super::watched`]).

use std::sync::Arc;
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{DateTime, doc};
use parking_lot::Mutex;

use super::errors::{corrupt, from_driver, is_duplicate, timed_out, unacknowledged};
use crate::error::Result;
use crate::runtime;
use crate::time::{Moment, signed_millis, unix_millis};

/// How old an estimate of the server's clock may be before a new one is made …
const AGE: Duration = Duration::from_secs(30);
/// … in the background, and before it is waited for.
const AGE_LIMIT: Duration = Duration::from_secs(300);

/// Where that clock is read, among the leases.
const CLOCK: &str = "clock";

/// Two readings of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// What the primary's clock shows, wrong by no more than half a round trip.
    pub server: DateTime,
    /// The earlier reading: what is over by now is over.
    pub earliest: DateTime,
    /// The later reading: what is to last so long from now lasts so long.
    pub latest: DateTime,
}

impl Now {
    fn of(server: i64) -> Self {
        let own = i64::try_from(unix_millis()).unwrap_or(i64::MAX);
        Self {
            server: DateTime::from_millis(server),
            earliest: DateTime::from_millis(server.min(own)),
            latest: DateTime::from_millis(server.max(own)),
        }
    }

    /// When what begins now, and is to last so long, ends.
    pub fn plus(self, by: Duration) -> DateTime {
        after(self.latest, by)
    }
}

/// What is known of the server's clock.
pub(super) struct Clock {
    database: Database,
    leases: String,
    timeout: Duration,
    known: Mutex<Known>,
    /// Held by who asks and is waited for.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    estimate: Option<Estimate>,
    /// Whether it is being asked in the background.
    asked: bool,
}

/// What the server's clock showed, in ms, at which moment of ours.
type Estimate = (Moment, i64);

impl Clock {
    pub fn new(database: Database, leases: String, timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            database,
            leases,
            timeout,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    pub async fn now(self: &Arc<Self>) -> Result<Now> {
        if let Some(now) = self.known() {
            return Ok(now);
        }
        let _only_one = self.asking.lock().await;
        if let Some(now) = self.known() {
            return Ok(now);
        }
        let estimate = self.ask().await?;
        self.known.lock().estimate = Some(estimate);
        Ok(read(estimate))
    }

    /// Makes a new estimate: by a write that a majority has when this answers.
    pub async fn ask_anew(&self) -> Result<()> {
        let _only_one = self.asking.lock().await;
        let estimate = self.ask().await?;
        self.known.lock().estimate = Some(estimate);
        Ok(())
    }

    /// From an estimate that is young enough; one that is not quite so has a new one made.
    fn known(self: &Arc<Self>) -> Option<Now> {
        let mut known = self.known.lock();
        let estimate = known.estimate.filter(|(at, _)| at.elapsed() < AGE_LIMIT)?;
        if estimate.0.elapsed() >= AGE && !std::mem::replace(&mut known.asked, true) {
            let clock = self.clone();
            runtime::spawn(async move {
                // What fails is asked again by the next caller.
                let asked = clock.ask().await;
                let mut known = clock.known.lock();
                known.asked = false;
                if let Ok(estimate) = asked {
                    known.estimate = Some(estimate);
                }
            });
        }
        Some(read(estimate))
    }

    async fn ask(&self) -> Result<Estimate> {
        let asked = estimate(&self.database, &self.leases, self.timeout);
        tokio::time::timeout(self.timeout, asked)
            .await
            .map_err(|_| timed_out())?
    }
}

fn read((at, millis): Estimate) -> Now {
    Now::of(after(DateTime::from_millis(millis), at.elapsed()).timestamp_millis())
}

/// `at` moved by `by`.
pub(super) fn after(at: DateTime, by: Duration) -> DateTime {
    DateTime::from_millis(at.timestamp_millis().saturating_add(signed_millis(by)))
}

async fn estimate(database: &Database, leases: &str, timeout: Duration) -> Result<Estimate> {
    let command = doc! {
        "findAndModify": leases, "query": { "_id": CLOCK }, "update": { "$currentDate": { "now": true } },
        "upsert": true, "new": true, "writeConcern": { "w": "majority", "wtimeout": signed_millis(timeout) },
    };
    let mut again = true;
    loop {
        let sent = Moment::now();
        let answer = match Box::pin(async { database.run_command(command.clone()).await }).await {
            Ok(answer) => answer,
            // Two processes made it at the same moment.
            Err(error) if again && is_duplicate(&error) => {
                again = false;
                continue;
            }
            Err(error) => return Err(from_driver(&error)),
        };
        if let Ok(concern) = answer.get_document("writeConcernError") {
            let text = concern.get_str("errmsg").unwrap_or_default();
            return Err(unacknowledged(concern.get_i32("code").unwrap_or(0), text));
        }
        let now = answer
            .get_document("value")
            .and_then(|clock| clock.get_datetime("now"));
        let millis = now
            .map_err(|_| corrupt("the server does not tell its time"))?
            .timestamp_millis();
        return Ok((sent.checked_add(sent.elapsed() / 2).unwrap_or(sent), millis));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever of the two is wrong, and in whichever direction.
    #[test]
    fn what_is_to_last_lasts_by_the_later_clock_and_is_over_by_the_earlier() {
        let hour = 3_600_000;
        let own = i64::try_from(unix_millis()).unwrap();
        let ahead = Now::of(own + hour);
        assert_eq!(ahead.latest.timestamp_millis(), own + hour);
        assert!(ahead.earliest.timestamp_millis() < own + hour / 2);
        let behind = Now::of(own - hour);
        assert_eq!(behind.earliest.timestamp_millis(), own - hour);
        assert!(behind.latest.timestamp_millis() > own - hour / 2);
        assert_eq!(
            ahead.plus(Duration::from_secs(1)).timestamp_millis(),
            own + hour + 1_000
        );
    }
}
