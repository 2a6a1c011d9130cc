//! Dead letters: commits that were acknowledged and can never be applied.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cache::Cache;
use super::guarded_primary::GuardedPrimary;
use super::primary::Primary;
use super::stats::Counters;
use super::watched_cache::WatchedCache;
use super::{LAYER, entry};
use crate::backend::{Commit, DeadLetter, Fence, SessionId};
use crate::error::{Error, Kind, Result};
use crate::time::unix_millis;

/// Those of this process, on their way to where an operator finds them.
pub(super) struct DeadLetters {
    primary: Arc<GuardedPrimary>,
    cache: Arc<WatchedCache>,
    counters: Arc<Counters>,
    /// Those that neither server has taken yet.
    unsent: Mutex<Vec<DeadLetter>>,
    sending: tokio::sync::Mutex<()>,
}

pub(super) fn letter(commit: &Commit, reason: &str) -> DeadLetter {
    DeadLetter {
        session: commit.session.clone(),
        token: match commit.fence {
            Fence::Owner(token) => token,
            Fence::Shared => 0,
        },
        version: commit.version(),
        reason: reason.to_owned(),
        at: unix_millis(),
        entry: entry::encode(commit),
    }
}

impl DeadLetters {
    pub fn new(primary: Arc<GuardedPrimary>, cache: Arc<WatchedCache>, counters: Arc<Counters>) -> Self {
        Self {
            primary,
            cache,
            counters,
            unsent: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
        }
    }

    /// Those that neither server has taken yet.
    pub fn unsent(&self) -> Vec<DeadLetter> {
        self.unsent.lock().clone()
    }

    /// Keeps commits that can never be applied.
    pub async fn add(&self, commits: impl Iterator<Item = &Commit>, reason: &str) {
        self.keep(commits.map(|commit| letter(commit, reason)).collect());
        self.send().await;
    }

    /// Keeps letters until they are sent.
    pub fn keep(&self, letters: Vec<DeadLetter>) {
        self.counters.failed(letters.len());
        self.unsent.lock().extend(letters);
    }

    /// The same, of what is about to be removed where it is: an error if neither server takes it.
    pub async fn add_for_sure(
        &self,
        session: &SessionId,
        commits: impl Iterator<Item = &Commit>,
        reason: &str,
    ) -> Result<()> {
        self.add(commits, reason).await;
        let kept = |letter: &DeadLetter| letter.session != *session;
        if self.unsent.lock().iter().all(kept) {
            return Ok(());
        }
        let message = "commits that can never be applied could not be kept elsewhere";
        Err(Error::new(Kind::Unavailable, LAYER, message))
    }

    /// Hands them to the cache, or to the primary while that is away; those that neither takes stay here.
    pub async fn send(&self) {
        // One at a time, lest two hand over the same.
        let _turn = self.sending.lock().await;
        loop {
            let Some(letter) = self.unsent.lock().first().cloned() else {
                return;
            };
            let pushed = self.cache.call(|cache| cache.push_dead_letter(&letter)).await;
            if pushed.is_err() {
                let pushed = self
                    .primary
                    .call_unguarded(|primary| primary.push_dead_letter(&letter));
                if pushed.await.is_err() {
                    return;
                }
            }
            self.unsent.lock().retain(|unsent| *unsent != letter);
        }
    }

    /// Those of all processes, the oldest first.
    pub async fn all(&self) -> Result<Vec<DeadLetter>> {
        let (in_cache, in_primary) = tokio::join!(
            self.cache.call_unwatched(Cache::dead_letters),
            self.primary.call_unguarded(Primary::dead_letters)
        );
        let mut letters = in_cache?;
        letters.extend(in_primary?);
        letters.extend(self.unsent());
        letters.sort_by_key(|letter| letter.at);
        // One whose answer was lost was handed over again.
        let mut seen = HashSet::new();
        letters.retain(|letter| seen.insert((letter.session.clone(), letter.token, letter.version)));
        Ok(letters)
    }
}
