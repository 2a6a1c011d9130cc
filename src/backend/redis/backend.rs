//! Joins the connection and the scripts to the trait.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Value, cmd};

use super::answers::{
    GONE, corrupt_head, read_acquired, read_done, read_page, read_scan, record, unexpected,
};
use super::client::Client;
use super::config::{RedisConfig, parse_address};
use super::errors::{LAYER, at_keys, error, from_script};
use super::keys::{HEAD, HeadField, Keys, glob_escape, is_own_field};
use super::large::{self, Shrinking};
use super::scripts::milliseconds;
use super::{held, key_ages, scripts};
use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page, Renewal, Seen,
    SessionId, Token, fenced, session_lost,
};
use crate::error::{Error, Kind, Result};
use crate::record::{KeyId, RecordKey};

/// How long a caller's own fencing token outlives the deleted session it belonged to.
const CLAIM_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Answer of `delete.lua`: the session is not as it was seen.
const CHANGED_SINCE: i64 = 2;

/// Sessions in Redis or Valkey: one server, behind sentinels, or a cluster.
pub struct RedisBackend {
    pub(super) client: Client,
    pub(super) keys: Keys,
}

impl RedisBackend {
    /// What `@` holds.
    async fn head_field(&self, session: &SessionId) -> Result<Option<Vec<u8>>> {
        let command = cmd("HGET").arg(self.keys.hash(session)).arg(HEAD).to_owned();
        let answer = self.client.send(&command).await;
        match answer.map_err(|error| self.about(session, error))? {
            Value::Nil => Ok(None),
            Value::BulkString(head) => Ok(Some(head)),
            _ => Err(unexpected()),
        }
    }

    /// Checks the options; connects when it is first used.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self {
            client: Client::new(config)?,
            keys: Keys::new(&config.prefix),
        })
    }

    /// What an operator should know about the server when it holds the only copy: that it may evict keys, or
    /// does not write them to disk. One sentence each.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        let keys = self.keys.proof("");
        let (warnings, ()) = tokio::try_join!(self.client.warnings(), self.client.prove(&keys, &[]))?;
        Ok(warnings)
    }

    /// Adds to an error which session it is about and, if a key holds something foreign, which key.
    fn about(&self, session: &SessionId, found: Error) -> Error {
        at_keys(found, &[self.keys.hash(session), self.keys.lease(session)]).in_session(session)
    }

    async fn renew_some(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let answer = match self.client.begin() {
            Ok(_) => self
                .client
                .renewals
                .run(&scripts::RENEW, lease, |command| {
                    command.arg(2 * leases.len());
                    for Renewal { session, .. } in leases {
                        command.arg(self.keys.hash(session)).arg(self.keys.lease(session));
                    }
                    command.arg(milliseconds(Some(lease)));
                    for renewal in leases {
                        command.arg(renewal.token).arg(renewal.version);
                    }
                })
                .await
                .map_err(Error::from),
            Err(error) => Err(error),
        };
        let answers = match answer {
            Ok(Value::Array(answers)) if answers.len() == leases.len() => answers,
            Ok(_) => return leases.iter().map(|_| Err(unexpected())).collect(),
            Err(error) => {
                return leases
                    .iter()
                    .map(|renewal| Err(error.clone().in_session(&renewal.session)))
                    .collect();
            }
        };
        let results = answers
            .into_iter()
            .zip(leases)
            .map(|(answer, Renewal { session, version, .. })| match answer {
                Value::Int(0) => Ok(()),
                Value::Int(1) => Err(fenced(LAYER, None).in_session(session)),
                Value::BulkString(text) if text.first() == Some(&b'E') => {
                    let found = from_script(&String::from_utf8_lossy(&text[1..]));
                    Err(self.about(session, found))
                }
                _ => Err(session_lost(LAYER, GONE, Some(*version), 0).in_session(session)),
            });
        results.collect()
    }
}

#[async_trait]
impl Backend for RedisBackend {
    fn name(&self) -> &'static str {
        LAYER
    }

    fn part_of(&self, session: &SessionId) -> usize {
        self.client.link.part_of(&self.keys.hash(session))
    }

    /// A call carries many sessions; one more waits than the connection takes at once.
    fn commit_policy(&self) -> CommitPolicy {
        if self.client.link.is_cluster() {
            // A node that hangs keeps its own sessions waiting, however many those are.
            return CommitPolicy {
                sessions: 1,
                in_flight: usize::MAX,
            };
        }
        CommitPolicy {
            sessions: 256,
            in_flight: 3,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.client.send(&cmd("PING")).await.map(|_| ())
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let deadline = self.client.begin()?;
        let session = &request.session;
        let owner = serde_json::to_vec(&request.owner)
            .map_err(|cause| error(Kind::Internal, "the owner cannot be written").because(&cause))?;
        let request_id = getrandom::u64()
            .map_err(|cause| error(Kind::Internal, "the system has no randomness").because(&cause))?;
        let request_id = format!("{request_id:016x}");
        let number = |token: Option<Token>| token.map(|token| token.to_string()).unwrap_or_default();
        let answer = scripts::ACQUIRE
            .run(&self.client.link, deadline, |command| {
                command
                    .arg(2)
                    .arg(self.keys.hash(session))
                    .arg(self.keys.lease(session));
                command
                    .arg(&request_id)
                    .arg(&owner)
                    .arg(milliseconds(Some(request.lease)));
                command
                    .arg(number(request.client_token))
                    .arg(number(request.preempt));
                for key in &request.read {
                    command.arg(key.as_bytes());
                }
            })
            .await
            .map_err(|fault| self.about(session, fault.into()))?;
        read_acquired(answer, &request).map_err(|error| error.in_session(session))
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let leases: Vec<_> = leases
            .iter()
            .map(|(session, token)| (self.keys.lease(session), *token))
            .collect();
        held::held(&self.client.link, &leases, self.client.begin()?).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let calls = leases
            .chunks(self.client.renewed_at_once())
            .map(|some| self.renew_some(some, lease));
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        let deadline = self.client.begin()?;
        scripts::RELEASE
            .run(&self.client.link, deadline, |command| {
                command
                    .arg(2)
                    .arg(self.keys.hash(session))
                    .arg(self.keys.lease(session));
                command.arg(token).arg(milliseconds(Some(CLAIM_MEMORY)));
            })
            .await
            .map(|_| ())
            .map_err(|fault| Error::from(fault).in_session(session))
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        let deadline = self.client.begin()?;
        held::holder(&self.client.link, &self.keys.lease(session), deadline)
            .await
            .map_err(|error| self.about(session, error))
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        let (name, deadline) = (self.keys.key_seen(key), self.client.begin()?);
        key_ages::seen(&self.client.link, &name, now, deadline).await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        let deadline = self.client.begin()?;
        key_ages::clock(&self.client.link, deadline).await.map(Some)
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        let Some(head) = self.head_field(session).await? else {
            return Ok(Head::default());
        };
        match HeadField::parse(&head) {
            Some(head) => Ok(head.head()),
            None => Err(corrupt_head().in_session(session)),
        }
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = self.client.begin()?;
        let fields: Vec<_> = keys.iter().map(RecordKey::as_bytes).collect();
        let read = large::fields(&self.client.link, &self.keys.hash(session), &fields, deadline).await;
        let (heads, values) = read.map_err(|error| self.about(session, error))?;
        for head in &heads {
            self.ensure_seen(session, seen, head, deadline).await?;
        }
        values.into_iter().map(record).collect()
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        let deadline = self.client.begin()?;
        let hash = self.keys.hash(session);
        let cursor = cursor.as_deref().unwrap_or("0");
        let mut pattern = Vec::new();
        if let Some(kind) = kind {
            pattern = glob_escape(RecordKey::new(kind, "")?.as_bytes());
            pattern.push(b'*');
        }
        let mut reading = Shrinking::new(&self.client.link);
        let (head, next, values) = loop {
            let count = limit.clamp(1, reading.portion);
            let arguments = |command: &mut Cmd| {
                command.arg(1).arg(&hash).arg(cursor).arg(count).arg(&pattern);
            };
            match scripts::SCAN.run(&self.client.link, deadline, arguments).await {
                Ok(answer) => break read_page(answer)?,
                Err(fault) => reading
                    .after(fault.into(), count)
                    .map_err(|error| self.about(session, error))?,
            }
        };
        self.ensure_seen(session, seen, &head, deadline).await?;
        reading.learn(&self.client.link, large::bytes(&values));
        let mut items = Vec::with_capacity(values.len() / 2);
        let mut values = values.into_iter();
        while let (Some(field), Some(value)) = (values.next(), values.next()) {
            let (Value::BulkString(field), Some(value)) = (field, record(value)?) else {
                return Err(unexpected());
            };
            if !is_own_field(&field) {
                let key = RecordKey::from_bytes(&field).map_err(|error| error.in_session(session))?;
                items.push((key, value));
            }
        }
        Ok(Page {
            items,
            next: (next != "0").then(|| next.into()),
        })
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        match self.client.begin() {
            Ok(deadline) => self.commit_by(commits, deadline).await,
            Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        let deadline = self.client.begin()?;
        let (answer, unconfirmed) = loop {
            let seen = self.head_field(session).await?.unwrap_or_default();
            let answer = scripts::DELETE
                .run_confirmed(&self.client.commits, deadline, |command| {
                    command
                        .arg(2)
                        .arg(self.keys.hash(session))
                        .arg(self.keys.lease(session));
                    command.arg(fence_argument(fence)).arg(&*seen);
                })
                .await
                .map_err(|fault| self.about(session, fault.into()))?;
            // Until somebody writes no more, or the time is over.
            if answer.0 != Value::Int(CHANGED_SINCE) {
                break answer;
            }
        };
        let deleted = read_done(session, fence, &answer)?;
        match unconfirmed {
            Some(unconfirmed) => Err(unconfirmed.in_session(session)),
            None => Ok(deleted),
        }
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        let deadline = self.client.begin()?;
        let answer = scripts::TOUCH
            .run(&self.client.link, deadline, |command| {
                command.arg(1).arg(self.keys.hash(session));
                command.arg(fence_argument(fence)).arg(milliseconds(ttl));
            })
            .await
            .map_err(|fault| self.about(session, fault.into()))?;
        read_done(session, fence, &answer)
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        let deadline = self.client.begin()?;
        let masters = self.client.link.masters(deadline).await?;
        // On one server the cursor is SCAN's; in a cluster it is "host:port SCAN's", master after master.
        let (node, position) = match (&masters, cursor.as_deref()) {
            (None, cursor) => (None, cursor.unwrap_or("0")),
            (Some(masters), None) => (masters.first(), "0"),
            (Some(masters), Some(cursor)) => {
                let (name, position) = cursor.split_once(' ').unwrap_or((cursor, "0"));
                let node = masters
                    .iter()
                    .find(|node| parse_address(name).as_ref() == Some(*node));
                if node.is_none() {
                    return Err(error(
                        Kind::Unavailable,
                        "the cluster's masters changed during the listing; begin again",
                    ));
                }
                (node, position)
            }
        };
        let mut command = cmd("SCAN");
        command
            .arg(position)
            .arg("MATCH")
            .arg(self.keys.pattern())
            .arg("COUNT")
            .arg(limit.max(1));
        command.arg("TYPE").arg("hash");
        let (next, found) = read_scan(self.client.link.send_to(node, &command, deadline).await?)?;
        let sessions = found.into_iter().filter_map(|key| match key {
            Value::BulkString(key) => Some((self.keys.session(&key)?, key)),
            _ => None,
        });
        let heads = sessions.map(async |(session, key)| {
            let head = self
                .client
                .link
                .send(cmd("HGET").arg(key).arg(HEAD), deadline)
                .await?;
            let exists = match head {
                // What cannot be read is there nevertheless.
                Value::BulkString(head) => HeadField::parse(&head).is_none_or(|head| head.version > 0),
                _ => false,
            };
            Ok::<_, Error>(exists.then_some(session))
        });
        let items = join_all(heads)
            .await
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        let next = match (node, &masters) {
            (None, _) => (next != "0").then_some(next),
            (Some((host, port)), _) if next != "0" => Some(format!("{host}:{port} {next}")),
            (Some(node), masters) => {
                let following = masters.iter().flatten().find(|other| *other > node);
                following.map(|(host, port)| format!("{host}:{port} 0"))
            }
        };
        Ok(Page {
            items,
            next: next.map(Into::into),
        })
    }

    async fn close(&self) -> Result<()> {
        self.client.close();
        Ok(())
    }
}

fn fence_argument(fence: Fence) -> String {
    match fence {
        Fence::Owner(token) => token.to_string(),
        Fence::Shared => String::new(),
    }
}
