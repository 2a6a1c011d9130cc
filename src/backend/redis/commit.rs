//! Commits: which of them share a call.

use futures_util::future::join_all;
use redis::Cmd;
use tokio::time::Instant;

use super::answers::corrupt_head;
use super::backend::RedisBackend;
use super::batch::{self, Item, Reply, put};
use super::errors::{LAYER, error};
use super::keys::HeadField;
use super::scripts::{self, Call, milliseconds};
use crate::backend::{Commit, Fence, Head, Seen, SessionId, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::record::Change;

/// A commit with the key of its hash.
struct Entry {
    keys: [String; 1],
    commit: Commit,
}

impl Item for Entry {
    fn script(&self) -> &'static Call {
        match self.commit.fence {
            Fence::Shared => &scripts::MERGE,
            Fence::Owner(_) => &scripts::COMMIT,
        }
    }

    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn head_key(&self) -> &str {
        &self.keys[0]
    }

    fn changes(&self) -> &[Change] {
        &self.commit.changes
    }

    fn is_acknowledged(&self) -> bool {
        true
    }

    fn write_heading(&self, command: &mut Cmd, now: u64, text: &mut String) {
        let commit = &self.commit;
        let ttl = milliseconds(commit.ttl);
        match commit.fence {
            Fence::Owner(token) => {
                put(command, text, format_args!("{token}:{}:", commit.base));
                let flag = if ttl == 0 { '-' } else { 't' };
                put(
                    command,
                    text,
                    format_args!("{token}:{}:{:016x}:{flag}:{now}:", commit.version(), commit.id),
                );
            }
            Fence::Shared => {
                if commit.expected {
                    command.arg(commit.base);
                } else {
                    command.arg("");
                }
                command.arg(commit.base).arg(commit.patches);
                put(command, text, format_args!("{:016x}", commit.id));
                command.arg(now);
            }
        }
        command.arg(ttl);
    }

    fn committed(&self, now: u64) -> Head {
        Head {
            version: self.commit.version(),
            updated_at: now,
        }
    }

    fn read_head(&self, text: Vec<u8>) -> Reply {
        if let Some((sign @ (b'+' | b'='), head)) = text.split_first() {
            return match parse_merged(head) {
                Some(head) if *sign == b'+' => Reply::Committed(head),
                Some(head) => Reply::Before(head),
                None => Reply::Failed(error(Kind::Internal, "the merge script's answer cannot be read")),
            };
        }
        match (self.commit.fence, HeadField::parse(&text)) {
            // The answer was lost and the commit sent again.
            (Fence::Owner(token), Some(head))
                if (head.token, head.version, head.commit)
                    == (token, self.commit.version(), self.commit.id) =>
            {
                Reply::Before(head.head())
            }
            _ => Reply::Refused(text),
        }
    }
}

fn parse_merged(text: &[u8]) -> Option<Head> {
    let (version, updated_at) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Head {
        version: version.parse().ok()?,
        updated_at: updated_at.parse().ok()?,
    })
}

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
                keys: [self.keys.hash(&commit.session)],
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
        let items = entries
            .into_iter()
            .map(|entry| Box::new(entry) as Box<dyn Item>)
            .collect();
        let replies = batch::commit(&self.client.commits, items, deadline).await;
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
