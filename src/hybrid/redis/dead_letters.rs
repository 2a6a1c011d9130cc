//! The stream of patches that can never be applied.

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use crate::backend::DeadLetter;
use crate::backend::redis::unexpected;
use crate::error::Result;

/// Dead letters kept; the oldest go first.
const KEPT: usize = 10_000;

pub(super) fn add(key: &str, letter: &DeadLetter) -> Cmd {
    let mut command = cmd("XADD");
    command.arg(key).arg("MAXLEN").arg("~").arg(KEPT).arg("*");
    command.arg("session").arg(&*letter.session);
    command.arg("token").arg(letter.token);
    command.arg("version").arg(letter.version);
    command.arg("reason").arg(&letter.reason);
    command.arg("at").arg(letter.at);
    command.arg("entry").arg(&letter.entry[..]);
    command
}

/// The oldest first.
pub(super) fn all(key: &str) -> Cmd {
    cmd("XRANGE").arg(key).arg("-").arg("+").to_owned()
}

/// The answer to [`all`].
pub(super) fn parse(answer: Value) -> Result<Vec<DeadLetter>> {
    let Value::Array(items) = answer else {
        return Err(unexpected());
    };
    items
        .into_iter()
        .map(|item| parse_one(item).ok_or_else(unexpected))
        .collect()
}

/// `[id, [name, value, …]]`.
fn parse_one(item: Value) -> Option<DeadLetter> {
    let Value::Array(mut parts) = item else {
        return None;
    };
    let Some(Value::Array(fields)) = parts.pop() else {
        return None;
    };
    let mut letter = DeadLetter {
        session: "".into(),
        token: 0,
        version: 0,
        reason: String::new(),
        at: 0,
        entry: Bytes::new(),
    };
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next())
    {
        if name == b"entry" {
            letter.entry = value.into();
            continue;
        }
        let text = String::from_utf8(value).ok()?;
        match name.as_slice() {
            b"session" => letter.session = text.into(),
            b"token" => letter.token = text.parse().ok()?,
            b"version" => letter.version = text.parse().ok()?,
            b"reason" => letter.reason = text,
            b"at" => letter.at = text.parse().ok()?,
            _ => {}
        }
    }
    Some(letter)
}
