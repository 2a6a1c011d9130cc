//! Names of the keys, as written down in `docs/internals/hybrid.md`.

use crate::backend::redis::Keys as SessionKeys;

/// Names of the keys beside one installation of a primary store.
pub(super) struct Keys {
    sessions: SessionKeys,
    prefix: String,
    installation: String,
}

impl Keys {
    pub fn new(prefix: &str, installation: &str) -> Self {
        Self {
            sessions: SessionKeys::new(prefix),
            prefix: prefix.to_owned(),
            installation: installation.to_owned(),
        }
    }

    fn of(&self, session: &str, what: &str) -> String {
        format!("{}:{}:{what}", self.sessions.hash(session), self.installation)
    }

    /// The copy of a session.
    pub fn copy(&self, session: &str) -> String {
        self.of(session, "hot")
    }

    /// What the session's owner has acknowledged and the primary may not have yet.
    pub fn outbox(&self, session: &str) -> String {
        self.of(session, "outbox")
    }

    /// The lease.
    pub fn lease(&self, session: &str) -> String {
        self.of(session, "owner")
    }

    /// The stream of patches that could never be applied.
    pub fn dead_letters(&self) -> String {
        format!("{}:{}:dead-letters", self.prefix, self.installation)
    }

    /// A hash and a string that no session has.
    pub fn proof(&self) -> [String; 2] {
        self.sessions.proof(&self.installation)
    }
}
