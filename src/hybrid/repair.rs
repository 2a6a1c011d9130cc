//! Redis after it lost touch with a session: it was away, was emptied, or went back in time.

use std::sync::Arc;

use super::cache::{Installed, Revision};
use super::slot::Slot;
use super::state::Core;
use super::{LAYER, fenced};
use crate::backend::{Inherited, OutboxOpened, version_mismatch};
use crate::error::{Error, Kind, Result};

impl Core {
    /// Makes Redis' copy and outbox serve again. Called in the session's turn.
    ///
    /// If Redis is where this owner is, nothing was lost. Else what is pending goes to MongoDB from memory
    /// first, and Redis begins anew. MongoDB must then confirm that the session is still ours: a Redis that lost
    /// its data lost the fence too.
    pub async fn repair(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<()> {
        if let Some(lost) = slot.lost() {
            return Err(lost);
        }
        let session = &slot.session;
        let found = self.cache.call(|cache| cache.revision(session)).await?;
        if let Some(found) = found {
            if found.token > slot.token {
                // Not for Redis alone to say.
                return Err(self.ask_who_owns(slot).await);
            }
            let known = !slot.is_unconfirmed() && (slot.is_announced() || !self.config.uses_outbox());
            if found == slot.revision() && known {
                slot.set_ready(true);
                return Ok(());
            }
            if let Some(doubt) = slot.doubt()
                && known
                && slot.is_announced()
                && found.token == slot.token
                && (found.version, found.commit_id) == (doubt.version(), doubt.id)
                && doubt.base == slot.revision().version
                && self
                    .cache
                    .call(|cache| cache.confirm_entry(session, found.version))
                    .await?
            {
                self.take_pending(slot, doubt, found);
                slot.set_ready(true);
                return Ok(());
            }
        }
        self.drain.flush(slot).await?;
        // Only in place of what was found: should this arrive late, it must not undo what came since.
        let inherited = match found {
            // Redis went back to what an earlier owner had there.
            Some(found) if found.token < slot.token => {
                self.metadata_of(&slot.session, slot.token).await?.inherited
            }
            _ => Inherited::default(),
        };
        let ours = found.filter(|found| found.token == slot.token);
        if ours.is_none() {
            // An earlier owner could begin anew in a Redis that has forgotten its successor. One that has our fence has not.
            slot.begin_anew();
        }
        match self.begin(slot, ours, inherited).await? {
            Installed::No(_) | Installed::Entries => Err(self.ask_who_owns(slot).await),
            Installed::Yes(revision) => {
                let announced = self.config.uses_outbox();
                if announced {
                    self.announce(slot).await?;
                }
                slot.installed(revision, announced);
                self.copies.start_copying(slot);
                Ok(())
            }
        }
    }

    /// Writes down in MongoDB that this owner uses an outbox, which confirms that it is still the owner.
    async fn announce(&self, slot: &Slot) -> Result<()> {
        let Revision {
            version, commit_id, ..
        } = slot.revision();
        let session = &slot.session;
        let told = self
            .primary
            .call(|primary| primary.open_outbox(session, slot.token, (version, commit_id), None));
        match told.await? {
            OutboxOpened::Yes => Ok(()),
            OutboxOpened::Moved => {
                // Somebody else changed the session.
                let found = self.primary.call(|primary| primary.head(session)).await?;
                Err(version_mismatch(LAYER, version, found.version))
            }
            OutboxOpened::Fenced => {
                let error = fenced(None);
                slot.lose(&error);
                Err(error)
            }
        }
    }

    /// Redis names a later owner. If MongoDB does so too, this one is fenced.
    async fn ask_who_owns(&self, slot: &Slot) -> Error {
        let metadata = self.primary.call(|primary| primary.metadata(&slot.session));
        match metadata.await {
            Ok(Some(metadata)) if metadata.token > slot.token => {
                let error = fenced(Some(metadata.token));
                slot.lose(&error);
                error
            }
            Ok(_) => Error::new(
                Kind::Unavailable,
                LAYER,
                "Redis holds something that the primary does not know of",
            ),
            Err(error) => error,
        }
    }
}
