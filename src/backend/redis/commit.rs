//! Commits: which of them share a call, and what a refusal means.

use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::{corrupt_head, fenced, parse_lease};
use super::backend::RedisBackend;
use super::batch::{self, Entry, Item, Reply};
use super::errors::{LAYER, error};
use super::keys::HeadField;
use crate::backend::{Commit, Fence, Head, SessionId, version_mismatch};
use crate::error::{Error, Kind, Result};

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
                apart: false,
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
                    entry.commit.fence,
                    entry.commit.base,
                )
            })
            .collect();
        let deletions: Vec<_> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.commit.changes.iter().all(|change| change.value.is_none()))
            .map(|(at, entry)| (at, entry.clone()))
            .collect();
        let items = entries.into_iter().map(Item::Commit).collect();
        let mut replies = batch::commit(&self.link, items, deadline).await;
        self.delete_apart(&mut replies, deletions, deadline).await;
        let results =
            replies
                .into_iter()
                .zip(facts)
                .map(async |(reply, (session, fence, base))| match reply {
                    Reply::Committed(head) => Ok(head),
                    Reply::Failed(error) => Err(error.in_session(&session)),
                    Reply::Refused(head) => Err(self.explain(&session, fence, base, &head, deadline).await),
                });
        join_all(results).await
    }

    /// A server that is out of memory refuses a whole script for one commit that needs some; what only deletes is let
    /// through by itself.
    async fn delete_apart(
        &self,
        replies: &mut [Reply],
        mut deletions: Vec<(usize, Entry)>,
        deadline: Instant,
    ) {
        deletions.retain(
            |(at, _)| matches!(&replies[*at], Reply::Failed(error) if error.kind() == Kind::StorageFull),
        );
        if deletions.is_empty() {
            return;
        }
        let (places, items): (Vec<_>, Vec<_>) = deletions
            .into_iter()
            .map(|(at, entry)| (at, Item::Commit(Entry { apart: true, ..entry })))
            .unzip();
        let again = batch::commit(&self.link, items, deadline).await;
        for (at, reply) in places.into_iter().zip(again) {
            replies[at] = reply;
        }
    }

    /// Why a commit that builds on `base` was refused by a session whose head is `head`.
    async fn explain(
        &self,
        session: &SessionId,
        fence: Fence,
        base: u64,
        head: &[u8],
        deadline: Instant,
    ) -> Error {
        let lost = || {
            error(
                Kind::SessionLost,
                "Redis no longer holds what this owner has written",
            )
        };
        let mismatch = |found: u64| version_mismatch(LAYER, base, found);
        let error = match (fence, HeadField::parse(head)) {
            (_, None) if !head.is_empty() => corrupt_head(),
            (Fence::Shared, found) => mismatch(found.map_or(0, |head| head.version)),
            (Fence::Owner(_), None) if base == 0 => fenced(None),
            (Fence::Owner(token), None) => {
                // Gone with its token. If there is another owner, it deleted or replaced the session.
                match self
                    .link
                    .send(cmd("GET").arg(self.keys.lease(session)), deadline)
                    .await
                {
                    Ok(Value::BulkString(lease)) => match parse_lease(&lease) {
                        Some((holder, _)) if holder != token => fenced(Some(holder)),
                        _ => lost(),
                    },
                    Ok(_) => lost(),
                    Err(fault) => fault.into(),
                }
            }
            (Fence::Owner(token), Some(head)) if head.token > token => fenced(Some(head.token)),
            // An older owner's token came back: the server was restored from an old copy.
            (Fence::Owner(token), Some(head)) if head.token < token && head.version < base => lost(),
            (Fence::Owner(token), Some(head)) if head.token < token => fenced(Some(head.token)),
            (Fence::Owner(_), Some(head)) => mismatch(head.version),
        };
        error.in_session(session)
    }
}
