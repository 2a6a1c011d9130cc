//! Redis as the cache in front of a primary store.
//!
//! Three keys for each session and each installation of a primary, in one hash slot, apart from those of
//! [`RedisBackend`](crate::backend::redis::RedisBackend): `…:hot`, a hash of records, the copy; `…:outbox`, a hash whose `@` is the [`Revision`] that
//! says who may write and what is here, and whose other fields are entries by version; `…:owner`, the lease. The server
//! may lose the copy at any time: it counts only while its own `@` is the revision its owner expects.

mod commit;
mod dead_letters;
mod keys;
mod revision;
mod scripts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::cache::{Cache, Copied, HeldLease, Installed, OutboxFound, Renewed, Reserved, Revision, Written};
use crate::backend::redis::{
    Client, HEAD, RedisConfig, Reply, Shrinking, at_keys, commit_together, error, from_script, leases_held,
    milliseconds, parse_lease, read_fields, record, unexpected,
};
use crate::backend::{DeadLetter, Holder, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};
use commit::CacheCommit;
use keys::Keys;

/// Commands needed here beside those of [`RedisBackend`](crate::backend::redis::RedisBackend).
const MORE_COMMANDS: [&str; 6] = ["HKEYS", "HEXISTS", "HLEN", "XADD", "XRANGE", "XLEN"];
/// Entries read by one command.
const ENTRIES: usize = 500;

/// See the module.
pub struct RedisCache {
    client: Client,
    keys: Keys,
}

impl RedisCache {
    /// Checks the options; connects when it is first used. `installation` names the primary that all this belongs to:
    /// what is kept beside another one is never met.
    pub fn new(config: &RedisConfig, installation: &str) -> Result<Self> {
        Ok(Self {
            client: Client::new(config)?,
            keys: Keys::new(&config.prefix, installation),
        })
    }

    /// Fails if a command that is needed here is refused.
    async fn prove(&self) -> Result<()> {
        self.client.prove(&self.keys.proof(), &MORE_COMMANDS).await
    }

    async fn read_some(&self, session: &SessionId, keys: &[RecordKey], deadline: Instant) -> Result<Copied> {
        let mut command = cmd("HMGET");
        command.arg(self.keys.copy(session)).arg(HEAD).arg("@full");
        for key in keys {
            command.arg(key.as_bytes());
        }
        let Value::Array(values) = self.client.link.send(&command, deadline).await? else {
            return Err(unexpected());
        };
        let mut values = values.into_iter().map(record);
        let mut next = || values.next().ok_or_else(unexpected)?;
        let revision = next()?.map_or(Ok(None), |head| revision::parse(&head))?;
        let complete = next()?.is_some();
        let records = values.collect::<Result<Vec<_>>>()?;
        if records.len() != keys.len() {
            return Err(unexpected());
        }
        Ok(Copied {
            revision,
            complete,
            records,
        })
    }

    async fn renew_some(
        &self,
        leases: &[HeldLease<'_>],
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Result<Renewed>>> {
        self.client.begin()?;
        let answer = self
            .client
            .renewals
            .run(&scripts::RENEW, lease, |command| {
                command.arg(2 * leases.len());
                for held in leases {
                    command.arg(self.keys.outbox(held.session));
                    command.arg(self.keys.lease(held.session));
                }
                command.arg(milliseconds(Some(lease))).arg(owner);
                for held in leases {
                    command.arg(held.token).arg(format!("{:016x}", held.request_id));
                    command.arg(held.version);
                }
            })
            .await?;
        let answers = match answer {
            Value::Array(answers) if answers.len() == leases.len() => answers,
            _ => return Err(unexpected()),
        };
        let answers = answers
            .into_iter()
            .zip(leases)
            .map(|(answer, held)| match answer {
                Value::Int(0) => Ok(Renewed::Yes),
                Value::Int(1) => Ok(Renewed::Fenced),
                Value::Int(2) => Ok(Renewed::Unknown),
                Value::Int(3) => Ok(Renewed::Contested),
                Value::BulkString(text) if text.first() == Some(&b'E') => {
                    let found = from_script(&String::from_utf8_lossy(&text[1..]));
                    let keys = [self.keys.outbox(held.session), self.keys.lease(held.session)];
                    Err(at_keys(found, &keys))
                }
                _ => Err(unexpected()),
            });
        Ok(answers.collect())
    }

    async fn give_back(&self, session: &SessionId, whose: &str) -> Result<()> {
        let answer = scripts::RELEASE
            .run(&self.client.link, self.client.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.outbox(session))
                    .arg(self.keys.lease(session))
                    .arg(whose);
            })
            .await;
        Ok(answer.map(drop)?)
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn ping(&self) -> Result<()> {
        self.client.send(&cmd("PING")).await.map(drop)
    }

    async fn warnings(&self, holds_outbox: bool) -> Result<Vec<String>> {
        let warnings = async {
            if holds_outbox {
                self.client.warnings().await
            } else {
                self.client.cache_warnings().await
            }
        };
        let (warnings, ()) = tokio::try_join!(warnings, self.prove())?;
        Ok(warnings)
    }

    fn close(&self) {
        self.client.close();
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey]) -> Result<Copied> {
        let deadline = self.client.begin()?;
        let mut reading = Shrinking::new(&self.client.link);
        let mut all: Option<Copied> = None;
        let mut rest = keys;
        loop {
            let (some, others) = rest.split_at(rest.len().min(reading.portion));
            match self.read_some(session, some, deadline).await {
                Ok(found) => {
                    rest = others;
                    match &mut all {
                        None => all = Some(found),
                        // Something was written between two parts: together they are no state that ever was.
                        Some(all) if all.revision != found.revision => all.revision = None,
                        Some(all) => {
                            all.complete &= found.complete;
                            all.records.extend(found.records);
                        }
                    }
                }
                Err(error) => reading.after(error, some.len())?,
            }
            if let Some(mut all) = all.take_if(|all| rest.is_empty() || all.revision.is_none()) {
                let sizes = all.records.iter().flatten().map(Bytes::len);
                reading.learn(&self.client.link, sizes.sum());
                all.records.resize(keys.len(), None);
                return Ok(all);
            }
        }
    }

    async fn warm(
        &self,
        session: &SessionId,
        revision: Revision,
        records: &[(RecordKey, Bytes)],
        complete: bool,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        let answer = scripts::WARM
            .run(&self.client.link, self.client.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.copy(session))
                    .arg(self.keys.outbox(session));
                command
                    .arg(revision::write(&revision))
                    .arg(milliseconds(ttl))
                    .arg(u8::from(complete));
                for (key, value) in records {
                    command.arg(key.as_bytes()).arg(&value[..]);
                }
            })
            .await?;
        match answer {
            Value::Int(taken) => Ok(taken == 1),
            _ => Err(unexpected()),
        }
    }

    async fn touch(&self, session: &SessionId, ttl: Option<Duration>) -> Result<()> {
        let key = self.keys.copy(session);
        let command = match ttl {
            Some(_) => cmd("PEXPIRE").arg(key).arg(milliseconds(ttl)).take(),
            None => cmd("PERSIST").arg(key).take(),
        };
        self.client.send(&command).await.map(drop)
    }

    async fn commit(
        &self,
        session: &SessionId,
        base: u64,
        revision: Revision,
        changes: &[Change],
        entry: Option<&Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Written> {
        let commit = CacheCommit {
            keys: [self.keys.copy(session), self.keys.outbox(session)],
            base,
            revision,
            changes: changes.to_vec(),
            entry: entry.cloned(),
            ttl,
        };
        let replies =
            commit_together(&self.client.commits, vec![Box::new(commit)], self.client.begin()?).await;
        match replies.into_iter().next() {
            Some(Reply::Committed(_)) => Ok(Written::Yes),
            Some(Reply::Before(head)) => Ok(Written::No(Some(Revision {
                updated_at: head.updated_at,
                ..revision
            }))),
            Some(Reply::Refused(head)) => Ok(Written::No(revision::parse(&head)?)),
            Some(Reply::Failed(error)) => Err(error),
            None => Err(unexpected()),
        }
    }

    async fn revision(&self, session: &SessionId) -> Result<Option<Revision>> {
        let command = cmd("HGET").arg(self.keys.outbox(session)).arg(HEAD).to_owned();
        match self.client.send(&command).await? {
            Value::BulkString(head) => revision::parse(&head),
            Value::Nil => Ok(None),
            _ => Err(unexpected()),
        }
    }

    async fn confirm_entry(&self, session: &SessionId, version: u64) -> Result<bool> {
        let outbox = self.keys.outbox(session);
        let command = cmd("HEXISTS").arg(&outbox).arg(version).to_owned();
        match self.client.send(&command).await? {
            Value::Int(0) => return Ok(false),
            Value::Int(_) => {}
            _ => return Err(unexpected()),
        }
        let commits = &self.client.commits;
        if commits.wants_replicas() {
            commits.confirm_heads(&[&outbox], self.client.begin()?).await?;
        }
        Ok(true)
    }

    async fn entries(&self, session: &SessionId) -> Result<Vec<(u64, Bytes)>> {
        let key = self.keys.outbox(session);
        let Value::Array(fields) = self.client.send(cmd("HKEYS").arg(&key)).await? else {
            return Err(unexpected());
        };
        let mut versions = Vec::with_capacity(fields.len());
        for field in fields {
            let Value::BulkString(field) = field else {
                return Err(unexpected());
            };
            if field != HEAD {
                let version = String::from_utf8_lossy(&field).parse::<u64>();
                versions.push(version.map_err(|_| error(Kind::Corrupt, "an outbox holds something else"))?);
            }
        }
        versions.sort_unstable();
        let mut entries = Vec::with_capacity(versions.len());
        for versions in versions.chunks(ENTRIES) {
            let fields: Vec<_> = versions.iter().map(u64::to_string).collect();
            let fields: Vec<_> = fields.iter().map(String::as_bytes).collect();
            let (_, values) = read_fields(&self.client.link, &key, &fields, self.client.begin()?).await?;
            for (version, value) in versions.iter().zip(values) {
                // What is gone was trimmed meanwhile: the primary has it.
                if let Some(entry) = record(value)? {
                    entries.push((*version, entry));
                }
            }
        }
        Ok(entries)
    }

    async fn trim(&self, session: &SessionId, token: Token, versions: &[u64]) -> Result<()> {
        let answer = scripts::TRIM
            .run(&self.client.link, self.client.begin()?, |command| {
                command.arg(1).arg(self.keys.outbox(session)).arg(token);
                for version in versions {
                    command.arg(version);
                }
            })
            .await?;
        match answer {
            // Whoever stands there now has dealt with them.
            Value::Int(_) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn purge(&self, session: &SessionId, seen: Option<Revision>) -> Result<()> {
        let seen = seen.as_ref().map(revision::write).unwrap_or_default();
        let answer = scripts::PURGE
            .run(&self.client.link, self.client.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.copy(session))
                    .arg(self.keys.outbox(session))
                    .arg(&seen);
            })
            .await;
        Ok(answer.map(drop)?)
    }

    async fn reserve(
        &self,
        session: &SessionId,
        request_id: u64,
        owner: &Owner,
        lease: Duration,
        preempt: Option<Token>,
        version: u64,
    ) -> Result<Reserved> {
        let owner = write_owner(owner)?;
        let displaced = preempt.map(|token| token.to_string()).unwrap_or_default();
        let answer = scripts::RESERVE
            .run(&self.client.link, self.client.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.outbox(session))
                    .arg(self.keys.lease(session));
                command.arg(format!("{request_id:016x}")).arg(&owner);
                command
                    .arg(milliseconds(Some(lease)))
                    .arg(&displaced)
                    .arg(version);
            })
            .await?;
        let Value::Array(parts) = answer else {
            return Err(unexpected());
        };
        match parts.as_slice() {
            [
                Value::BulkString(word),
                Value::BulkString(head),
                Value::BulkString(first),
            ] if word == b"reserved" => Ok(Reserved::Yes(OutboxFound {
                revision: revision::parse(head)?,
                first: (!first.is_empty()).then(|| Bytes::copy_from_slice(first)),
            })),
            [_, Value::BulkString(lease), Value::Int(left)] => {
                let (token, owner) = parse_lease(lease)
                    .ok_or_else(|| error(Kind::Corrupt, "the session's lease cannot be read"))?;
                let expires_in = u64::try_from(*left).ok().map(Duration::from_millis);
                Ok(Reserved::Held(Holder {
                    owner,
                    token,
                    expires_in,
                }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn cancel_reservation(&self, session: &SessionId, request_id: u64) -> Result<()> {
        self.give_back(session, &format!("{request_id:016x}")).await
    }

    async fn fence(&self, session: &SessionId, token: Token) -> Result<Option<Revision>> {
        let answer = scripts::FENCE
            .run(&self.client.link, self.client.begin()?, |command| {
                command.arg(1).arg(self.keys.outbox(session)).arg(token);
            })
            .await?;
        match answer {
            Value::BulkString(head) => revision::parse(&head),
            _ => Err(unexpected()),
        }
    }

    async fn install(
        &self,
        session: &SessionId,
        found: Option<Revision>,
        revision: Revision,
        owner: &Owner,
        request_id: u64,
        lease: Duration,
    ) -> Result<Installed> {
        let owner = write_owner(owner)?;
        let found = found.map(|found| revision::write(&found)).unwrap_or_default();
        let is_at = format!("{}:{:016x}:", revision.version, revision.commit_id);
        let answer = scripts::INSTALL
            .run(&self.client.link, self.client.begin()?, |command| {
                command.arg(3);
                command
                    .arg(self.keys.copy(session))
                    .arg(self.keys.outbox(session));
                command.arg(self.keys.lease(session));
                command.arg(revision.token).arg(&is_at).arg(revision.updated_at);
                command
                    .arg(milliseconds(Some(lease)))
                    .arg(format!("{request_id:016x} {owner}"));
                command.arg(&found);
            })
            .await?;
        let Value::Array(parts) = answer else {
            return Err(unexpected());
        };
        match parts.as_slice() {
            [Value::Int(0), Value::BulkString(updated)] => {
                let updated_at = String::from_utf8_lossy(updated).parse();
                let updated_at = updated_at.map_err(|_| unexpected())?;
                Ok(Installed::Yes(Revision {
                    updated_at,
                    ..revision
                }))
            }
            [Value::Int(1), Value::BulkString(head)] => Ok(Installed::No(revision::parse(head)?)),
            [Value::Int(2), Value::BulkString(_)] => Ok(Installed::Entries),
            _ => Err(unexpected()),
        }
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let leases: Vec<_> = leases
            .iter()
            .map(|(session, token)| (self.keys.lease(session), *token))
            .collect();
        leases_held(&self.client.link, &leases, self.client.begin()?).await
    }

    async fn renew(&self, leases: &[HeldLease<'_>], owner: &Owner, lease: Duration) -> Vec<Result<Renewed>> {
        let owner = match write_owner(owner) {
            Ok(owner) => owner,
            Err(error) => return leases.iter().map(|_| Err(error.clone())).collect(),
        };
        let calls = leases.chunks(self.client.renewed_at_once()).map(async |some| {
            let answer = self.renew_some(some, &owner, lease).await;
            answer.unwrap_or_else(|error| some.iter().map(|_| Err(error.clone())).collect())
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.give_back(session, &token.to_string()).await
    }

    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let command = dead_letters::add(&self.keys.dead_letters(), letter);
        self.client.send(&command).await.map(drop)
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let command = dead_letters::all(&self.keys.dead_letters());
        dead_letters::parse(self.client.send(&command).await?)
    }
}

fn write_owner(owner: &Owner) -> Result<String> {
    let written = serde_json::to_string(owner);
    written
        .map_err(|cause| Error::new(Kind::Internal, "redis", "the owner cannot be written").because(&cause))
}
