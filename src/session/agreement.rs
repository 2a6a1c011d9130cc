//! What all who share an open session must agree on.
//!
//! A session is opened once in a process, by what its first opener says of it. Another opener that wants it otherwise
//! would not get that, so it is told.

use std::time::Duration;

use serde_json::{Value, json};

use super::session::Session;
use crate::backend::{Token, client_token_refused};
use crate::error::{Error, Kind, Result};
use crate::record::SealOptions;

/// How a session was opened.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Agreement {
    /// Keys and options of sealing: two openers with equal ones read and write alike.
    pub sealing: ([u8; 32], SealOptions),
    pub ttl: Option<Duration>,
    pub client_token: Option<Token>,
}

impl Agreement {
    /// Fails if `session`, open like this, is wanted with other keys or other options of sealing: records sealed under
    /// both would be the end of it.
    pub fn check_sealing(&self, session: &Session, wanted: &Self) -> Result<()> {
        if self.sealing == wanted.sealing || session.terminal_error().is_some() {
            return Ok(());
        }
        let text =
            "the session is already open in this process with another masterKey or other security options";
        let error = Error::new(Kind::Config, "session", text).with("field", "masterKey");
        Err(error.in_session(session.id()))
    }

    /// Fails if `session`, open like this, is wanted in another way.
    pub fn check(&self, session: &Session, wanted: &Self) -> Result<()> {
        self.check_sealing(session, wanted)?;
        let differing = |option: &str, in_use: Value, asked: Value| {
            let text = format!(
                "the session is already open in this process with `{option}` {in_use}, and cannot have {asked} beside it"
            );
            let error = Error::new(Kind::Config, "session", text).with("field", option);
            Err(error
                .with("inUse", in_use)
                .with("asked", asked)
                .in_session(session.id()))
        };
        if self.ttl != wanted.ttl {
            let seconds = |ttl: Option<Duration>| json!(ttl.map(|ttl| ttl.as_secs()));
            return differing("ttl", seconds(self.ttl), seconds(wanted.ttl));
        }
        match (self.client_token, wanted.client_token) {
            (Some(accepted), Some(client_token)) if client_token < accepted => {
                let refused = client_token_refused("session", client_token, accepted);
                Err(refused.in_session(session.id()))
            }
            // It would have to be written beside the lease, which was taken without it.
            (accepted, Some(client_token)) if accepted != Some(client_token) => {
                differing("fencingToken", json!(accepted), json!(client_token))
            }
            _ => Ok(()),
        }
    }
}
