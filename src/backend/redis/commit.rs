//! Commits: which of them share a call.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::answers::corrupt_head;
use super::backend::RedisBackend;
use super::batch::{self, Entry, Item, Reply};
use super::errors::LAYER;
use super::keys::HeadField;
use crate::backend::{Commit, Fence, Head, Seen, SessionId, version_mismatch};
use crate::error::{Error, Result};

impl RedisBackend {
    /// Commits each of them by itself; one answer for each, in order.
    pub(super) async fn commit_by(&self, commits: Vec<Commit>, deadline: Instant) -> Vec<Result<Head>> {
        let is_shared = |commit: &Commit| commit.fence == Fence::Shared;
        let mixed = commits
            .windows(2)
            .any(|pair| is_shared(&pair[0]) != is_shared(&pair[1]));
        let entries = commits
            .into_iter()
            .map(|commit| Entry {
                key: self.keys.hash(&commit.session),
                commit,
            })
            .collect::<Vec<_>>();
        if !mixed {
            return self.commit_kind(entries, deadline).await;
        }
        let order: Vec<bool> = entries.iter().map(|entry| is_shared(&entry.commit)).collect();
        let (shared, owned): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| is_shared(&entry.commit));
        let (shared, owned) = tokio::join!(
            self.commit_kind(shared, deadline),
            self.commit_kind(owned, deadline)
        );
        let (mut shared, mut owned) = (shared.into_iter(), owned.into_iter());
        let of_kind = |is_shared| if is_shared { shared.next() } else { owned.next() };
        order.into_iter().filter_map(of_kind).collect()
    }

    async fn commit_kind(&self, entries: Vec<Entry>, deadline: Instant) -> Vec<Result<Head>> {
        // The script consumes what is needed to explain a refusal, so that is kept aside.
        let facts: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    entry.commit.session.clone(),
                    Seen {
                        fence: entry.commit.fence,
                        version: entry.commit.base,
                    },
                    entry.commit.expected,
                )
            })
            .collect();
        let items = entries.into_iter().map(Item::Commit).collect();
        let replies = batch::commit(&self.commits, items, deadline).await;
        let results = replies
            .into_iter()
            .zip(facts)
            .map(async |(reply, (session, seen, expected))| match reply {
                Reply::Committed(head) | Reply::Before(head) => Ok(head),
                Reply::Failed(error) => Err(error.in_session(&session)),
                Reply::Refused(head) if expected => Err(mismatch(&session, seen.version, &head)),
                Reply::Refused(head) => Err(self.explain(&session, seen, &head, deadline).await),
            });
        join_all(results).await
    }
}

/// The refusal of a commit that expected version `expected` of a session whose head is `head`.
fn mismatch(session: &SessionId, expected: u64, head: &[u8]) -> Error {
    let error = match HeadField::parse(head) {
        None if !head.is_empty() => corrupt_head(),
        found => version_mismatch(LAYER, expected, found.map_or(0, |head| head.version)),
    };
    error.in_session(session)
}
