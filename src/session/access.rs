//! Reading and writing an open session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::queue::Reply;
use super::renewal;
use super::session::{Lookup, Session};
use super::vault::Vault;
use crate::backend::{Fence, Head, Seen};
use crate::error::{Error, Kind, Result};
use crate::record::{Patch, RecordKey};

impl Vault {
    /// Queues `patch` in the order of the calls; may be called from any thread. See [`Session`].
    pub fn commit(&self, session: &Arc<Session>, patch: Patch, expected: Option<u64>, reply: Reply) {
        // After a panic the dropped reply has told whoever waits for it.
        let _ = self.worker.run(|| {
            if session.enqueue(patch, expected, reply) {
                self.committer.schedule(session.clone());
            }
        });
    }

    /// Answers from memory if it can; may be called from any thread. See [`Session::lookup`].
    pub fn lookup(&self, session: &Session, keys: &[RecordKey]) -> Result<Lookup> {
        self.worker.run(|| session.lookup(keys))?
    }

    /// [`Vault::commit`], waiting for the outcome.
    pub async fn committed(
        &self,
        session: &Arc<Session>,
        patch: Patch,
        expected: Option<u64>,
    ) -> Result<Head> {
        let (reply, outcome) = waiting();
        self.commit(session, patch, expected, reply);
        outcome.await
    }

    pub(super) fn schedule(&self, session: Arc<Session>) {
        self.committer.schedule(session);
    }

    /// Reads records; memory answers what it can, one call to the storage the rest.
    pub async fn read(&self, session: &Arc<Session>, keys: &[RecordKey]) -> Result<Vec<Option<Bytes>>> {
        if matches!(session.fence(), Fence::Owner(_)) && !session.is_trusted() {
            // The same token still stands: then nobody has written since, and memory holds.
            renewal::renew_now(self, session).await;
        }
        if let Lookup::Found(found) = session.lookup(keys)? {
            return Ok(found);
        }
        let (mut known, version) = session.recall(keys);
        let seen = Seen {
            fence: session.fence(),
            version,
        };
        self.metrics.reads.increment();
        let unknown: Vec<_> = keys
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        self.metrics.cache_misses.add(unknown.len());
        self.metrics.cache_hits.add(keys.len() - unknown.len());
        let sealed = self
            .backend
            .read(session.id(), &unknown, seen)
            .await
            .map_err(|error| session.hear(error))?;
        let mut read = Vec::with_capacity(unknown.len());
        for (key, sealed) in unknown.into_iter().zip(sealed) {
            let plain = sealed
                .map(|sealed| session.sealer().open(&key, &sealed))
                .transpose()?;
            read.push((key, plain));
        }
        session.learn(version, &mut read)?;
        let mut read = read.into_iter().map(|(_, plain)| plain);
        for known in &mut known {
            if known.is_none() {
                *known = read.next();
            }
        }
        Ok(known.into_iter().map(Option::flatten).collect())
    }
}

/// A [`Reply`] and the future of what it is called with.
pub(super) fn waiting() -> (Reply, impl Future<Output = Result<Head>>) {
    let (sender, receiver) = oneshot::channel();
    let reply = Reply::new(move |outcome| {
        let _ = sender.send(outcome);
    });
    (reply, async {
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Internal,
                "session",
                "a write was dropped unanswered",
            ))
        })
    })
}
