//! Many sessions in one script call, by way of [`gather`](crate::backend::gather).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::connection::Link;
use super::errors::{at_keys, error, from_script};
use super::hot::Mark;
use super::keys::HeadField;
use super::scripts::{self, Call};
use crate::backend::gather::{self, Carrier, Waiting};
use crate::backend::{Commit, Fence, Head, now_millis};
use crate::error::{Error, Kind, Result};
use crate::record::Change;

/// A commit with the key of its hash.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: String,
    pub commit: Commit,
}

/// A commit to a hot copy, with its keys.
pub(super) struct HotCommit {
    pub hot: String,
    pub outbox: String,
    pub base: u64,
    pub mark: Mark,
    pub changes: Vec<Change>,
    /// What the outbox gets.
    pub entry: Option<Bytes>,
    pub ttl: Option<Duration>,
}

/// What a script call carries; all of it of one kind.
pub(super) enum Item {
    Commit(Entry),
    Hot(HotCommit),
}

/// What the server said to one commit.
pub(super) enum Reply {
    /// It is committed.
    Committed(Head),
    /// It was committed when it was sent before, and its answer lost.
    Before(Head),
    /// It is refused; the session's head, empty if there is none.
    Refused(Vec<u8>),
    /// Nothing is known.
    Failed(Error),
}

impl Item {
    fn changes(&self) -> &[Change] {
        match self {
            Self::Commit(entry) => &entry.commit.changes,
            Self::Hot(commit) => &commit.changes,
        }
    }

    fn script(&self) -> &'static Call {
        match self {
            Self::Commit(entry) if entry.commit.fence == Fence::Shared => &scripts::MERGE,
            Self::Commit(_) => &scripts::COMMIT,
            Self::Hot(_) => &scripts::HOT_COMMIT,
        }
    }

    fn write_keys(&self, command: &mut Cmd) {
        match self {
            Self::Commit(entry) => command.arg(&entry.key),
            Self::Hot(commit) => command.arg(&commit.hot).arg(&commit.outbox),
        };
    }

    /// Keys of one item.
    fn keys(&self) -> usize {
        match self {
            Self::Commit(_) => 1,
            Self::Hot(_) => 2,
        }
    }

    fn read_answer(&self, answer: Value, now: u64) -> Reply {
        match self {
            Self::Commit(entry) => read_answer(answer, entry, now),
            Self::Hot(commit) => read_hot_answer(answer, commit),
        }
    }

    /// Whether the server alone acknowledges it.
    fn acknowledges(&self) -> bool {
        match self {
            Self::Commit(_) => true,
            Self::Hot(commit) => commit.entry.is_some(),
        }
    }

    /// The key whose head says that it is committed.
    fn head_key(&self) -> &str {
        match self {
            Self::Commit(entry) => &entry.key,
            Self::Hot(commit) => &commit.outbox,
        }
    }
}

impl Carrier for Link {
    type Item = Item;
    type Answer = Reply;

    const IN_FLIGHT: usize = 2;
    const MOST_ITEMS: usize = 256;
    const MOST_BYTES: usize = 1 << 20;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    fn kind(item: &Item) -> u8 {
        match item {
            Item::Commit(entry) => u8::from(entry.commit.fence == Fence::Shared),
            Item::Hot(commit) => 2 + u8::from(commit.entry.is_some()),
        }
    }

    fn bytes(item: &Item) -> usize {
        let size: usize = item
            .changes()
            .iter()
            .map(|change| change.key.as_bytes().len() + change.value.as_ref().map_or(0, Bytes::len) + 32)
            .sum();
        let rest = match item {
            Item::Commit(entry) => entry.key.len(),
            Item::Hot(commit) => 2 * commit.hot.len() + commit.entry.as_ref().map_or(0, Bytes::len),
        };
        size + rest + 160
    }

    async fn carry(&self, items: &[&Item], deadline: Instant) -> Vec<Reply> {
        let Some(first) = items.first() else {
            return Vec::new();
        };
        let now = now_millis();
        let arguments = |command: &mut Cmd| {
            command.arg(items.len() * first.keys());
            for item in items {
                item.write_keys(command);
            }
            let mut text = String::with_capacity(96);
            for item in items {
                match item {
                    Item::Commit(entry) => write_commit(command, &entry.commit, now, &mut text),
                    Item::Hot(commit) => write_hot_commit(command, commit, &mut text),
                }
            }
        };
        let script = first.script();
        let answered = if first.acknowledges() {
            script.run_confirmed(self, deadline, arguments).await
        } else {
            script
                .run(self, deadline, arguments)
                .await
                .map(|answer| (answer, None))
        };
        match answered {
            Ok((Value::Array(answers), unconfirmed)) if answers.len() == items.len() => {
                let replies = answers.into_iter().zip(items);
                let mut replies: Vec<_> = replies
                    .map(|(answer, item)| item.read_answer(answer, now))
                    .collect();
                if self.wants_replicas() && first.acknowledges() {
                    self.confirm(items, &mut replies, unconfirmed, deadline).await;
                }
                replies
            }
            Ok(_) => failed(
                items.len(),
                &error(
                    Kind::Internal,
                    "the commit script's answer has an unexpected shape",
                ),
            ),
            Err(fault) => failed(items.len(), &Error::from(fault)),
        }
    }

    fn timed_out() -> Reply {
        let text = "earlier commits took too long; this one was not sent";
        Reply::Failed(error(Kind::Timeout, text))
    }

    fn interrupted() -> Reply {
        Reply::Failed(error(Kind::Unavailable, "the commit was interrupted"))
    }
}

impl Link {
    /// Takes what replicas did not confirm out of `replies`. What was committed before is not covered by the answer to a
    /// call that wrote nothing, perhaps on another connection.
    async fn confirm(
        &self,
        items: &[&Item],
        replies: &mut [Reply],
        unconfirmed: Option<Error>,
        deadline: Instant,
    ) {
        let before: Vec<_> = (0..items.len())
            .filter(|&at| matches!(replies[at], Reply::Before(_)))
            .collect();
        let mut again = None;
        if !before.is_empty() {
            let keys: Vec<_> = before.iter().map(|&at| items[at].head_key()).collect();
            again = self.confirm_heads(&keys, deadline).await.err();
        }
        for reply in replies {
            let error = match reply {
                Reply::Committed(_) => &unconfirmed,
                Reply::Before(_) => &again,
                _ => continue,
            };
            if let Some(error) = error {
                *reply = Reply::Failed(error.clone());
            }
        }
    }

    /// Fails unless as many replicas as must have what stands in the heads of these hashes.
    pub(super) async fn confirm_heads(&self, keys: &[&str], deadline: Instant) -> Result<()> {
        let confirmed = scripts::CONFIRM.run_confirmed(self, deadline, |command| {
            command.arg(keys.len()).arg(keys);
        });
        match confirmed.await? {
            (_, Some(unconfirmed)) => Err(unconfirmed),
            (_, None) => Ok(()),
        }
    }
}

fn failed(count: usize, error: &Error) -> Vec<Reply> {
    (0..count).map(|_| Reply::Failed(error.clone())).collect()
}

/// Commits each of `items`, which are all of one kind. In a cluster, the keys of one call must be of one session;
/// the calls are pipelined.
pub(super) async fn commit(link: &Arc<Link>, items: Vec<Item>, deadline: Instant) -> Vec<Reply> {
    if !link.is_cluster() {
        return gather::carry(link, items, deadline).await;
    }
    let calls = items.iter().map(async |item| link.carry(&[item], deadline).await);
    futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect()
}

fn write_commit(command: &mut Cmd, commit: &Commit, now: u64, text: &mut String) {
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
    write_changes(command, &commit.changes);
}

fn write_hot_commit(command: &mut Cmd, commit: &HotCommit, text: &mut String) {
    put(
        command,
        text,
        format_args!("{}:{}:", commit.mark.token, commit.base),
    );
    put(command, text, format_args!("{}", commit.mark));
    command.arg(milliseconds(commit.ttl));
    match &commit.entry {
        Some(entry) => command.arg(commit.mark.version).arg(&entry[..]),
        None => command.arg("").arg(""),
    };
    write_changes(command, &commit.changes);
}

/// Twice the number of puts, the number of deletes; fields and values; deleted fields.
fn write_changes(command: &mut Cmd, changes: &[Change]) {
    let puts = changes.iter().filter(|change| change.value.is_some()).count();
    command.arg(2 * puts).arg(changes.len() - puts);
    for change in changes {
        if let Some(value) = &change.value {
            command.arg(change.key.as_bytes()).arg(&value[..]);
        }
    }
    for change in changes.iter().filter(|change| change.value.is_none()) {
        command.arg(change.key.as_bytes());
    }
}

fn put(command: &mut Cmd, text: &mut String, what: std::fmt::Arguments<'_>) {
    text.clear();
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
    command.arg(text.as_str());
}

/// A time to live as the scripts want it: 0 is for ever.
pub(super) fn milliseconds(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| {
        u64::try_from(ttl.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 52)
    })
}

fn read_answer(answer: Value, Entry { key, commit, .. }: &Entry, now: u64) -> Reply {
    match answer {
        Value::Int(0) => Reply::Committed(Head {
            version: commit.version(),
            updated_at: now,
        }),
        Value::BulkString(text) => match text.split_first() {
            Some((b'E', error)) => {
                let error = from_script(&String::from_utf8_lossy(error));
                Reply::Failed(at_keys(error, std::slice::from_ref(key)))
            }
            Some((sign @ (b'+' | b'='), head)) => match parse_merged(head) {
                Some(head) if *sign == b'+' => Reply::Committed(head),
                Some(head) => Reply::Before(head),
                None => Reply::Failed(error(Kind::Internal, "the merge script's answer cannot be read")),
            },
            _ => match (commit.fence, HeadField::parse(&text)) {
                // The answer was lost and the commit sent again.
                (Fence::Owner(token), Some(head))
                    if (head.token, head.version, head.commit) == (token, commit.version(), commit.id) =>
                {
                    Reply::Before(head.head())
                }
                _ => Reply::Refused(text),
            },
        },
        _ => Reply::Failed(error(
            Kind::Internal,
            "the commit script's answer has an unexpected type",
        )),
    }
}

fn read_hot_answer(answer: Value, commit: &HotCommit) -> Reply {
    match answer {
        Value::Int(0) => Reply::Committed(Head {
            version: commit.mark.version,
            updated_at: commit.mark.updated_at,
        }),
        Value::BulkString(text) => match text.split_first() {
            Some((b'E', error)) => {
                let error = from_script(&String::from_utf8_lossy(error));
                Reply::Failed(at_keys(error, &[commit.hot.clone(), commit.outbox.clone()]))
            }
            _ => match Mark::parse(&text) {
                // The answer was lost and the commit sent again.
                Ok(Some(found)) if found.token == commit.mark.token && found.same_commit(&commit.mark) => {
                    Reply::Before(Head {
                        version: found.version,
                        updated_at: found.updated_at,
                    })
                }
                _ => Reply::Refused(text),
            },
        },
        _ => Reply::Failed(error(
            Kind::Internal,
            "the commit script's answer has an unexpected type",
        )),
    }
}

fn parse_merged(text: &[u8]) -> Option<Head> {
    let (version, updated_at) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Head {
        version: version.parse().ok()?,
        updated_at: updated_at.parse().ok()?,
    })
}
