//! Records put and deleted together.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::RecordKey;

/// One record of a patch: its new bytes, or `None` to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub key: RecordKey,
    /// What it becomes; `None` deletes it.
    pub value: Option<Bytes>,
}

/// Records put and deleted together; at most one change for each key.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    changes: Vec<Change>,
    index: HashMap<RecordKey, usize>,
    note: Option<Arc<str>>,
}

impl Patch {
    /// Sets what `key` becomes; a later call for the same key wins.
    pub fn set(&mut self, key: RecordKey, value: Option<Bytes>) {
        if let Some(&at) = self.index.get(&key) {
            self.changes[at].value = value;
        } else {
            self.index.insert(key.clone(), self.changes.len());
            self.changes.push(Change { key, value });
        }
    }

    /// Text that the storage keeps with the session for good, see [`Commit::note`](crate::backend::Commit::note).
    pub fn set_note(&mut self, note: Arc<str>) {
        self.note = Some(note);
    }

    /// The text to be kept, if any.
    pub fn note(&self) -> Option<&Arc<str>> {
        self.note.as_ref()
    }

    /// Adds every change of `later`, which win over the ones here.
    pub fn merge(&mut self, later: &Self) {
        if later.note.is_some() {
            self.note.clone_from(&later.note);
        }
        for change in &later.changes {
            self.set(change.key.clone(), change.value.clone());
        }
    }

    /// What the patch says of `key`: nothing, deleted (`Some(None)`), or its bytes.
    pub fn get(&self, key: &RecordKey) -> Option<&Option<Bytes>> {
        self.index.get(key).map(|&at| &self.changes[at].value)
    }

    /// The changes, in the order their keys were first set.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The changes, by value.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_wins() {
        let key = RecordKey::new("session", "a").unwrap();
        let mut patch = Patch::default();
        patch.set(key.clone(), Some(Bytes::from_static(b"1")));
        let mut later = Patch::default();
        later.set(key.clone(), None);
        patch.merge(&later);
        assert_eq!(patch.get(&key), Some(&None));
        assert_eq!(patch.changes().len(), 1);
    }
}
