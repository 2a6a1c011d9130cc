//! Reading: what is pending in this process, then Redis, then MongoDB.
//!
//! Redis' copy answers only while it is at the very commit that its owner last acknowledged, and it says
//! "there is none" only if it is complete. Who does not own the session reads MongoDB.
//!
//! MongoDB may be ahead of what is known here by a commit that is under way or in doubt. So MongoDB is not asked beside
//! Redis before such a commit has come to an end: no record is seen before it and another one after it.

use std::sync::Arc;

use bytes::Bytes;

use super::slot::Slot;
use super::state::Core;
use super::stats::count;
use super::{LAYER, still_owner};
use crate::backend::{Cursor, Fence, Head, Page, Seen, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;

impl Core {
    pub async fn read(
        self: &Arc<Self>,
        session: &SessionId,
        keys: &[RecordKey],
    ) -> Result<Vec<Option<Bytes>>> {
        self.ensure_open()?;
        let Some(slot) = self.sessions.get(session).filter(|slot| slot.lost().is_none()) else {
            let read = self
                .primary
                .call(|primary| primary.read(session, keys, Seen::NOTHING));
            let read = read.await;
            self.count_read(false, read.is_ok());
            return read;
        };
        let mut found = self.read_at_one_version(&slot, keys, false).await?;
        if found.is_none() {
            let _turn = slot.turn.lock().await;
            self.settle(&slot).await?;
            found = self.read_at_one_version(&slot, keys, true).await?;
        }
        found.ok_or_else(|| Error::new(Kind::Unavailable, LAYER, "the session changed while it was read"))
    }

    /// `None` if it would take the end of a commit under way, or in doubt, to say at which version that is. In the
    /// session's turn there is none.
    async fn read_at_one_version(
        &self,
        slot: &Arc<Slot>,
        keys: &[RecordKey],
        in_turn: bool,
    ) -> Result<Option<Vec<Option<Bytes>>>> {
        let session = &slot.session;
        let (mut found, revision, ready) = slot.recall(keys);
        let places = |found: &[Option<Option<Bytes>>]| -> Vec<usize> {
            (0..keys.len()).filter(|&place| found[place].is_none()).collect()
        };
        let mut missing = places(&found);
        let remembered = missing.is_empty();
        if !missing.is_empty() && ready && !slot.may_have_expired() {
            let wanted: Vec<_> = missing.iter().map(|&place| keys[place].clone()).collect();
            match self.cache.call(|cache| cache.read(session, &wanted)).await {
                Ok(copied) if copied.revision == Some(revision) => {
                    for (&place, record) in missing.iter().zip(copied.records) {
                        if record.is_some() || copied.complete {
                            found[place] = Some(record);
                        }
                    }
                    missing = places(&found);
                }
                // Evicted, or a commit came between.
                Ok(_) => {}
                Err(_) => slot.set_ready(false),
            }
        }
        if missing.is_empty() {
            if !remembered {
                self.count_read(true, false);
            }
            return Ok(Some(found.into_iter().map(Option::flatten).collect()));
        }
        // What MongoDB has may be newer than what was found here, which goes on to answer other reads.
        let mixed = missing.len() < keys.len();
        let under_way = !in_turn && slot.turn.try_lock().is_err();
        if !in_turn && slot.has_doubt() && (mixed || !under_way) {
            return Ok(None);
        }
        let wanted: Vec<_> = missing.iter().map(|&place| keys[place].clone()).collect();
        let read = self
            .primary
            .call(|primary| primary.read(session, &wanted, Seen::NOTHING));
        let read = read.await;
        self.count_read(false, read.is_ok());
        let read = read?;
        let same = slot.revision() == revision && !slot.has_doubt();
        if mixed && !same && !in_turn {
            return Ok(None);
        }
        if ready && slot.is_ready() && same && !slot.may_have_expired() {
            let records: Vec<_> = wanted
                .into_iter()
                .zip(&read)
                .filter_map(|(key, value)| Some((key, value.clone()?)))
                .collect();
            if !records.is_empty() {
                self.copies.start_warming(slot, revision, records);
            }
        }
        for (place, record) in missing.into_iter().zip(read) {
            found[place] = Some(record);
        }
        Ok(Some(found.into_iter().map(Option::flatten).collect()))
    }

    fn count_read(&self, by_redis: bool, by_mongo: bool) {
        count(if by_redis {
            &self.counters.redis_hits
        } else {
            &self.counters.redis_misses
        });
        if by_mongo {
            count(&self.counters.mongo_fallbacks);
        }
    }

    pub async fn head(self: &Arc<Self>, session: &SessionId) -> Result<Head> {
        self.ensure_open()?;
        let Some(slot) = self.sessions.get(session).filter(|slot| slot.lost().is_none()) else {
            return self.primary.call(|primary| primary.head(session)).await;
        };
        let _turn = slot.turn.lock().await;
        self.settle(&slot).await?;
        if slot.has_pending() {
            return Ok(slot.head());
        }
        let known = slot.head();
        let head = match self.primary.call(|primary| primary.head(session)).await {
            Ok(head) => head,
            // What was acknowledged behind is where the session stands; Redis must still say so.
            Err(error) if super::is_outage(&error) && slot.is_announced() && !slot.may_have_expired() => {
                return match self.cache.call(|cache| cache.revision(session)).await {
                    Ok(Some(revision)) if revision == slot.revision() => Ok(known),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        if head.version != known.version {
            // Redis' copy is of something that is no more.
            slot.set_ready(false);
        }
        // The time of the acknowledgement, not of MongoDB's commit later.
        Ok(if head.version == known.version {
            known
        } else {
            head
        })
    }

    pub async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.ensure_open()?;
        if let Some(slot) = self.sessions.get(session).filter(|slot| slot.lost().is_none()) {
            still_owner(self.drain.flush(&slot).await, Fence::Shared)?;
        }
        self.primary
            .call(|primary| primary.scan(session, kind, cursor, limit, Seen::NOTHING))
            .await
    }

    pub async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.ensure_open()?;
        if cursor.is_none() {
            for slot in self.sessions.all() {
                if slot.lost().is_none() {
                    still_owner(self.drain.flush(&slot).await, Fence::Shared)?;
                }
            }
        }
        self.primary.call(|primary| primary.list(cursor, limit)).await
    }
}
