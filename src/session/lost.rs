//! Sessions that this process knows to be lost.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::backend::SessionId;
use crate::error::{Error, Kind, Result};

/// Sessions of which the storage has lost what this process had written. What it holds of them now, nothing or an
/// older copy, must not be taken for the session: a new identity would be made while the true one is still in use
/// elsewhere in this process. Outlives the store, since a program may close it and open it again.
#[derive(Debug, Default)]
pub struct LostSessions(Mutex<HashMap<SessionId, Error>>);

impl LostSessions {
    /// Notes that `session` was taken away for `reason`, if it was lost and not merely taken over.
    pub fn note(&self, session: &SessionId, reason: &Error) {
        if reason.kind() == Kind::SessionLost {
            self.0.lock().insert(session.clone(), reason.clone());
        }
    }

    /// Fails if `session` is known to be lost.
    pub fn check(&self, session: &SessionId) -> Result<()> {
        let Some(reason) = self.0.lock().get(session).cloned() else {
            return Ok(());
        };
        let text = "the storage lost this session while this process used it; `store.delete` gives it up for good, \
                    and a restart of the process takes what the storage holds now";
        let error = Error::new(Kind::SessionLost, "session", text).in_session(session);
        Err(error.because(&reason))
    }

    /// The session was given up.
    pub fn forget(&self, session: &SessionId) {
        self.0.lock().remove(session);
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
