//! Commits: many sessions in one statement, each with its own check and its own answer.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::LAYER;
use super::conflicts::Conflicts;
use super::connection::{Connection, Lane};
use super::dial::column;
use super::errors::{corrupt, timed_out};
use super::ids::{check_session, check_size, id_columns, long, size_of, unsigned};
use super::lifetime::Lifetime;
use super::metadata::beside_an_outbox;
use super::statements::verdict;
use crate::backend::{Commit, Fence, Head, fenced, session_lost, version_mismatch};
use crate::error::Result;
use crate::time::signed_millis;

const LOST: &str = "PostgreSQL no longer has what this writer has written or seen of the session";

/// A statement has no more than this, unless a single commit does.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Commits.
pub(super) struct Committer {
    pub connection: Arc<Connection>,
    pub lifetime: Arc<Lifetime>,
}

/// What came of a commit in one statement.
enum Outcome {
    Answer(Result<Head>),
    /// It met another writer.
    Later,
    /// There is no row for a writer without owner.
    Make,
    /// What is there has expired.
    Purge,
}

impl Committer {
    pub(super) async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let mut answers: Vec<_> = commits.iter().map(|_| Err(timed_out())).collect();
        let mut waiting = Vec::with_capacity(commits.len());
        for (at, commit) in commits.into_iter().enumerate() {
            let checked = self.connection.ensure_open();
            let checked = checked.and_then(|()| check_session(&commit.session));
            match checked.and_then(|()| check_size(size_of(&commit))) {
                Ok(()) => waiting.push((at, commit)),
                Err(error) => answers[at] = Err(error.in_session(&commit.session)),
            }
        }
        let mut conflicts = Conflicts::until(self.connection.deadline());
        while !waiting.is_empty() {
            let (round, mut later) = split(waiting);
            match self.send(&round, &conflicts).await {
                Ok(outcomes) => {
                    let mut met = false;
                    for ((at, commit), outcome) in round.into_iter().zip(outcomes) {
                        let again = match outcome {
                            Outcome::Answer(answer) => {
                                answers[at] = answer.map_err(|error| error.in_session(&commit.session));
                                continue;
                            }
                            Outcome::Later => {
                                met = true;
                                Ok(())
                            }
                            Outcome::Make => self.lifetime.make(&commit.session).await,
                            Outcome::Purge => self.lifetime.purge(&commit.session).await,
                        };
                        match again {
                            Ok(()) => later.push((at, commit)),
                            Err(error) => answers[at] = Err(error.in_session(&commit.session)),
                        }
                    }
                    if met && let Err(busy) = conflicts.pause().await {
                        for (at, commit) in later.drain(..) {
                            answers[at] = Err(busy.clone().in_session(&commit.session));
                        }
                    }
                }
                Err(error) => {
                    for (at, commit) in round {
                        answers[at] = Err(error.clone().in_session(&commit.session));
                    }
                }
            }
            waiting = later;
        }
        answers
    }

    async fn send(&self, round: &[(usize, Commit)], conflicts: &Conflicts) -> Result<Vec<Outcome>> {
        let commits: Vec<&Commit> = round.iter().map(|(_, commit)| commit).collect();
        let column_of =
            |value: fn(&Commit) -> i64| commits.iter().map(|commit| value(commit)).collect::<Vec<i64>>();
        let ids: Vec<&[u8]> = commits.iter().map(|commit| commit.session.as_bytes()).collect();
        let tokens: Vec<Option<i64>> = commits
            .iter()
            .map(|commit| match commit.fence {
                Fence::Owner(token) => Some(long(token)),
                Fence::Shared => None,
            })
            .collect();
        let bases = column_of(|commit| long(commit.base));
        let patches = column_of(|commit| i64::from(commit.patches));
        let checked: Vec<bool> = commits
            .iter()
            .map(|commit| commit.expected || commit.fence != Fence::Shared)
            .collect();
        let commit_ids = column_of(|commit| long(commit.id));
        let ttls: Vec<Option<i64>> = commits
            .iter()
            .map(|commit| commit.ttl.map(signed_millis))
            .collect();
        let records = Records::of(&commits);
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 15] = [
            (&ids, Type::BYTEA_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&bases, Type::INT8_ARRAY),
            (&patches, Type::INT8_ARRAY),
            (&checked, Type::BOOL_ARRAY),
            (&commit_ids, Type::INT8_ARRAY),
            (&ttls, Type::INT8_ARRAY),
            (&records.put.of, Type::INT8_ARRAY),
            (&records.put.kinds, Type::BYTEA_ARRAY),
            (&records.put.ids, Type::BYTEA_ARRAY),
            (&records.long_ids, Type::BYTEA_ARRAY),
            (&records.values, Type::BYTEA_ARRAY),
            (&records.removed.of, Type::INT8_ARRAY),
            (&records.removed.kinds, Type::BYTEA_ARRAY),
            (&records.removed.ids, Type::BYTEA_ARRAY),
        ];
        let statement = &self.connection.statements.commit;
        let rows = self
            .connection
            .query(Lane::Commits, statement, &parameters, conflicts.deadline)
            .await?;
        let mut outcomes: Vec<_> = commits.iter().map(|_| None).collect();
        for row in &rows {
            let at = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            if let (Some(outcome), Some(commit)) = (outcomes.get_mut(at), commits.get(at)) {
                *outcome = Some(judge(commit, row)?);
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(|| corrupt("a commit was not answered")))
            .collect()
    }
}

/// A commit, and which it is of those to be answered.
type Waiting = (usize, Commit);

/// What goes in the next statement, one commit of a session at most, and what goes later.
fn split(waiting: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut sessions = HashSet::new();
    let mut bytes = 0;
    waiting.into_iter().partition(|(_, commit)| {
        let fits = bytes == 0 || bytes + size_of(commit) <= MOST_BYTES;
        let goes = fits && sessions.insert(commit.session.clone());
        if goes {
            bytes += size_of(commit);
        }
        goes
    })
}

/// Of which commit, counted from 1, a record is, and its name.
#[derive(Default)]
struct Names<'a> {
    of: Vec<i64>,
    kinds: Vec<&'a [u8]>,
    ids: Vec<Vec<u8>>,
}

/// The records of some commits, as columns.
#[derive(Default)]
struct Records<'a> {
    put: Names<'a>,
    long_ids: Vec<Option<&'a [u8]>>,
    values: Vec<&'a [u8]>,
    removed: Names<'a>,
}

impl<'a> Records<'a> {
    fn of(commits: &[&'a Commit]) -> Self {
        let mut records = Self::default();
        for (of, commit) in (1..).zip(commits) {
            for change in &commit.changes {
                let (id, long_id) = id_columns(&change.key);
                let names = match &change.value {
                    Some(value) => {
                        records.values.push(value);
                        records.long_ids.push(long_id);
                        &mut records.put
                    }
                    None => &mut records.removed,
                };
                names.of.push(of);
                names.kinds.push(change.key.kind().as_bytes());
                names.ids.push(id);
            }
        }
        records
    }
}

fn judge(commit: &Commit, row: &Row) -> Result<Outcome> {
    let current = column::<Option<i64>>(row, 2)?.map(unsigned);
    let version = column::<Option<i64>>(row, 3)?.map_or(0, unsigned);
    let answer = |answer| Ok(Outcome::Answer(answer));
    let lost = |found| session_lost(LAYER, LOST, Some(commit.base), found);
    match (column::<i32>(row, 1)?, commit.fence) {
        (verdict::DONE, _) => answer(Ok(Head {
            version: version + u64::from(commit.patches),
            updated_at: unsigned(column(row, 5)?),
        })),
        (verdict::AGAIN, _) => answer(Ok(Head {
            version: column::<Option<i64>>(row, 6)?.map_or(version, unsigned),
            updated_at: unsigned(column::<Option<i64>>(row, 4)?.unwrap_or(0)),
        })),
        (verdict::NONE | verdict::EXPIRED, Fence::Shared) if commit.expected && commit.base != 0 => {
            answer(Err(version_mismatch(LAYER, commit.base, 0)))
        }
        // It does not begin a lost session anew from its part.
        (verdict::NONE, Fence::Shared) if commit.base != 0 => answer(Err(lost(0))),
        (verdict::NONE, Fence::Shared) => Ok(Outcome::Make),
        (verdict::EXPIRED, Fence::Shared) => Ok(Outcome::Purge),
        // Nothing was written, so nothing was lost but the lease.
        (verdict::NONE, Fence::Owner(_)) if commit.base == 0 => answer(Err(fenced(LAYER, None))),
        (verdict::NONE | verdict::EXPIRED, Fence::Owner(_)) => answer(Err(lost(0))),
        (verdict::FENCED, Fence::Owner(token)) => answer(Err(super::read::refused(
            crate::backend::Seen {
                fence: Fence::Owner(token),
                version: commit.base,
            },
            current,
            version,
        ))),
        (verdict::OUTBOX, _) => answer(Err(beside_an_outbox())),
        (verdict::VERSION, Fence::Shared) if !commit.expected => answer(Err(lost(version))),
        (verdict::VERSION, _) => answer(Err(version_mismatch(LAYER, commit.base, version))),
        (verdict::BUSY | verdict::MOVED, _) => Ok(Outcome::Later),
        _ => Err(corrupt("a commit has an unknown verdict")),
    }
}
