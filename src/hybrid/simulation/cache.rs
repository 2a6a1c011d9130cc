//! A cache with an outbox in memory, of one session: what the Lua scripts do, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::Mistake;
use super::network::{Network, Server};
use crate::backend::{DeadLetter, Holder, Owner, SessionId, Token};
use crate::error::Result;
use crate::hybrid::cache::{
    Cache, Copied, HeldLease, Installed, OutboxFound, Renewed, Reserved, Revision, Written,
};
use crate::record::{Change, RecordKey};

#[derive(Default)]
struct Copy {
    revision: Revision,
    complete: bool,
    records: BTreeMap<RecordKey, Bytes>,
}

#[derive(Default)]
pub struct Outbox {
    revision: Revision,
    pub entries: BTreeMap<u64, Bytes>,
}

struct Lease {
    /// 0 while somebody only asks.
    token: Token,
    request_id: u64,
    owner: Owner,
    until: Instant,
}

/// What the server has.
#[derive(Default)]
pub struct Keys {
    mistake: Mistake,
    copy: Option<Copy>,
    pub outbox: Option<Outbox>,
    lease: Option<Lease>,
    pub dead_letters: Vec<DeadLetter>,
}

impl Keys {
    pub fn with(mistake: Mistake) -> Self {
        Self {
            mistake,
            ..Self::default()
        }
    }

    /// As `FLUSHALL`, but for the dead letters, of which no case loses any.
    pub fn empty(&mut self) {
        self.copy = None;
        self.outbox = None;
        self.lease = None;
    }

    pub fn evict(&mut self) {
        self.copy = None;
    }

    fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| lease.until > Instant::now())
    }

    fn revision(&self) -> Option<Revision> {
        self.outbox.as_ref().map(|outbox| outbox.revision)
    }

    fn copy_at(&mut self, known: impl Fn(&Revision) -> bool) -> &mut Copy {
        if self.copy.as_ref().is_some_and(|copy| !known(&copy.revision)) {
            self.copy = None;
        }
        self.copy.get_or_insert_default()
    }

    fn commit(&mut self, base: u64, revision: Revision, changes: &[Change], entry: Option<Bytes>) -> Written {
        let Some(head) = self.revision() else {
            return Written::No(None);
        };
        if (head.token, head.version) != (revision.token, base) {
            return Written::No(Some(head));
        }
        let copy = self.copy_at(|known| *known == head);
        copy.revision = revision;
        for Change { key, value } in changes {
            match value {
                Some(value) => copy.records.insert(key.clone(), value.clone()),
                None => copy.records.remove(key),
            };
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.revision = revision;
            outbox
                .entries
                .extend(entry.map(|entry| (revision.version, entry)));
        }
        Written::Yes
    }

    fn read(&self, keys: &[RecordKey]) -> Copied {
        let copy = self.copy.as_ref();
        let record = |key| copy.and_then(|copy| copy.records.get(key).cloned());
        Copied {
            revision: copy.map(|copy| copy.revision),
            complete: copy.is_some_and(|copy| copy.complete),
            records: keys.iter().map(record).collect(),
        }
    }

    fn warm(&mut self, revision: Revision, records: Vec<(RecordKey, Bytes)>, complete: bool) -> bool {
        if self.revision() != Some(revision) {
            return false;
        }
        let copy = self.copy_at(|known| *known == revision);
        copy.revision = revision;
        copy.records.extend(records);
        copy.complete |= complete;
        true
    }

    fn trim(&mut self, token: Token, versions: &[u64]) {
        let everything = self.mistake == Mistake::TrimmingEmptiesTheOutbox;
        if let Some(outbox) = self
            .outbox
            .as_mut()
            .filter(|outbox| outbox.revision.token == token)
        {
            outbox
                .entries
                .retain(|version, _| !(everything || versions.contains(version)));
        }
    }

    fn purge(&mut self, seen: Option<Revision>) {
        let head = self.revision();
        let entries = self.outbox.iter().flat_map(|outbox| &outbox.entries);
        if head != seen && entries.count() > 0 {
            return;
        }
        self.copy = None;
        self.outbox = None;
        if let Some(Revision { token, .. }) = head {
            let revision = Revision {
                token,
                ..Revision::default()
            };
            self.outbox = Some(Outbox {
                revision,
                entries: BTreeMap::new(),
            });
            self.copy = Some(Copy {
                revision,
                complete: true,
                records: BTreeMap::new(),
            });
        }
    }

    fn reserve(
        &mut self,
        request_id: u64,
        owner: Owner,
        lease: Duration,
        preempt: Option<Token>,
        version: u64,
    ) -> Reserved {
        if let Some(held) = self.lease() {
            let own = held.token == 0 && held.request_id == request_id;
            if preempt != Some(held.token) && !own {
                return Reserved::Held(Holder {
                    owner: held.owner.clone(),
                    token: held.token,
                    expires_in: held.until.checked_duration_since(Instant::now()),
                });
            }
        }
        self.lease = Some(Lease {
            token: 0,
            request_id,
            owner,
            until: Instant::now() + lease,
        });
        let first = self
            .outbox
            .iter()
            .flat_map(|outbox| outbox.entries.range(version + 1..))
            .next();
        Reserved::Yes(OutboxFound {
            revision: self.revision(),
            first: first.map(|(_, entry)| entry.slice(..entry.len().min(64))),
        })
    }

    /// Of an owner, or of somebody who asked.
    fn give_back(&mut self, token: Option<Token>, request_id: u64) {
        let is_whose = |lease: &mut Lease| match token {
            Some(token) => lease.token == token,
            None => (lease.token, lease.request_id) == (0, request_id),
        };
        self.lease.take_if(is_whose);
        self.outbox
            .take_if(|outbox| Some(outbox.revision.token) == token && outbox.entries.is_empty());
    }

    fn fence(&mut self, token: Token) -> Option<Revision> {
        let found = self.revision();
        if let Some(outbox) = &mut self.outbox
            && self.mistake != Mistake::FencingOnlyLooks
        {
            outbox.revision.token = outbox.revision.token.max(token);
        }
        found
    }

    fn install(&mut self, found: Option<Revision>, revision: Revision, lease: Lease) -> Installed {
        let head = self.revision();
        if head.is_some_and(|head| head.token >= revision.token) && head != found {
            return Installed::No(head);
        }
        let has_entries = self
            .outbox
            .as_ref()
            .is_some_and(|outbox| !outbox.entries.is_empty());
        if (head != found || head.is_none()) && has_entries {
            return Installed::Entries;
        }
        self.copy.take_if(|copy| !copy.revision.same_commit(&revision));
        let updated_at = self
            .copy
            .as_ref()
            .map_or(revision.updated_at, |copy| copy.revision.updated_at);
        let becomes = Revision {
            updated_at,
            ..revision
        };
        if let Some(copy) = &mut self.copy {
            copy.revision = becomes;
        } else if revision.version == 0 {
            self.copy = Some(Copy {
                revision: becomes,
                complete: true,
                records: BTreeMap::new(),
            });
        }
        self.outbox = Some(Outbox {
            revision: becomes,
            entries: BTreeMap::new(),
        });
        self.lease = Some(lease);
        Installed::Yes(becomes)
    }

    fn renew(&mut self, renewed: Lease, version: u64) -> Renewed {
        match self.revision() {
            Some(head) if head.token > renewed.token => Renewed::Fenced,
            Some(head) if head.token == renewed.token && head.version >= version => {
                match self.lease.as_mut().filter(|lease| lease.until > Instant::now()) {
                    Some(lease) if lease.token != renewed.token => return Renewed::Contested,
                    Some(lease) => lease.until = renewed.until,
                    None => self.lease = Some(renewed),
                }
                Renewed::Yes
            }
            _ => Renewed::Unknown,
        }
    }
}

/// The server as one process reaches it.
pub struct MemoryCache {
    pub network: Arc<Network>,
    pub process: usize,
    pub keys: Arc<Mutex<Keys>>,
}

impl MemoryCache {
    async fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Keys) -> T + Send + 'static) -> Result<T> {
        let keys = self.keys.clone();
        let work = move || Ok(work(&mut keys.lock()));
        self.network.call(self.process, Server::Cache, work).await
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn ping(&self) -> Result<()> {
        self.call(|_| ()).await
    }

    async fn warnings(&self, _: bool) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn close(&self) {}

    async fn read(&self, _: &SessionId, keys: &[RecordKey]) -> Result<Copied> {
        let wanted = keys.to_vec();
        self.call(move |keys| keys.read(&wanted)).await
    }

    async fn warm(
        &self,
        _: &SessionId,
        revision: Revision,
        records: &[(RecordKey, Bytes)],
        complete: bool,
        _: Option<Duration>,
    ) -> Result<bool> {
        let records = records.to_vec();
        self.call(move |keys| keys.warm(revision, records, complete))
            .await
    }

    async fn touch(&self, _: &SessionId, _: Option<Duration>) -> Result<()> {
        unreachable!("no case has a time to live")
    }

    async fn commit(
        &self,
        _: &SessionId,
        base: u64,
        revision: Revision,
        changes: &[Change],
        entry: Option<&Bytes>,
        _: Option<Duration>,
    ) -> Result<Written> {
        let (changes, entry) = (changes.to_vec(), entry.cloned());
        let server = self.keys.clone();
        self.call(move |keys| {
            if keys.mistake != Mistake::AcknowledgedBeforeTheOutboxHasIt {
                return keys.commit(base, revision, &changes, entry);
            }
            let written = keys.commit(base, revision, &changes, None);
            if let Some(entry) = entry.filter(|_| written == Written::Yes) {
                tokio::spawn(async move {
                    sleep(Duration::from_millis(5)).await;
                    if let Some(outbox) = &mut server.lock().outbox {
                        outbox.entries.insert(revision.version, entry);
                    }
                });
            }
            written
        })
        .await
    }

    async fn revision(&self, _: &SessionId) -> Result<Option<Revision>> {
        self.call(|keys| keys.revision()).await
    }

    async fn confirm_entry(&self, _: &SessionId, version: u64) -> Result<bool> {
        self.call(move |keys| {
            let outbox = keys.outbox.as_ref();
            outbox.is_some_and(|outbox| outbox.entries.contains_key(&version))
        })
        .await
    }

    async fn entries(&self, _: &SessionId) -> Result<Vec<(u64, Bytes)>> {
        self.call(|keys| {
            let entries = keys.outbox.iter().flat_map(|outbox| &outbox.entries);
            entries
                .map(|(version, entry)| (*version, entry.clone()))
                .collect()
        })
        .await
    }

    async fn trim(&self, _: &SessionId, token: Token, versions: &[u64]) -> Result<()> {
        let versions = versions.to_vec();
        self.call(move |keys| keys.trim(token, &versions)).await
    }

    async fn purge(&self, _: &SessionId, seen: Option<Revision>) -> Result<()> {
        self.call(move |keys| keys.purge(seen)).await
    }

    async fn reserve(
        &self,
        _: &SessionId,
        request_id: u64,
        owner: &Owner,
        lease: Duration,
        preempt: Option<Token>,
        version: u64,
    ) -> Result<Reserved> {
        let owner = owner.clone();
        self.call(move |keys| keys.reserve(request_id, owner, lease, preempt, version))
            .await
    }

    async fn cancel_reservation(&self, _: &SessionId, request_id: u64) -> Result<()> {
        self.call(move |keys| keys.give_back(None, request_id)).await
    }

    async fn fence(&self, _: &SessionId, token: Token) -> Result<Option<Revision>> {
        self.call(move |keys| keys.fence(token)).await
    }

    async fn install(
        &self,
        _: &SessionId,
        found: Option<Revision>,
        revision: Revision,
        owner: &Owner,
        request_id: u64,
        lease: Duration,
    ) -> Result<Installed> {
        let owner = owner.clone();
        self.call(move |keys| {
            let lease = Lease {
                token: revision.token,
                request_id,
                owner,
                until: Instant::now() + lease,
            };
            keys.install(found, revision, lease)
        })
        .await
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        let tokens: Vec<_> = leases.iter().map(|(_, token)| *token).collect();
        self.call(move |keys| {
            let held = keys.lease().map(|lease| lease.token);
            tokens.iter().map(|token| held == Some(*token)).collect()
        })
        .await
    }

    async fn renew(&self, leases: &[HeldLease<'_>], owner: &Owner, lease: Duration) -> Vec<Result<Renewed>> {
        let asked: Vec<_> = leases
            .iter()
            .map(|held| (held.token, held.request_id, held.version))
            .collect();
        let owner = owner.clone();
        let renewed = self.call(move |keys| {
            let renewed = asked.into_iter().map(|(token, request_id, version)| {
                let lease = Lease {
                    token,
                    request_id,
                    owner: owner.clone(),
                    until: Instant::now() + lease,
                };
                keys.renew(lease, version)
            });
            renewed.collect::<Vec<_>>()
        });
        match renewed.await {
            Ok(renewed) => renewed.into_iter().map(Ok).collect(),
            Err(error) => leases.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn release(&self, _: &SessionId, token: Token) -> Result<()> {
        self.call(move |keys| keys.give_back(Some(token), 0)).await
    }

    async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let letter = letter.clone();
        self.call(move |keys| keys.dead_letters.push(letter)).await
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.call(|keys| keys.dead_letters.clone()).await
    }
}
