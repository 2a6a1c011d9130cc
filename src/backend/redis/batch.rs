//! Many sessions in one script call, by way of [`batcher`](crate::backend::batcher). What is committed, and to which keys,
//! its items say.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::connection::Link;
use super::errors::{at_keys, error, from_script};
use super::scripts::{self, Call};
use crate::backend::Head;
use crate::backend::batcher::{self, BatchSink, Waiting};
use crate::error::{Error, Kind, Result};
use crate::record::Change;
use crate::time::unix_millis;

/// About what a commit takes beside its keys and changes.
const OVERHEAD: usize = 160;

/// One session's part of a call to a script made by [`Call::of_many`].
pub(crate) trait Item: Send + Sync + 'static {
    /// The script.
    fn script(&self) -> &'static Call;

    /// The session's keys; of each item of a script as many.
    fn keys(&self) -> &[String];

    /// The key whose head says that it is committed.
    fn head_key(&self) -> &str;

    /// What the script changes.
    fn changes(&self) -> &[Change];

    /// Whether the server's answer is what acknowledges it, so that replicas must confirm it.
    fn is_acknowledged(&self) -> bool;

    /// The arguments before the changes. `text` is scratch.
    fn write_heading(&self, command: &mut Cmd, now: u64, text: &mut String);

    /// How large the heading is, if it is more than some numbers.
    fn heading_bytes(&self) -> usize {
        0
    }

    /// Where the session is once it is committed.
    fn committed(&self, now: u64) -> Head;

    /// What the script's answer means when it is not that it is done, and no error: a head, mostly.
    fn read_head(&self, head: Vec<u8>) -> Reply;
}

/// What the server said to one commit.
pub(crate) enum Reply {
    /// It is committed.
    Committed(Head),
    /// It was committed when it was sent before, and its answer lost.
    Before(Head),
    /// It is refused; the session's head, empty if there is none.
    Refused(Vec<u8>),
    /// Nothing is known.
    Failed(Error),
}

impl BatchSink for Link {
    type Item = Box<dyn Item>;
    type Answer = Reply;

    const IN_FLIGHT: usize = 2;
    const MOST_ITEMS: usize = 256;
    const MOST_BYTES: usize = 1 << 20;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    fn may_share_a_call(one: &Box<dyn Item>, other: &Box<dyn Item>) -> bool {
        std::ptr::eq(one.script(), other.script()) && one.is_acknowledged() == other.is_acknowledged()
    }

    fn bytes(item: &Box<dyn Item>) -> usize {
        let changes = item
            .changes()
            .iter()
            .map(|change| change.key.as_bytes().len() + change.value.as_ref().map_or(0, Bytes::len) + 32);
        let keys = item.keys().iter().map(String::len);
        changes.chain(keys).sum::<usize>() + item.heading_bytes() + OVERHEAD
    }

    async fn send_batch(&self, items: &[&Box<dyn Item>], deadline: Instant) -> Vec<Reply> {
        let Some(first) = items.first() else {
            return Vec::new();
        };
        let now = unix_millis();
        let arguments = |command: &mut Cmd| {
            command.arg(items.len() * first.keys().len());
            for item in items {
                command.arg(item.keys());
            }
            let mut text = String::with_capacity(96);
            for item in items {
                item.write_heading(command, now, &mut text);
                write_changes(command, item.changes());
            }
        };
        let script = first.script();
        let answered = if first.is_acknowledged() {
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
                    .map(|(answer, item)| read_answer(answer, &***item, now))
                    .collect();
                if self.wants_replicas() && first.is_acknowledged() {
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
        items: &[&<Self as BatchSink>::Item],
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
    pub async fn confirm_heads(&self, keys: &[&str], deadline: Instant) -> Result<()> {
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

/// Commits each of `items`. In a cluster, the keys of one call must be of one session; the calls are pipelined.
pub(crate) async fn commit(link: &Arc<Link>, items: Vec<Box<dyn Item>>, deadline: Instant) -> Vec<Reply> {
    if !link.is_cluster() {
        return batcher::send(link, items, deadline).await;
    }
    let calls = items
        .iter()
        .map(async |item| link.send_batch(&[item], deadline).await);
    futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect()
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

/// Adds an argument, written in `text`.
pub(crate) fn put(command: &mut Cmd, text: &mut String, what: std::fmt::Arguments<'_>) {
    text.clear();
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
    command.arg(text.as_str());
}

fn read_answer(answer: Value, item: &dyn Item, now: u64) -> Reply {
    match answer {
        Value::Int(0) => Reply::Committed(item.committed(now)),
        Value::BulkString(text) => match text.split_first() {
            Some((b'E', error)) => {
                let error = from_script(&String::from_utf8_lossy(error));
                Reply::Failed(at_keys(error, item.keys()))
            }
            _ => item.read_head(text),
        },
        _ => Reply::Failed(error(
            Kind::Internal,
            "the commit script's answer has an unexpected type",
        )),
    }
}
