//! Many sessions in one script call.
//!
//! On a single server, at most [`IN_FLIGHT`] commit calls are on their way at once. Who commits while a place is
//! free sends its commit itself, with no detour; who comes later waits in the [`Queue`]. When a call is answered,
//! the first in the queue gets a [`Turn`] and takes along what else waits. No task of its own is needed, and a
//! caller may give up at any point: a turn that is dropped hands on what it held.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::connection::{Fault, Link};
use super::errors::{error, from_script};
use super::keys::HeadField;
use super::scripts;
use crate::backend::{Commit, Fence, Head, now_millis};
use crate::error::{Error, Kind};

const IN_FLIGHT: usize = 2;
/// A call carries no more than this, unless a single commit does.
const MOST_COMMITS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// A commit with the key of its hash.
pub(super) struct Entry {
    pub key: String,
    pub commit: Commit,
}

impl Entry {
    fn bytes(&self) -> usize {
        let changes = &self.commit.changes;
        let size: usize = changes
            .iter()
            .map(|change| {
                change.key.as_bytes().len() + change.value.as_ref().map_or(0, bytes::Bytes::len) + 32
            })
            .sum();
        size + self.key.len() + 160
    }

    fn is_shared(&self) -> bool {
        self.commit.fence == Fence::Shared
    }
}

/// What the server said to one commit.
pub(super) enum Reply {
    /// It is committed.
    Committed(Head),
    /// It is refused; the session's head, empty if there is none.
    Refused(Vec<u8>),
    /// Nothing is known.
    Failed(Error),
}

/// Commits of one kind that belong together, and who waits for them.
struct Unit {
    entries: Vec<Entry>,
    bytes: usize,
    shared: bool,
    waiter: oneshot::Sender<Message>,
}

enum Message {
    Answer(Vec<Reply>),
    Lead(Turn),
}

/// Commits that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Unit>,
    in_flight: usize,
    /// How many commits the last call carried.
    last: usize,
}

/// A place among the calls in flight.
struct Turn {
    link: Arc<Link>,
    entries: Vec<Entry>,
    bytes: usize,
    others: Vec<Unit>,
}

/// Commits each of `entries`, which are all of owners or all without.
pub(super) async fn commit(link: &Arc<Link>, entries: Vec<Entry>, deadline: Instant) -> Vec<Reply> {
    let mut units = split(entries);
    if units.len() == 1 {
        let (entries, bytes) = units.pop().unwrap_or_default();
        return submit(link, entries, bytes, deadline).await;
    }
    let calls = units
        .into_iter()
        .map(|(entries, bytes)| submit(link, entries, bytes, deadline));
    futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// One call, with no regard to others in flight.
pub(super) async fn call(link: &Link, entries: &[&Entry], deadline: Instant) -> Vec<Reply> {
    let now = now_millis();
    let shared = entries.first().is_some_and(|entry| entry.is_shared());
    let script = if shared { &scripts::MERGE } else { &scripts::COMMIT };
    let arguments = |command: &mut Cmd| {
        command.arg(entries.len());
        for entry in entries {
            command.arg(&entry.key);
        }
        let mut text = String::with_capacity(96);
        for entry in entries {
            write_commit(command, &entry.commit, now, &mut text);
        }
    };
    match script.run(link, deadline, arguments).await {
        Ok(Value::Array(answers)) if answers.len() == entries.len() => {
            let replies = answers.into_iter().zip(entries);
            replies
                .map(|(answer, entry)| read_answer(answer, &entry.commit, now))
                .collect()
        }
        Ok(_) => failed(
            entries.len(),
            &error(
                Kind::Internal,
                "the commit script's answer has an unexpected shape",
            ),
        ),
        Err(fault) => failed(entries.len(), &Error::from(fault)),
    }
}

fn split(entries: Vec<Entry>) -> Vec<(Vec<Entry>, usize)> {
    let mut units: Vec<(Vec<Entry>, usize)> = Vec::new();
    for entry in entries {
        let size = entry.bytes();
        match units.last_mut() {
            Some((unit, bytes)) if unit.len() < MOST_COMMITS && *bytes + size <= MOST_BYTES => {
                unit.push(entry);
                *bytes += size;
            }
            _ => units.push((vec![entry], size)),
        }
    }
    units
}

async fn submit(link: &Arc<Link>, entries: Vec<Entry>, bytes: usize, deadline: Instant) -> Vec<Reply> {
    let count = entries.len();
    let (turn, answer) = {
        let mut queue = link.queue.lock();
        if queue.in_flight < IN_FLIGHT {
            queue.in_flight += 1;
            (
                Some(Turn {
                    link: link.clone(),
                    entries,
                    bytes,
                    others: Vec::new(),
                }),
                None,
            )
        } else {
            let (waiter, answer) = oneshot::channel();
            let shared = entries.first().is_some_and(Entry::is_shared);
            queue.waiting.push_back(Unit {
                entries,
                bytes,
                shared,
                waiter,
            });
            (None, Some(answer))
        }
    };
    if let Some(turn) = turn {
        return turn.run(deadline).await;
    }
    let message = match answer {
        Some(answer) => timeout_at(deadline, answer).await,
        None => unreachable!("who has no turn waits"),
    };
    match message {
        Ok(Ok(Message::Answer(replies))) => replies,
        Ok(Ok(Message::Lead(turn))) => turn.run(deadline).await,
        Ok(Err(_)) => failed(count, &error(Kind::Unavailable, "the commit was interrupted")),
        Err(_) => failed(count, &Fault::Timeout.into()),
    }
}

fn failed(count: usize, error: &Error) -> Vec<Reply> {
    (0..count).map(|_| Reply::Failed(error.clone())).collect()
}

impl Turn {
    async fn run(mut self, deadline: Instant) -> Vec<Reply> {
        let busy = {
            let queue = self.link.queue.lock();
            queue.in_flight > 1 || queue.last > 1
        };
        if busy {
            // Those whose answers came with the last call are about to commit again: let them come along.
            tokio::task::yield_now().await;
        }
        self.gather();
        let all: Vec<&Entry> = self
            .entries
            .iter()
            .chain(self.others.iter().flat_map(|unit| &unit.entries))
            .collect();
        let mut replies = call(&self.link, &all, deadline).await.into_iter();
        let own = replies.by_ref().take(self.entries.len()).collect();
        for unit in self.others.drain(..) {
            let answer = replies.by_ref().take(unit.entries.len()).collect();
            // Whoever gave up meanwhile does not want to know.
            let _ = unit.waiter.send(Message::Answer(answer));
        }
        own
    }

    /// Takes along what waits, as far as it fits.
    fn gather(&mut self) {
        let mut queue = self.link.queue.lock();
        let shared = self.entries.first().is_some_and(Entry::is_shared);
        let mut count = self.entries.len() + self.others.iter().map(|unit| unit.entries.len()).sum::<usize>();
        while let Some(unit) = queue.waiting.front() {
            let fits = count + unit.entries.len() <= MOST_COMMITS && self.bytes + unit.bytes <= MOST_BYTES;
            if unit.shared != shared || !fits {
                break;
            }
            let Some(unit) = queue.waiting.pop_front() else {
                break;
            };
            if unit.waiter.is_closed() {
                continue;
            }
            count += unit.entries.len();
            self.bytes += unit.bytes;
            self.others.push(unit);
        }
        queue.last = count;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.link.queue.lock();
        // Those who came along go on without us. If the call was sent already, theirs is sent twice, which is safe.
        for unit in self.others.drain(..).rev() {
            queue.waiting.push_front(unit);
        }
        queue.in_flight -= 1;
        // The place goes to the first that still wants it.
        while queue.in_flight < IN_FLIGHT {
            let Some(unit) = queue.waiting.pop_front() else {
                break;
            };
            if unit.waiter.is_closed() {
                continue;
            }
            queue.in_flight += 1;
            let turn = Turn {
                link: self.link.clone(),
                entries: unit.entries,
                bytes: unit.bytes,
                others: Vec::new(),
            };
            // If it gives up at this very moment, dropping the turn needs the lock.
            drop(queue);
            drop(unit.waiter.send(Message::Lead(turn)));
            queue = self.link.queue.lock();
        }
    }
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
            command.arg(commit.patches);
            put(command, text, format_args!("{:016x}", commit.id));
            command.arg(now);
        }
    }
    let puts = commit
        .changes
        .iter()
        .filter(|change| change.value.is_some())
        .count();
    command.arg(ttl).arg(2 * puts).arg(commit.changes.len() - puts);
    for change in &commit.changes {
        if let Some(value) = &change.value {
            command.arg(change.key.as_bytes()).arg(&value[..]);
        }
    }
    for change in &commit.changes {
        if change.value.is_none() {
            command.arg(change.key.as_bytes());
        }
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

fn read_answer(answer: Value, commit: &Commit, now: u64) -> Reply {
    match answer {
        Value::Int(0) => Reply::Committed(Head {
            version: commit.version(),
            updated_at: now,
        }),
        Value::BulkString(text) => match text.split_first() {
            Some((b'E', error)) => Reply::Failed(from_script(&String::from_utf8_lossy(error))),
            Some((b'+', head)) => match parse_merged(head) {
                Some(head) => Reply::Committed(head),
                None => Reply::Failed(error(Kind::Internal, "the merge script's answer cannot be read")),
            },
            _ => match (commit.fence, HeadField::parse(&text)) {
                // The answer was lost and the commit sent again.
                (Fence::Owner(token), Some(head))
                    if (head.token, head.version, head.commit) == (token, commit.version(), commit.id) =>
                {
                    Reply::Committed(head.head())
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
