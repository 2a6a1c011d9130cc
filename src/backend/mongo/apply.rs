//! After the commit point: the records are brought up to the patches.
//!
//! Every statement compares its version with the record's, so it may be sent again, late, twice, or by several
//! processes at once, in any order: the newest patch of a record is what stays. Not so late, though, that the
//! tombstone of a newer deletion may be gone: a process that was stopped for longer than [`APPLY_WINDOW`] asks first
//! whether what it was about to apply is still pending.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};

use super::conflicts::PAUSES;
use super::connection::Connection;
use super::documents::{Entry, change_size, epoch_prefix, long, record_statement};
use super::errors::corrupt;
use super::slots::Slot;
use super::staging::Staging;
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};
use crate::runtime;
use crate::time::Moment;

/// How long a deleted record's tombstone stays: far longer than any command can be on its way.
const TOMBSTONE: Duration = Duration::from_secs(24 * 60 * 60);
/// A patch is applied no later than so long after it was known to be pending.
const APPLY_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Statements and bytes of one command; the server takes 100,000 and 16 MiB.
const STATEMENTS: usize = 500;
const BYTES: usize = 6 * 1024 * 1024;
/// What a statement has beside the change itself.
const STATEMENT_OVERHEAD: usize = 160;
/// Commands of one piece of work under way at once.
const CONCURRENT: usize = 4;
/// A statement that meets a duplicate key so often has met something that is no race.
const ATTEMPTS: u32 = 8;

/// Brings records up to their patches.
pub(super) struct Applier {
    pub connection: Arc<Connection>,
    pub staging: Arc<Staging>,
}

impl Applier {
    /// Starts applying what is queued in these sessions, in the background; one task per session.
    pub fn start(self: &Arc<Self>, slots: impl IntoIterator<Item = Arc<Slot>>) {
        let turns = Turns(slots.into_iter().filter(|slot| slot.start()).collect());
        if turns.0.is_empty() {
            return;
        }
        let applier = self.clone();
        runtime::spawn(async move { applier.apply_queues(turns).await });
    }

    /// Applies the queues of sessions until they are empty or the storage fails: then the
    /// patches stay pending in the session's document, and the next commit, release or owner applies them.
    async fn apply_queues(&self, mut turns: Turns) {
        while !turns.0.is_empty() {
            let mut failed = HashSet::new();
            for slot in turns
                .0
                .iter()
                .filter(|slot| slot.known_pending_at().elapsed() >= APPLY_WINDOW)
            {
                if self.ask_what_is_pending(slot).await.is_err() {
                    failed.insert(slot.session.clone());
                }
            }
            turns
                .0
                .retain(|slot| !failed.contains(&slot.session) || !slot.done(false));
            let work: Vec<_> = turns
                .0
                .iter()
                .filter_map(|slot| slot.work().map(|(epoch, entries)| (slot.clone(), epoch, entries)))
                .collect();
            if self.apply_together(&work).await.is_err() {
                // What stops one session is not to stop the others.
                for one in work.chunks(1) {
                    if work.len() == 1 || self.apply_together(one).await.is_err() {
                        failed.extend(one.iter().map(|(slot, ..)| slot.session.clone()));
                    }
                }
            }
            turns.0.retain(|slot| !slot.done(!failed.contains(&slot.session)));
        }
    }

    /// Of what is queued, keeps what the session's document still has.
    async fn ask_what_is_pending(&self, slot: &Slot) -> Result<()> {
        let asked = Moment::now();
        let found = self.connection.session(&slot.session).await?;
        slot.confirm_pending(found.as_ref(), asked);
        Ok(())
    }

    async fn apply_together(&self, work: &[Work]) -> Result<()> {
        let until = self.connection.now().await?.plus(TOMBSTONE);
        let mut statements = Vec::new();
        let mut known = Moment::now();
        for (slot, epoch, entries) in work {
            let prefix = epoch_prefix(&slot.session, epoch);
            newest(entries, &prefix, until, &mut statements);
            known = known.min(slot.known_pending_at());
        }
        self.send(statements, known).await?;
        for (slot, epoch, entries) in work {
            for entry in entries {
                self.apply_chunks(&slot.session, epoch, entry, until, known)
                    .await?;
            }
            let Some(last) = entries.last() else { continue };
            // A large patch's chunks may go only when no reader is sent to them any more.
            if entries.iter().any(|entry| entry.stage.is_some()) {
                self.trim(&slot.session, epoch, last.version).await?;
                self.staging.unstage(entries).await?;
            }
            slot.applied(epoch, last.version);
        }
        Ok(())
    }

    /// Applies patches now, which were pending at the moment `known`. They stay in the session's `pending` until its
    /// next write.
    pub async fn apply(
        &self,
        session: &str,
        epoch: &str,
        entries: &[Arc<Entry>],
        known: Moment,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let until = self.connection.now().await?.plus(TOMBSTONE);
        let prefix = epoch_prefix(session, epoch);
        let mut statements = Vec::new();
        newest(entries, &prefix, until, &mut statements);
        self.send(statements, known).await?;
        for entry in entries {
            self.apply_chunks(session, epoch, entry, until, known).await?;
        }
        if let Some(last) = entries.iter().rev().find(|entry| entry.stage.is_some()) {
            self.trim(session, epoch, last.version).await?;
            self.staging.unstage(entries).await?;
        }
        Ok(())
    }

    /// Applies a staged patch that was not loaded, chunk by chunk.
    async fn apply_chunks(
        &self,
        session: &str,
        epoch: &str,
        entry: &Entry,
        tombstone_until: DateTime,
        known: Moment,
    ) -> Result<()> {
        let (Some(stage), None) = (&entry.stage, &entry.changes) else {
            return Ok(());
        };
        let prefix = epoch_prefix(session, epoch);
        for chunk in 0..stage.chunks {
            let Some(changes) = self.staging.load_chunk(stage, chunk).await? else {
                // Chunks go only after their patch was applied and taken out of `pending`: somebody else did that.
                let found = self.connection.session(session).await?;
                let pending = found.is_some_and(|found| {
                    *found.epoch == *epoch
                        && found
                            .pending
                            .iter()
                            .any(|other| other.stage.as_ref() == Some(stage))
                });
                return if pending {
                    Err(corrupt("chunks of a committed patch are missing"))
                } else {
                    Ok(())
                };
            };
            let statements = changes
                .iter()
                .map(|change| statement(&prefix, entry.version, change, tombstone_until));
            self.send(statements.collect(), known).await?;
        }
        Ok(())
    }

    /// Takes applied patches out of the session's document.
    async fn trim(&self, session: &str, epoch: &str, version: u64) -> Result<()> {
        let filter = doc! { "_id": session, "epoch": epoch };
        let update = doc! { "$pull": { "pending": { "v": { "$lte": long(version) } } } };
        self.connection.update_session(filter, update).await.map(drop)
    }

    async fn send(&self, statements: Vec<(Document, usize)>, known: Moment) -> Result<()> {
        stream::iter(commands(statements))
            .map(|command| self.send_command(command, known))
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await
    }

    async fn send_command(&self, mut statements: Vec<Document>, known: Moment) -> Result<()> {
        let records = &self.connection.records;
        let mut pauses = PAUSES;
        for _ in 0..ATTEMPTS {
            if known.elapsed() >= APPLY_WINDOW {
                let message =
                    "this process stood still for so long that what it was about to do may be obsolete";
                return Err(Error::new(Kind::Unavailable, super::LAYER, message));
            }
            // Two upserts made the same record at the same moment: the one that lost is sent again.
            let updated = self.connection.update(records, statements.clone()).await?;
            statements = updated
                .duplicates
                .into_iter()
                .filter_map(|index| statements.get(index).cloned())
                .collect();
            if statements.is_empty() {
                return Ok(());
            }
            pauses.wait_jittered().await;
        }
        Err(Error::new(
            Kind::Unavailable,
            super::LAYER,
            "records kept changing while a patch was applied",
        ))
    }
}

/// A session, its incarnation and the patches waiting there.
type Work = (Arc<Slot>, Arc<str>, Vec<Arc<Entry>>);

/// Sessions an applier works on; given up also when its task is dropped.
struct Turns(Vec<Arc<Slot>>);

impl Drop for Turns {
    fn drop(&mut self) {
        for slot in &self.0 {
            slot.done(false);
        }
    }
}

/// Statements for the newest change of every record.
fn newest(
    entries: &[Arc<Entry>],
    prefix: &str,
    tombstone_until: DateTime,
    statements: &mut Vec<(Document, usize)>,
) {
    let mut changes: HashMap<&RecordKey, (u64, &Change)> = HashMap::new();
    for entry in entries {
        for change in entry.changes.iter().flatten() {
            changes.insert(&change.key, (entry.version, change));
        }
    }
    statements.extend(
        changes
            .into_values()
            .map(|(version, change)| statement(prefix, version, change, tombstone_until)),
    );
}

fn statement(prefix: &str, version: u64, change: &Change, tombstone_until: DateTime) -> (Document, usize) {
    let statement = record_statement(prefix, version, change, tombstone_until);
    (statement, prefix.len() + STATEMENT_OVERHEAD + change_size(change))
}

/// Statements, or what stands for them, with their sizes, cut into commands.
pub(super) fn commands<T>(statements: Vec<(T, usize)>) -> Vec<Vec<T>> {
    let mut commands: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for (statement, size) in statements {
        match commands.last_mut() {
            Some(command) if command.len() < STATEMENTS && bytes + size <= BYTES => {
                bytes += size;
                command.push(statement);
            }
            _ => {
                bytes = size;
                commands.push(vec![statement]);
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stay_below_both_limits() {
        let small = vec![(Document::new(), 10); STATEMENTS + 1];
        assert_eq!(
            commands(small).iter().map(Vec::len).collect::<Vec<_>>(),
            [STATEMENTS, 1]
        );
        let large = vec![
            (Document::new(), BYTES / 2),
            (Document::new(), BYTES / 2),
            (Document::new(), 1),
        ];
        assert_eq!(commands(large).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert!(commands::<Document>(Vec::new()).is_empty());
    }
}
