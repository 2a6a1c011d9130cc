//! Hot copies of sessions whose truth is elsewhere, their outboxes and leases: what the hybrid backend keeps here.
//!
//! Three keys for each session and each truth, in one hash slot, apart from those of
//! [`RedisBackend`](super::RedisBackend): `…:hot`, a hash of records; `…:outbox`, a hash whose `@` is the [`Mark`] that says who may write and what stands
//! here, and whose other fields are entries by version; `…:owner`, the lease. The server may lose the hot copy at
//! any time: it counts only while its own `@` is the mark its owner expects.

mod letters;
mod mark;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::{parse_lease, record, unexpected};
use super::backend::renewed_at_once;
use super::batch::{self, HotCommit, Item, Reply, milliseconds};
use super::config::RedisConfig;
use super::connection::Link;
use super::errors::{at_keys, error, from_script};
use super::keys::{HEAD, Keys};
use super::large::{self, Shrinking};
use super::renewals::Renewals;
use super::{held, proof, scripts, warnings};
use crate::backend::{Holder, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};

pub use mark::{Copied, Held, Installed, Left, Mark, Renewed, Reserved, Written};

/// Commands needed here beside those of [`RedisBackend`](super::RedisBackend).
const MORE_COMMANDS: [&str; 6] = ["HKEYS", "HEXISTS", "HLEN", "XADD", "XRANGE", "XLEN"];
/// Entries read by one command.
const ENTRIES: usize = 500;

/// See the module's documentation.
pub struct HotCopies {
    link: Arc<Link>,
    renewals: Renewals,
    /// For what the outbox acknowledges.
    commits: Arc<Link>,
    keys: Keys,
    operation_timeout: Duration,
    closed: AtomicBool,
}

impl HotCopies {
    /// Checks the options; connects when it is first used. `installation` names the truth that all this belongs to:
    /// what is kept beside another one is never met.
    pub fn new(config: &RedisConfig, installation: &str) -> Result<Self> {
        config.validate()?;
        let link = Link::shared(config);
        Ok(Self {
            commits: Link::for_commits(config),
            renewals: Renewals::new(config, &link),
            link,
            keys: Keys::of(&config.prefix, installation),
            operation_timeout: config.operation_timeout,
            closed: AtomicBool::new(false),
        })
    }

    /// Where the hot copy of a session is.
    #[cfg(test)]
    pub fn hot_key(&self, session: &str) -> String {
        self.keys.hot(session)
    }

    /// Where its outbox is.
    #[cfg(test)]
    pub fn outbox_key(&self, session: &str) -> String {
        self.keys.outbox(session)
    }

    /// Answers once the server does.
    pub async fn ping(&self) -> Result<()> {
        self.link.send(&cmd("PING"), self.begin()?).await?;
        Ok(())
    }

    /// What an operator should know about a server that holds an outbox; one sentence each.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        let (warnings, ()) = tokio::try_join!(warnings::check(&self.link, self.begin()?), self.prove())?;
        Ok(warnings)
    }

    /// Fails if a command that is needed here is refused.
    pub async fn prove(&self) -> Result<()> {
        let wait = self.commits.wants_replicas().then_some("WAIT");
        let more: Vec<_> = MORE_COMMANDS.into_iter().chain(wait).collect();
        proof::check(&self.link, &self.keys, &more, self.begin()?).await
    }

    /// The same about one that holds copies alone.
    pub async fn cache_warnings(&self) -> Result<Vec<String>> {
        let answers = warnings::check_answers(&self.link, self.begin()?);
        let (warnings, ()) = tokio::try_join!(answers, self.prove())?;
        Ok(warnings)
    }

    /// Gives the connection back.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.link.give_back();
            self.commits.give_back();
            self.renewals.give_back();
        }
    }

    fn begin(&self) -> Result<Instant> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(error(Kind::Closed, "the store is closed"));
        }
        Ok(Instant::now() + self.operation_timeout)
    }

    /// Keeps others from taking the session for `lease`, unless somebody has it; what stands in its outbox beyond
    /// `version`.
    pub async fn reserve(
        &self,
        session: &SessionId,
        attempt: u64,
        owner: &Owner,
        lease: Duration,
        displace: Option<Token>,
        version: u64,
    ) -> Result<Reserved> {
        let owner = write_owner(owner)?;
        let displaced = displace.map(|token| token.to_string()).unwrap_or_default();
        let answer = scripts::HOT_RESERVE
            .run(&self.link, self.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.outbox(session))
                    .arg(self.keys.hot_lease(session));
                command.arg(format!("{attempt:016x}")).arg(&owner);
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
            ] if word == b"reserved" => Ok(Reserved::Yes(Left {
                mark: Mark::parse(head)?,
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

    /// Which of these leases still stand, in the order asked.
    pub async fn held(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let leases: Vec<_> = leases
            .iter()
            .map(|(session, token)| (self.keys.hot_lease(session), *token))
            .collect();
        held::held(&self.link, &leases, self.begin()?).await
    }

    /// Shuts owners with tokens below `token` out; answers with the mark found.
    pub async fn fence(&self, session: &SessionId, token: Token) -> Result<Option<Mark>> {
        let answer = scripts::HOT_FENCE
            .run(&self.link, self.begin()?, |command| {
                command.arg(1).arg(self.keys.outbox(session)).arg(token);
            })
            .await?;
        match answer {
            Value::BulkString(head) => Mark::parse(&head),
            _ => Err(unexpected()),
        }
    }

    /// The mark that stands in the outbox.
    pub async fn mark(&self, session: &SessionId) -> Result<Option<Mark>> {
        let command = cmd("HGET").arg(self.keys.outbox(session)).arg(HEAD).to_owned();
        match self.link.send(&command, self.begin()?).await? {
            Value::BulkString(head) => Mark::parse(&head),
            Value::Nil => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// Whether the outbox has the entry of that version.
    pub async fn has_entry(&self, session: &SessionId, version: u64) -> Result<bool> {
        let command = cmd("HEXISTS")
            .arg(self.keys.outbox(session))
            .arg(version)
            .to_owned();
        match self.link.send(&command, self.begin()?).await? {
            Value::Int(found) => Ok(found == 1),
            _ => Err(unexpected()),
        }
    }

    /// Fails unless as many replicas as must have what stands in the outbox.
    pub async fn confirm(&self, session: &SessionId) -> Result<()> {
        if !self.commits.wants_replicas() {
            return Ok(());
        }
        let outbox = self.keys.outbox(session);
        self.commits.confirm_heads(&[&outbox], self.begin()?).await
    }

    /// All entries of the outbox with their versions, in order.
    pub async fn entries(&self, session: &SessionId) -> Result<Vec<(u64, Bytes)>> {
        let key = self.keys.outbox(session);
        let Value::Array(fields) = self.link.send(cmd("HKEYS").arg(&key), self.begin()?).await? else {
            return Err(unexpected());
        };
        let mut versions = Vec::with_capacity(fields.len());
        for field in fields {
            let Value::BulkString(field) = field else {
                return Err(unexpected());
            };
            if field != HEAD {
                let version = std::str::from_utf8(&field)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok());
                versions.push(version.ok_or_else(|| error(Kind::Corrupt, "an outbox holds something else"))?);
            }
        }
        versions.sort_unstable();
        let mut entries = Vec::with_capacity(versions.len());
        for versions in versions.chunks(ENTRIES) {
            let fields: Vec<_> = versions.iter().map(u64::to_string).collect();
            let fields: Vec<_> = fields.iter().map(String::as_bytes).collect();
            let (_, values) = large::fields(&self.link, &key, &fields, self.begin()?).await?;
            for (version, value) in versions.iter().zip(values) {
                // What is gone was trimmed meanwhile: the truth has it.
                if let Some(entry) = record(value)? {
                    entries.push((*version, entry));
                }
            }
        }
        Ok(entries)
    }

    /// Begins the ownership of `mark.token` with an empty outbox at `mark`, in place of what stands at `found`, of
    /// an earlier owner's without entries, or of nothing; the hot copy stays if it is of the same version and commit.
    pub async fn install(
        &self,
        session: &SessionId,
        found: Option<Mark>,
        mark: Mark,
        owner: &Owner,
        attempt: u64,
        lease: Duration,
    ) -> Result<Installed> {
        let owner = write_owner(owner)?;
        let found = found.map(|found| found.to_string()).unwrap_or_default();
        let stands = format!("{}:{:016x}:", mark.version, mark.commit_id);
        let answer = scripts::HOT_INSTALL
            .run(&self.link, self.begin()?, |command| {
                command.arg(3);
                command.arg(self.keys.hot(session)).arg(self.keys.outbox(session));
                command.arg(self.keys.hot_lease(session));
                command.arg(mark.token).arg(&stands).arg(mark.updated_at);
                command
                    .arg(milliseconds(Some(lease)))
                    .arg(format!("{attempt:016x} {owner}"));
                command.arg(&found);
            })
            .await?;
        let Value::Array(parts) = answer else {
            return Err(unexpected());
        };
        match parts.as_slice() {
            [Value::Int(0), Value::BulkString(updated)] => {
                let updated_at = String::from_utf8_lossy(updated)
                    .parse()
                    .map_err(|_| unexpected())?;
                Ok(Installed::Yes(Mark { updated_at, ..mark }))
            }
            [Value::Int(1), Value::BulkString(head)] => Ok(Installed::No(Mark::parse(head)?)),
            [Value::Int(2), Value::BulkString(_)] => Ok(Installed::Entries),
            _ => Err(unexpected()),
        }
    }

    /// Takes `changes` into the copy of an owner that stands at version `base`, which becomes `mark`; with `entry`,
    /// the outbox gets that in the same step.
    pub async fn commit(
        &self,
        session: &SessionId,
        base: u64,
        mark: Mark,
        changes: &[Change],
        entry: Option<&Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Written> {
        let commit = HotCommit {
            hot: self.keys.hot(session),
            outbox: self.keys.outbox(session),
            base,
            mark,
            changes: changes.to_vec(),
            entry: entry.cloned(),
            ttl,
        };
        let replies = batch::commit(&self.commits, vec![Item::Hot(commit)], self.begin()?).await;
        match replies.into_iter().next() {
            Some(Reply::Committed(_)) => Ok(Written::Yes),
            Some(Reply::Before(head)) => Ok(Written::No(Some(Mark {
                updated_at: head.updated_at,
                ..mark
            }))),
            Some(Reply::Refused(head)) => Ok(Written::No(Mark::parse(&head)?)),
            Some(Reply::Failed(error)) => Err(error),
            None => Err(unexpected()),
        }
    }

    /// Removes entries that the truth has.
    pub async fn trim(&self, session: &SessionId, token: Token, versions: &[u64]) -> Result<()> {
        let answer = scripts::HOT_TRIM
            .run(&self.link, self.begin()?, |command| {
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

    /// What the hot copy has of `keys`.
    pub async fn read(&self, session: &SessionId, keys: &[RecordKey]) -> Result<Copied> {
        let deadline = self.begin()?;
        let mut reading = Shrinking::new(&self.link);
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
                        Some(all) if all.mark != found.mark => all.mark = None,
                        Some(all) => {
                            all.complete &= found.complete;
                            all.records.extend(found.records);
                        }
                    }
                }
                Err(error) => reading.after(error, some.len())?,
            }
            if let Some(mut all) = all.take_if(|all| rest.is_empty() || all.mark.is_none()) {
                let sizes = all.records.iter().flatten().map(Bytes::len);
                reading.learn(&self.link, sizes.sum());
                all.records.resize(keys.len(), None);
                return Ok(all);
            }
        }
    }

    async fn read_some(&self, session: &SessionId, keys: &[RecordKey], deadline: Instant) -> Result<Copied> {
        let mut command = cmd("HMGET");
        command.arg(self.keys.hot(session)).arg(HEAD).arg("@full");
        for key in keys {
            command.arg(key.as_bytes());
        }
        let Value::Array(values) = self.link.send(&command, deadline).await? else {
            return Err(unexpected());
        };
        let mut values = values.into_iter().map(record);
        let mut next = || values.next().ok_or_else(unexpected)?;
        let mark = next()?.map_or(Ok(None), |head| Mark::parse(&head))?;
        let complete = next()?.is_some();
        let records = values.collect::<Result<Vec<_>>>()?;
        if records.len() != keys.len() {
            return Err(unexpected());
        }
        Ok(Copied {
            mark,
            complete,
            records,
        })
    }

    /// Adds records that are the truth at `mark`, unless anything was written since. `complete`: there are no others.
    pub async fn warm(
        &self,
        session: &SessionId,
        mark: Mark,
        records: &[(RecordKey, Bytes)],
        complete: bool,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        let answer = scripts::HOT_WARM
            .run(&self.link, self.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.hot(session))
                    .arg(self.keys.outbox(session));
                command
                    .arg(mark.to_string())
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

    /// Makes leases of this owner last `lease` from now, many by one call; one answer for each.
    pub async fn renew(&self, leases: &[Held<'_>], owner: &Owner, lease: Duration) -> Vec<Result<Renewed>> {
        let owner = match write_owner(owner) {
            Ok(owner) => owner,
            Err(error) => return leases.iter().map(|_| Err(error.clone())).collect(),
        };
        let calls = leases.chunks(renewed_at_once(&self.link)).map(async |some| {
            let answer = self.renew_some(some, &owner, lease).await;
            answer.unwrap_or_else(|error| some.iter().map(|_| Err(error.clone())).collect())
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn renew_some(
        &self,
        leases: &[Held<'_>],
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Result<Renewed>>> {
        self.begin()?;
        let answer = self
            .renewals
            .run(&scripts::HOT_RENEW, lease, |command| {
                command.arg(2 * leases.len());
                for held in leases {
                    command.arg(self.keys.outbox(held.session));
                    command.arg(self.keys.hot_lease(held.session));
                }
                command.arg(milliseconds(Some(lease))).arg(owner);
                for held in leases {
                    command.arg(held.token).arg(format!("{:016x}", held.attempt));
                    command.arg(held.version);
                }
            })
            .await?;
        let Value::Array(answers) = answer else {
            return Err(unexpected());
        };
        if answers.len() != leases.len() {
            return Err(unexpected());
        }
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
                    let keys = [self.keys.outbox(held.session), self.keys.hot_lease(held.session)];
                    Err(at_keys(found, &keys))
                }
                _ => Err(unexpected()),
            });
        Ok(answers.collect())
    }

    /// Gives the lease back.
    pub async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.give_back(session, &token.to_string()).await
    }

    /// Gives a reservation back.
    pub async fn forgo(&self, session: &SessionId, attempt: u64) -> Result<()> {
        self.give_back(session, &format!("{attempt:016x}")).await
    }

    async fn give_back(&self, session: &SessionId, whose: &str) -> Result<()> {
        let answer = scripts::HOT_RELEASE
            .run(&self.link, self.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.outbox(session))
                    .arg(self.keys.hot_lease(session))
                    .arg(whose);
            })
            .await;
        Ok(answer.map(drop)?)
    }

    /// Removes what is here of a session that was deleted.
    pub async fn purge(&self, session: &SessionId, token: Option<Token>) -> Result<()> {
        let token = token.map(|token| token.to_string()).unwrap_or_default();
        let answer = scripts::HOT_PURGE
            .run(&self.link, self.begin()?, |command| {
                command
                    .arg(2)
                    .arg(self.keys.hot(session))
                    .arg(self.keys.outbox(session))
                    .arg(&token);
            })
            .await;
        Ok(answer.map(drop)?)
    }

    /// Makes the hot copy, if there is one, live `ttl` from now.
    pub async fn touch(&self, session: &SessionId, ttl: Option<Duration>) -> Result<()> {
        let key = self.keys.hot(session);
        let command = match ttl {
            Some(_) => cmd("PEXPIRE").arg(key).arg(milliseconds(ttl)).take(),
            None => cmd("PERSIST").arg(key).take(),
        };
        let sent = self.link.send(&command, self.begin()?).await;
        Ok(sent.map(drop)?)
    }
}

impl Drop for HotCopies {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_owner(owner: &Owner) -> Result<String> {
    let written = serde_json::to_string(owner);
    written
        .map_err(|cause| Error::new(Kind::Internal, "redis", "the owner cannot be written").because(&cause))
}
