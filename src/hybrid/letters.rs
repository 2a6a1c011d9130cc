//! Dead letters: commits that were acknowledged and can never be applied.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::state::Core;
use super::stats::DeadLetter;
use super::{LAYER, entry};
use crate::backend::{Commit, Fence, Letter, SessionId, now_millis};
use crate::error::{Error, Kind, Result};

impl Core {
    /// Keeps commits that can never be applied.
    pub async fn add_letters(&self, commits: impl Iterator<Item = &Commit>, reason: &str) {
        let letters: Vec<_> = commits.map(|commit| Self::letter(commit, reason)).collect();
        self.counters
            .failed
            .fetch_add(letters.len() as u64, Ordering::Relaxed);
        self.unsent_letters.lock().extend(letters);
        self.send_letters().await;
    }

    pub fn letter(commit: &Commit, reason: &str) -> Letter {
        Letter {
            session: commit.session.clone(),
            token: match commit.fence {
                Fence::Owner(token) => token,
                Fence::Shared => 0,
            },
            version: commit.version(),
            reason: reason.to_owned(),
            at: now_millis(),
            entry: entry::encode(commit),
        }
    }

    /// The same, of what is about to be removed where it stands: an error if neither server takes it.
    pub async fn move_to_letters(
        &self,
        session: &SessionId,
        commits: impl Iterator<Item = &Commit>,
        reason: &str,
    ) -> Result<()> {
        self.add_letters(commits, reason).await;
        let kept = |letter: &Letter| letter.session != *session;
        if self.unsent_letters.lock().iter().all(kept) {
            return Ok(());
        }
        let message = "commits that can never be applied could not be kept elsewhere";
        Err(Error::new(Kind::Unavailable, LAYER, message))
    }

    /// Hands dead letters to Redis, or to MongoDB while that is away; those that neither takes stay here.
    pub async fn send_letters(&self) {
        // One at a time, lest two hand over the same.
        let _turn = self.sending_letters.lock().await;
        loop {
            let Some(letter) = self.unsent_letters.lock().first().cloned() else {
                return;
            };
            if self.hot(self.redis.bury(&letter)).await.is_err()
                && self.probe(self.mongo.bury(&letter)).await.is_err()
            {
                return;
            }
            self.unsent_letters.lock().retain(|unsent| *unsent != letter);
        }
    }

    /// All dead letters, the oldest first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let (in_redis, in_mongo) = tokio::join!(self.redis.letters(), self.probe(self.mongo.letters()));
        let mut letters = in_redis?;
        letters.extend(in_mongo?);
        letters.extend(self.unsent_letters.lock().iter().cloned());
        letters.sort_by_key(|letter| letter.at);
        // One whose answer was lost was handed over again.
        let mut seen = HashSet::new();
        letters.retain(|letter| seen.insert((letter.session.clone(), letter.token, letter.version)));
        let shown = letters.into_iter().map(|letter| DeadLetter {
            session: letter.session,
            version: letter.version,
            reason: letter.reason,
            at: letter.at,
        });
        Ok(shown.collect())
    }
}
