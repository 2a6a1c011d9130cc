//! Patches too large to stand in the session's document.
//!
//! Their changes are written first, in chunks, to a collection of their own; the commit point then only names
//! them. Chunks that no commit point names, left by a crash, are removed by the session's next owner. So that a
//! commit point never names chunks that are being removed, the remover lists them, then raises the session's
//! `sweeps`, then removes what it listed; and the commit point is guarded by the `sweeps` that stood there before
//! the first chunk was written.

use std::sync::Arc;

use mongodb::bson::doc;

use super::LAYER;
use super::connection::Connection;
use super::documents::{
    Entry, SessionDoc, Stage, change_size, changes_array, epoch_prefix, parse_changes, random, range,
    session_prefix,
};
use super::errors::corrupt;
use crate::error::{Error, Kind, Result};
use crate::record::Change;

/// Above this a patch is staged.
pub(super) const INLINE_BYTES: usize = 4 * 1024 * 1024;
/// Size of a chunk, unless one record alone is larger.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Largest record: it must fit one document with its key and what the server adds.
const RECORD_BYTES: usize = 15 * 1024 * 1024;

/// Refuses records that no document can hold.
pub(super) fn check_sizes(changes: &[Change]) -> Result<()> {
    if changes.iter().all(|change| change_size(change) <= RECORD_BYTES) {
        return Ok(());
    }
    Err(Error::new(
        Kind::InvalidValue,
        LAYER,
        "a record must have at most 15 MiB, sealed",
    ))
}

/// The chunks of large patches.
pub(super) struct Staging {
    pub connection: Arc<Connection>,
}

impl Staging {
    /// Marks the session as one with staged chunks and gives its document; `None` if it has none.
    pub async fn begin(&self, session: &str) -> Result<Option<SessionDoc>> {
        let update = doc! { "$set": { "staging": true } };
        let found = self
            .connection
            .modify_session(doc! { "_id": session }, update)
            .await?;
        found.as_ref().map(SessionDoc::parse).transpose()
    }

    /// Writes the changes as chunks.
    pub async fn stage(&self, session: &str, epoch: &str, changes: &[Change]) -> Result<Stage> {
        let id = format!("{}{:016x}", epoch_prefix(session, epoch), random());
        let mut chunks = 0;
        let mut rest = changes;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take_while(|change| {
                    bytes += change_size(change);
                    bytes <= CHUNK_BYTES
                })
                .count();
            let (chunk, later) = rest.split_at(fitting.max(1));
            let document = doc! { "_id": chunk_id(&id, chunks), "c": changes_array(chunk) };
            if !self
                .connection
                .insert(&self.connection.staged, vec![document])
                .await?
            {
                return Err(Error::new(
                    Kind::Internal,
                    LAYER,
                    "a chunk's random name was taken",
                ));
            }
            chunks += 1;
            rest = later;
        }
        Ok(Stage { id, chunks })
    }

    /// One chunk of a staged patch; `None` if it was removed, which is after the patch was applied.
    pub async fn load_chunk(&self, stage: &Stage, chunk: u32) -> Result<Option<Vec<Change>>> {
        let filter = doc! { "_id": chunk_id(&stage.id, chunk) };
        let found = self
            .connection
            .find(&self.connection.staged, filter, None, 1)
            .await?;
        let parse = |document: &mongodb::bson::Document| {
            let array = document
                .get_array("c")
                .map_err(|_| corrupt("a chunk without changes"))?;
            parse_changes(array)
        };
        found.first().map(parse).transpose()
    }

    /// Removes the chunks of patches that no document names any more.
    pub async fn unstage(&self, entries: &[Arc<Entry>]) -> Result<()> {
        for stage in entries.iter().filter_map(|entry| entry.stage.as_ref()) {
            let chunks = range(&format!("{}/", stage.id));
            self.connection
                .remove(&self.connection.staged, doc! { "_id": chunks })
                .await?;
        }
        Ok(())
    }

    /// The `_id`s of all chunks of a session.
    pub async fn list_chunks(&self, session: &str) -> Result<Vec<String>> {
        let filter = doc! { "_id": range(&session_prefix(session)) };
        let only_id = Some(doc! { "_id": 1 });
        let found = self
            .connection
            .find(&self.connection.staged, filter, only_id, 0)
            .await?;
        found
            .iter()
            .map(|chunk| chunk.get_str("_id").map(str::to_owned))
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| corrupt("a chunk's `_id` is not a string"))
    }

    /// Removes those of `chunks` that no pending patch names. They were listed before `sweeps` was raised, and
    /// `session` is the document after that: whoever wrote them either has passed the commit point by then or
    /// never will.
    pub async fn remove_chunks(&self, chunks: &[String], session: &SessionDoc) -> Result<()> {
        let named: Vec<_> = session
            .pending
            .iter()
            .filter_map(|entry| entry.stage.as_ref())
            .collect();
        let unnamed: Vec<&String> = chunks
            .iter()
            .filter(|chunk| !named.iter().any(|stage| chunk.starts_with(&stage.id)))
            .collect();
        if unnamed.is_empty() {
            return Ok(());
        }
        let filter = doc! { "_id": { "$in": unnamed.into_iter().map(String::as_str).collect::<Vec<_>>() } };
        self.connection
            .remove(&self.connection.staged, filter)
            .await
            .map(drop)
    }
}

fn chunk_id(stage: &str, chunk: u32) -> String {
    format!("{stage}/{chunk:08x}")
}
