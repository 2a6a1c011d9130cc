//! What commits change while a whole session is being read.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::queue::Reply;
use super::session::Session;
use crate::backend::Head;
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey};

impl Session {
    /// Begins to note down every record that commits change from now on.
    pub(super) fn open_journal(self: &Arc<Self>) -> Journal {
        let number = self.state.lock().open_journal();
        Journal {
            session: self.clone(),
            number,
        }
    }

    /// Queues those changes of `changes` whose records nothing else has changed since `journal` was opened.
    /// Returns how many, and whether the session must be handed to the committer.
    pub(super) fn amend(&self, journal: &Journal, changes: Vec<Change>, reply: Reply) -> (usize, bool) {
        let mut patch = Patch::default();
        let mut state = self.state.lock();
        for Change { key, value } in changes {
            if !state.may_have_changed(journal.number, &key) {
                patch.set(key, value);
            }
        }
        let count = patch.changes().len();
        let outcome = if count == 0 {
            Err((state.terminal_error().cloned(), reply))
        } else {
            state
                .push(patch, None, self.context.timeout, reply)
                .map_err(|(error, reply)| (Some(error), reply))
        };
        let head = state.head();
        drop(state);
        match outcome {
            Ok(schedule) => (count, schedule),
            Err((error, reply)) => {
                reply.give(error.map_or(Ok(head), |error| Err(error.in_session(&self.id))));
                (0, false)
            }
        }
    }
}

/// Records changed since [`Session::open_journal`]; they are noted until it is dropped.
pub struct Journal {
    session: Arc<Session>,
    number: u64,
}

impl Journal {
    /// What was noted so far and the session's head then; an error if the outcome of a commit is in doubt.
    pub fn read(&self) -> Result<(HashMap<RecordKey, Option<Bytes>>, Head)> {
        let state = self.session.state.lock();
        state.ensure_usable()?;
        let Some(changed) = state.changed_since(self.number) else {
            let text = "the outcome of an earlier write is not known yet";
            return Err(Error::new(Kind::Unavailable, "session", text).in_session(&self.session.id));
        };
        Ok((changed, state.head()))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.session.state.lock().close_journal(self.number);
    }
}
