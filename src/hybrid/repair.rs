//! Redis after it lost touch with a session: it was away, was emptied, or went back in time.

use std::sync::Arc;

use super::slot::Slot;
use super::state::Core;
use super::{LAYER, fenced};
use crate::backend::mongo::{MongoBackend, Opened};
use crate::backend::redis::{Installed, Mark};
use crate::backend::{Backend, Seen, SessionId, version_mismatch};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;
use crate::runtime;

/// A session of up to so many records is copied whole when it is opened.
const WHOLE: usize = 1000;

impl Core {
    /// Makes Redis' copy and outbox serve again. Called in the session's turn.
    ///
    /// If Redis stands where this owner does, nothing was lost. Else what is pending goes to MongoDB from memory
    /// first, and Redis begins anew. MongoDB must then confirm that the session is still ours: a Redis that lost
    /// its data lost the fence too.
    pub async fn repair(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<()> {
        if let Some(lost) = slot.lost() {
            return Err(lost);
        }
        let found = self.hot(self.redis.mark(&slot.session)).await?;
        if let Some(found) = found {
            if found.token > slot.token {
                // Not for Redis alone to say.
                return Err(self.ask_who_owns(slot).await);
            }
            let announced = slot.is_announced() || !self.config.uses_outbox();
            if found == slot.mark() && announced {
                slot.set_ready(true);
                return Ok(());
            }
            if let Some(doubt) = slot.doubt()
                && slot.is_announced()
                && found.token == slot.token
                && (found.version, found.commit_id) == (doubt.version(), doubt.id)
                && doubt.base == slot.mark().version
                && self
                    .hot(self.redis.has_entry(&slot.session, found.version))
                    .await?
            {
                self.hot(self.redis.confirm(&slot.session)).await?;
                self.take_pending(slot, doubt, found);
                slot.set_ready(true);
                return Ok(());
            }
        }
        self.flush(slot).await?;
        // Only in place of what was found: should this arrive late, it must not undo what came since.
        let inherited = match found {
            // Redis went back to what an earlier owner had there.
            Some(found) if found.token < slot.token => {
                self.ledger_of(&slot.session, slot.token).await?.inherited
            }
            _ => None,
        };
        let ours = found.filter(|found| found.token == slot.token);
        match self.begin(slot, ours, inherited).await? {
            Installed::No(_) | Installed::Entries => Err(self.ask_who_owns(slot).await),
            Installed::Yes(mark) => {
                let announced = self.config.uses_outbox();
                if announced {
                    self.announce(slot).await?;
                }
                slot.installed(mark, announced);
                self.start_copying(slot);
                Ok(())
            }
        }
    }

    /// Writes down in MongoDB that this owner uses an outbox, which confirms that it is still the owner.
    async fn announce(&self, slot: &Slot) -> Result<()> {
        let Mark {
            version, commit_id, ..
        } = slot.mark();
        let told = self
            .mongo
            .open_outbox(&slot.session, slot.token, (version, commit_id), None);
        match self.truth(told).await? {
            Opened::Yes => Ok(()),
            Opened::Moved => {
                // Somebody else changed the session.
                let found = self.truth(self.mongo.head(&slot.session)).await?;
                Err(version_mismatch(LAYER, version, found.version))
            }
            Opened::Fenced => {
                let error = fenced(None);
                slot.lose(&error);
                Err(error)
            }
        }
    }

    /// Redis names a later owner. If MongoDB does so too, this one is fenced.
    async fn ask_who_owns(&self, slot: &Slot) -> Error {
        match self.truth(self.mongo.ledger(&slot.session)).await {
            Ok(Some(ledger)) if ledger.token > slot.token => {
                let error = fenced(Some(ledger.token));
                slot.lose(&error);
                error
            }
            Ok(_) => Error::new(
                Kind::Unavailable,
                LAYER,
                "Redis holds something that MongoDB does not know of",
            ),
            Err(error) => error,
        }
    }

    /// Copies a session that is not too large to Redis, in the background.
    pub fn start_copying(&self, slot: &Arc<Slot>) {
        if slot.mark().version == 0 {
            return;
        }
        let Some(core) = self.shared() else { return };
        let slot = slot.clone();
        runtime::spawn(async move {
            // What fails is read from MongoDB.
            let _ = core.copy(&slot).await;
        });
    }

    async fn copy(&self, slot: &Slot) -> Result<()> {
        let no_keys: [RecordKey; 0] = [];
        let before = self.hot(self.redis.read(&slot.session, &no_keys)).await?;
        let mark = slot.mark();
        if (before.complete && before.mark == Some(mark)) || slot.has_pending() {
            return Ok(());
        }
        let page = self.truth(scan(&self.mongo, &slot.session)).await?;
        if slot.mark() == mark && slot.is_ready() {
            let ttl = self.config.copy_ttl(slot.ttl());
            let complete = page.next.is_none();
            self.hot(self.redis.warm(&slot.session, mark, &page.items, complete, ttl))
                .await?;
        }
        Ok(())
    }

    /// Adds what was read from MongoDB at `mark` to Redis' copy, in the background.
    pub fn start_warming(&self, slot: &Arc<Slot>, mark: Mark, records: Vec<(RecordKey, bytes::Bytes)>) {
        let Some(core) = self.shared() else { return };
        let slot = slot.clone();
        runtime::spawn(async move {
            let ttl = core.config.copy_ttl(slot.ttl());
            let _ = core
                .hot(core.redis.warm(&slot.session, mark, &records, false, ttl))
                .await;
        });
    }
}

async fn scan(
    mongo: &MongoBackend,
    session: &SessionId,
) -> Result<crate::backend::Page<(RecordKey, bytes::Bytes)>> {
    use crate::backend::Backend;
    mongo.scan(session, None, None, WHOLE, Seen::NOTHING).await
}
