//! Who was granted which session since the folder was opened.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::backend::{SessionId, Token};

/// The newest token of every session in use, where the folder is held exclusively: nobody else can grant one then, so
/// a grant need not be written down before the first commit. Where the folder is shared nothing is kept here, and what
/// the database says counts.
pub(super) struct Grants(Option<Mutex<HashMap<SessionId, Token>>>);

impl Grants {
    /// Kept if the folder is held `exclusive`ly.
    pub fn new(exclusive: bool) -> Self {
        Self(exclusive.then(Mutex::default))
    }

    /// Whether the newest tokens are kept here.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// The newest token of a session in use.
    pub fn current(&self, session: &str) -> Option<Token> {
        self.0.as_ref()?.lock().get(session).copied()
    }

    /// A token larger than the one stored, than every one before it, and than the time.
    pub fn issue(&self, session: &SessionId, stored: Token, now: u64) -> Token {
        let token = self.current(session).unwrap_or(0).max(stored).max(now - 1) + 1;
        if let Some(kept) = &self.0 {
            kept.lock().insert(session.clone(), token);
        }
        token
    }

    /// The session is not in use any more, unless somebody else was granted it since.
    pub fn end(&self, session: &SessionId, token: Token) {
        if let Some(kept) = &self.0 {
            let mut kept = kept.lock();
            if kept.get(session) == Some(&token) {
                kept.remove(session);
            }
        }
    }
}
