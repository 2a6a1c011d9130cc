//! What commits change while a whole session is being read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::actor::{Reply, Session};
use crate::backend::Head;
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey};

/// What a [`Journal`] has noted.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) number: u64,
    pub(super) changed: HashMap<RecordKey, Option<Bytes>>,
    /// Records of commits in doubt: they may have changed at any moment, to a value not known here.
    pub(super) doubtful: HashSet<RecordKey>,
}

impl Session {
    /// Begins to note down every record that commits change from now on.
    pub(super) fn open_journal(self: &Arc<Self>) -> Journal {
        let mut state = self.state.lock();
        state.last_journal += 1;
        let number = state.last_journal;
        let doubtful = state
            .doubt
            .as_ref()
            .map(|doubt| doubt.keys.clone())
            .unwrap_or_default();
        state.journals.push(Noted {
            number,
            doubtful,
            ..Noted::default()
        });
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
        let noted = state.journals.iter().find(|noted| noted.number == journal.number);
        for Change { key, value } in changes {
            let changed = state.overlay.contains_key(&key)
                || noted
                    .is_some_and(|noted| noted.changed.contains_key(&key) || noted.doubtful.contains(&key));
            if !changed {
                patch.set(key, value);
            }
        }
        let count = patch.changes().len();
        let outcome = if count == 0 {
            Err((state.refusal.clone(), reply))
        } else {
            state
                .push(patch, None, self.place.patience, reply)
                .map_err(|(error, reply)| (Some(error), reply))
        };
        let head = state.head;
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
    /// What was noted so far and where the session stood then; an error if the outcome of a commit was in doubt.
    pub fn read(&self) -> Result<(HashMap<RecordKey, Option<Bytes>>, Head)> {
        let state = self.session.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let noted = state.journals.iter().find(|noted| noted.number == self.number);
        if state.doubt.is_some() || noted.is_some_and(|noted| !noted.doubtful.is_empty()) {
            let error = Error::new(
                Kind::Unavailable,
                "session",
                "the outcome of an earlier write is not known yet",
            );
            return Err(error.in_session(&self.session.id));
        }
        Ok((
            noted.map(|noted| noted.changed.clone()).unwrap_or_default(),
            state.head,
        ))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.session
            .state
            .lock()
            .journals
            .retain(|noted| noted.number != self.number);
    }
}
