//! The owner's memory: records of open sessions, in plaintext, under one byte budget for the whole process.
//!
//! Every incarnation of a session has a [`SessionCache`] of its own; dropping it forgets the session's records. What a
//! cache holds is what the storage holds, "there is no such record" included. The least recently used record, of
//! whichever session, makes room.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::record::RecordKey;

/// Budget when nobody asks for another, in bytes.
pub const DEFAULT_BUDGET: usize = 64 * 1024 * 1024;

/// What an entry costs beside its key and value: slots in two tables, two allocations' headers.
const OVERHEAD: usize = 160;

type Entry = (u64, RecordKey);

struct Memory {
    entries: LruCache<Entry, Option<Bytes>>,
    keys_of: HashMap<u64, HashSet<RecordKey>>,
    last_cache: u64,
    bytes: usize,
    budget: usize,
}

/// Metrics of the whole process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Bytes held, overhead included.
    pub bytes: usize,
    /// Bytes allowed.
    pub budget: usize,
    /// Records held.
    pub entries: usize,
}

fn memory() -> &'static Mutex<Memory> {
    static MEMORY: OnceLock<Mutex<Memory>> = OnceLock::new();
    MEMORY.get_or_init(|| {
        Mutex::new(Memory {
            entries: LruCache::unbounded(),
            keys_of: HashMap::new(),
            last_cache: 0,
            bytes: 0,
            budget: DEFAULT_BUDGET,
        })
    })
}

/// Sets the budget of the process, in bytes, and makes room at once if it shrank.
pub fn set_budget(bytes: usize) {
    let mut memory = memory().lock();
    memory.budget = bytes;
    memory.make_room();
}

/// Metrics of the whole process.
pub fn usage() -> Usage {
    let memory = memory().lock();
    Usage {
        bytes: memory.bytes,
        budget: memory.budget,
        entries: memory.entries.len(),
    }
}

impl Memory {
    fn put(&mut self, cache: u64, key: &RecordKey, value: Option<Bytes>) {
        let size = size_of_entry(key, value.as_ref());
        if size > self.budget {
            self.remove(cache, key);
            return;
        }
        self.bytes += size;
        match self.entries.put((cache, key.clone()), value) {
            Some(old) => self.bytes -= size_of_entry(key, old.as_ref()),
            None => {
                self.keys_of.entry(cache).or_default().insert(key.clone());
            }
        }
        self.make_room();
    }

    fn remove(&mut self, cache: u64, key: &RecordKey) {
        if let Some(old) = self.entries.pop(&(cache, key.clone())) {
            self.bytes -= size_of_entry(key, old.as_ref());
            self.forget(cache, key);
        }
    }

    fn make_room(&mut self) {
        while self.bytes > self.budget {
            let Some(((cache, key), value)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes -= size_of_entry(&key, value.as_ref());
            self.forget(cache, &key);
        }
    }

    fn forget(&mut self, cache: u64, key: &RecordKey) {
        if let Some(keys) = self.keys_of.get_mut(&cache) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys_of.remove(&cache);
            }
        }
    }
}

fn size_of_entry(key: &RecordKey, value: Option<&Bytes>) -> usize {
    OVERHEAD + key.as_bytes().len() + value.map_or(0, Bytes::len)
}

/// The remembered records of one incarnation of a session.
#[derive(Debug)]
pub struct SessionCache(u64);

impl SessionCache {
    /// An empty cache.
    #[expect(
        clippy::new_without_default,
        reason = "a cache takes a number from the process; it is not a value"
    )]
    pub fn new() -> Self {
        let mut memory = memory().lock();
        memory.last_cache += 1;
        Self(memory.last_cache)
    }

    /// What is remembered of `key`: nothing (`None`), that it is absent (`Some(None)`), or its bytes.
    pub fn get(&self, key: &RecordKey) -> Option<Option<Bytes>> {
        memory().lock().entries.get(&(self.0, key.clone())).cloned()
    }

    /// Remembers what the storage holds of `key`.
    pub fn put(&self, key: &RecordKey, value: Option<Bytes>) {
        memory().lock().put(self.0, key, value);
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &RecordKey) {
        memory().lock().remove(self.0, key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut memory = memory().lock();
        for key in memory.keys_of.remove(&self.0).unwrap_or_default() {
            if let Some(old) = memory.entries.pop(&(self.0, key.clone())) {
                memory.bytes -= size_of_entry(&key, old.as_ref());
            }
        }
    }
}

impl Drop for SessionCache {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> RecordKey {
        RecordKey::new("session", &id.to_string()).unwrap()
    }

    #[test]
    fn absence_is_remembered_and_a_dropped_cache_is_forgotten() {
        let cache = SessionCache::new();
        assert_eq!(cache.get(&key(1)), None);
        cache.put(&key(1), None);
        assert_eq!(cache.get(&key(1)), Some(None));
        cache.put(&key(1), Some(Bytes::from_static(b"value")));
        assert_eq!(cache.get(&key(1)), Some(Some(Bytes::from_static(b"value"))));
        let number = cache.0;
        drop(cache);
        assert!(!memory().lock().keys_of.contains_key(&number));
    }

    #[test]
    fn the_budget_holds_and_the_least_recently_used_goes_first() {
        let mut memory = Memory {
            entries: LruCache::unbounded(),
            keys_of: HashMap::new(),
            last_cache: 0,
            bytes: 0,
            budget: 10 * 1024,
        };
        for id in 0..100 {
            memory.put(1, &key(id), Some(vec![0; 1024].into()));
            memory.entries.get(&(1, key(0)));
            assert!(memory.bytes <= memory.budget);
        }
        assert!(memory.entries.contains(&(1, key(0))));
        assert!(memory.entries.contains(&(1, key(99))));
        assert!(!memory.entries.contains(&(1, key(50))));
        let held: usize = memory
            .entries
            .iter()
            .map(|((_, key), value)| size_of_entry(key, value.as_ref()))
            .sum();
        assert_eq!(memory.bytes, held);
        memory.put(1, &key(0), Some(vec![0; 11 * 1024].into()));
        assert!(!memory.entries.contains(&(1, key(0))));
    }
}
