//! Reads. A patch after its commit point may not stand in the records yet, so a reader lays the pending patches of
//! the session's document over what it finds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use mongodb::bson::{Bson, doc};

use super::LAYER;
use super::conflicts::PAUSES;
use super::connection::Connection;
use super::documents::{
    Entry, Record, SessionDoc, end_of, epoch_prefix, kind_prefix, parse_record, parse_record_id, range,
    record_id,
};
use super::slots::{Slots, View};
use super::staging::Staging;
use crate::backend::{Cursor, Head, Page, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};

/// Records asked for in one `find`.
const KEYS: usize = 2000;
/// A reader that meets a newer patch each time gives up after so many.
const ATTEMPTS: u32 = 20;

/// A session at one version, its pending patches loaded.
struct Snapshot {
    prefix: String,
    version: u64,
    pending: Vec<(u64, Vec<Change>)>,
}

/// Reads sessions and their records.
pub(super) struct Reader {
    pub connection: Arc<Connection>,
    pub slots: Arc<Slots>,
    pub staging: Arc<Staging>,
}

impl Reader {
    pub(super) async fn head(&self, session: &SessionId) -> Result<Head> {
        let fields = Some(doc! { "epoch": 1, "version": 1, "updatedAt": 1, "expiresAt": 1 });
        let filter = doc! { "_id": &**session };
        let found = self
            .connection
            .find(&self.connection.sessions, filter, fields, 1)
            .await?;
        let Some(found) = found.first() else {
            return Ok(Head::default());
        };
        let found = SessionDoc::parse(found)?;
        let exists = found.exists(self.connection.now().await?.earliest);
        Ok(if exists { found.head() } else { Head::default() })
    }

    pub(super) async fn read(&self, session: &SessionId, keys: &[RecordKey]) -> Result<Vec<Option<Bytes>>> {
        let mut pauses = PAUSES;
        for attempt in 0..ATTEMPTS {
            let Some(snapshot) = self.snapshot(session, attempt).await? else {
                return Ok(vec![None; keys.len()]);
            };
            let mut records = self.records_of(&snapshot.prefix, keys).await?;
            // A record from a later patch: others of the same patch may have been read before it was applied.
            if records.values().any(|record| record.version > snapshot.version) {
                pauses.wait_jittered().await;
                continue;
            }
            for key in keys {
                if let Some(newer) = snapshot.newer(key, records.get(key)) {
                    records.insert(key.clone(), newer);
                }
            }
            return Ok(keys
                .iter()
                .map(|key| records.get(key).and_then(|record| record.value.clone()))
                .collect());
        }
        Err(Error::new(
            Kind::Unavailable,
            LAYER,
            "the session changes faster than it can be read",
        ))
    }

    pub(super) async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        let limit = limit.max(1);
        let Some(snapshot) = self.snapshot(session, 0).await? else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        };
        // The cursor is the end of the last `_id`, so that it outlives the incarnation.
        let within = kind.map_or_else(
            || snapshot.prefix.clone(),
            |kind| kind_prefix(&snapshot.prefix, kind),
        );
        let from = cursor.map(|cursor| format!("{}{cursor}", snapshot.prefix));
        let bounds = match &from {
            Some(from) => doc! { "$gt": from, "$lt": end_of(&within) },
            None => range(&within),
        };
        let filter = doc! { "_id": bounds, "r.d": { "$exists": true } };
        let found = self
            .connection
            .find(&self.connection.records, filter, None, limit)
            .await?;
        let full = found.len() >= limit;
        let mut records = BTreeMap::new();
        for document in found {
            let (id, record) = parse_record(document)?;
            records.insert(id, record);
        }
        let last = records.keys().next_back().filter(|_| full).cloned();
        for (version, change) in snapshot
            .pending
            .iter()
            .flat_map(|(version, changes)| changes.iter().map(move |change| (*version, change)))
        {
            let id = record_id(&snapshot.prefix, &change.key);
            let here = id.starts_with(&within)
                && from.as_ref().is_none_or(|from| id > *from)
                && last.as_ref().is_none_or(|last| id <= *last);
            if here && records.get(&id).is_none_or(|record| record.version < version) {
                let value = change.value.clone();
                records.insert(id, Record { version, value });
            }
        }
        let mut found: Vec<_> = records
            .into_iter()
            .filter_map(|(id, record)| record.value.map(|value| (id, value)))
            .collect();
        let mut last = last;
        // A pending patch may bring more than a page.
        if found.len() > limit {
            found.truncate(limit);
            last = found.last().map(|(id, _)| id.clone());
        }
        let items = found
            .into_iter()
            .map(|(id, value)| Ok((parse_record_id(&snapshot.prefix, &id)?, value)))
            .collect::<Result<_>>()?;
        let next = last.map(|last| last[snapshot.prefix.len()..].into());
        Ok(Page { items, next })
    }

    pub(super) async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        let limit = limit.max(1);
        let now = self.connection.now().await?.earliest;
        let mut filter = doc! {
            "version": { "$gt": 0_i64 }, "$or": [{ "expiresAt": null }, { "expiresAt": { "$gt": now } }],
        };
        if let Some(cursor) = cursor {
            filter.insert("_id", doc! { "$gt": &*cursor });
        }
        let found = self
            .connection
            .find(&self.connection.sessions, filter, Some(doc! { "_id": 1 }), limit)
            .await?;
        let full = found.len() >= limit;
        let items: Vec<SessionId> = found
            .iter()
            .filter_map(|found| found.get_str("_id").ok().map(Arc::from))
            .collect();
        let next = items.last().filter(|_| full).cloned();
        Ok(Page { items, next })
    }

    /// Where a session stands; `None` if it does not exist. The owner knows by itself, at least at first.
    async fn snapshot(&self, session: &SessionId, attempt: u32) -> Result<Option<Snapshot>> {
        let now = self.connection.now().await?.earliest;
        if attempt == 0
            && let Some(view) = self.slots.get(session).and_then(|slot| slot.owners_view(now))
        {
            if view.version == 0 {
                return Ok(None);
            }
            if let Some(snapshot) = self.load(session, view).await? {
                return Ok(Some(snapshot));
            }
        }
        let mut pauses = PAUSES;
        for _ in 0..ATTEMPTS {
            let Some(found) = self.connection.session(session).await? else {
                return Ok(None);
            };
            if !found.exists(now) {
                return Ok(None);
            }
            let view = View {
                epoch: found.epoch,
                version: found.version,
                pending: found.pending,
            };
            if let Some(snapshot) = self.load(session, view).await? {
                return Ok(Some(snapshot));
            }
            pauses.wait_jittered().await;
        }
        Err(Error::new(Kind::Corrupt, LAYER, "chunks of a committed patch are missing").in_session(session))
    }

    /// Loads what is staged; `None` if it was applied meanwhile, and the document must be read again.
    async fn load(&self, session: &str, view: View) -> Result<Option<Snapshot>> {
        let mut pending = Vec::with_capacity(view.pending.len());
        for entry in view.pending {
            let Some(changes) = self.changes_of(&entry).await? else {
                return Ok(None);
            };
            pending.push((entry.version, changes));
        }
        Ok(Some(Snapshot {
            prefix: epoch_prefix(session, &view.epoch),
            version: view.version,
            pending,
        }))
    }

    async fn changes_of(&self, entry: &Entry) -> Result<Option<Vec<Change>>> {
        if let Some(changes) = &entry.changes {
            return Ok(Some(changes.clone()));
        }
        let mut all = Vec::new();
        if let Some(stage) = &entry.stage {
            for chunk in 0..stage.chunks {
                let Some(changes) = self.staging.load_chunk(stage, chunk).await? else {
                    return Ok(None);
                };
                all.extend(changes);
            }
        }
        Ok(Some(all))
    }

    /// Those of the records that there are, tombstones too.
    pub(super) async fn records_of(
        &self,
        prefix: &str,
        keys: &[RecordKey],
    ) -> Result<HashMap<RecordKey, Record>> {
        let mut records = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(KEYS) {
            let ids: Vec<_> = keys
                .iter()
                .map(|key| Bson::String(record_id(prefix, key)))
                .collect();
            let filter = doc! { "_id": { "$in": ids } };
            for document in self
                .connection
                .find(&self.connection.records, filter, None, 0)
                .await?
            {
                let (id, record) = parse_record(document)?;
                records.insert(parse_record_id(prefix, &id)?, record);
            }
        }
        Ok(records)
    }
}

impl Snapshot {
    /// What a pending patch says of a record, if that is newer than what was found.
    fn newer(&self, key: &RecordKey, found: Option<&Record>) -> Option<Record> {
        let (version, change) = self.pending.iter().rev().find_map(|(version, changes)| {
            let change = changes.iter().find(|change| change.key == *key)?;
            Some((*version, change))
        })?;
        found.is_none_or(|found| found.version < version).then(|| Record {
            version,
            value: change.value.clone(),
        })
    }
}
