//! Commits on their way to the primary, several as one.

use std::collections::HashMap;

use super::entry;
use crate::backend::{Commit, Fence, Token};
use crate::record::{Change, RecordKey};

/// Merged into one commit to MongoDB: so many entries …
const BATCH_ENTRIES: usize = 256;
/// … or so many bytes.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// As many commits, one after the other, as fit one; `None` if there are none. The last write of a record stays.
pub(super) fn merge<'a>(commits: impl Iterator<Item = &'a Commit>, token: Token) -> Option<Commit> {
    let mut merged: Option<Commit> = None;
    let mut changes: Vec<Change> = Vec::new();
    let mut places: HashMap<&RecordKey, usize> = HashMap::new();
    let (mut count, mut bytes) = (0, 0);
    for commit in commits {
        bytes += entry::size_of(&commit.changes);
        match &mut merged {
            None => {
                merged = Some(Commit {
                    changes: Vec::new(),
                    fence: Fence::Owner(token),
                    ..commit.clone()
                });
            }
            Some(_) if count >= BATCH_ENTRIES || bytes > BATCH_BYTES => break,
            Some(merged) if merged.version() != commit.base => break,
            Some(merged) => {
                merged.patches += commit.patches;
                merged.id = commit.id;
                merged.ttl = commit.ttl;
            }
        }
        count += 1;
        for change in &commit.changes {
            if let Some(&place) = places.get(&change.key) {
                changes[place].value.clone_from(&change.value);
            } else {
                places.insert(&change.key, changes.len());
                changes.push(change.clone());
            }
        }
    }
    merged.map(|merged| Commit { changes, ..merged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::SessionId;
    use crate::backend::contract::commit;

    #[test]
    fn commits_that_do_not_follow_each_other_are_not_merged() {
        let session: SessionId = "s".into();
        let commits = [0, 1, 5].map(|base| commit(&session, Fence::Owner(3), base, Vec::new()));
        let merged = merge(commits.iter(), 3).unwrap();
        assert_eq!(merged.version(), 2);
        assert_eq!(merged.id, commits[1].id);
    }
}
