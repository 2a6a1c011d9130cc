//! Commits to a copy and its outbox, which share script calls with those of other sessions.

use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::{revision, scripts};
use crate::backend::Head;
use crate::backend::redis::{Call, Item, Reply, milliseconds, put};
use crate::hybrid::cache::Revision;
use crate::record::Change;

/// See the module.
pub(super) struct CacheCommit {
    /// Of the copy and of the outbox.
    pub keys: [String; 2],
    pub base: u64,
    pub revision: Revision,
    pub changes: Vec<Change>,
    /// What the outbox gets.
    pub entry: Option<Bytes>,
    pub ttl: Option<Duration>,
}

impl Item for CacheCommit {
    fn script(&self) -> &'static Call {
        &scripts::COMMIT
    }

    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn head_key(&self) -> &str {
        &self.keys[1]
    }

    fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Without an entry, the primary acknowledged it.
    fn is_acknowledged(&self) -> bool {
        self.entry.is_some()
    }

    fn write_heading(&self, command: &mut Cmd, _now: u64, text: &mut String) {
        let Revision { token, version, .. } = self.revision;
        put(command, text, format_args!("{token}:{}:", self.base));
        command
            .arg(revision::write(&self.revision))
            .arg(milliseconds(self.ttl));
        match &self.entry {
            Some(entry) => command.arg(version).arg(&entry[..]),
            None => command.arg("").arg(""),
        };
    }

    fn heading_bytes(&self) -> usize {
        self.entry.as_ref().map_or(0, Bytes::len)
    }

    fn committed(&self, _now: u64) -> Head {
        head_of(&self.revision)
    }

    fn read_head(&self, head: Vec<u8>) -> Reply {
        match revision::parse(&head) {
            // The answer was lost and the commit sent again.
            Ok(Some(found)) if found.token == self.revision.token && found.same_commit(&self.revision) => {
                Reply::Before(head_of(&found))
            }
            _ => Reply::Refused(head),
        }
    }
}

fn head_of(revision: &Revision) -> Head {
    Head {
        version: revision.version,
        updated_at: revision.updated_at,
    }
}
