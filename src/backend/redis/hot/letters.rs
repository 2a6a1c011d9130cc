//! The stream of patches that can never be applied.

use bytes::Bytes;
use redis::{Value, cmd};

use super::super::answers::unexpected;
use super::HotCopies;
use crate::backend::Letter;
use crate::error::Result;

/// Dead letters kept; the oldest go first.
const LETTERS: usize = 10_000;

impl HotCopies {
    /// Puts a patch that can never be applied where an operator finds it.
    pub async fn bury(&self, letter: &Letter) -> Result<()> {
        let mut command = cmd("XADD");
        command
            .arg(self.keys.dead_letters())
            .arg("MAXLEN")
            .arg("~")
            .arg(LETTERS)
            .arg("*");
        command
            .arg("session")
            .arg(&*letter.session)
            .arg("token")
            .arg(letter.token);
        command
            .arg("version")
            .arg(letter.version)
            .arg("reason")
            .arg(&letter.reason);
        command
            .arg("at")
            .arg(letter.at)
            .arg("entry")
            .arg(&letter.entry[..]);
        Ok(self.link.send(&command, self.begin()?).await.map(drop)?)
    }

    /// The patches that could never be applied, the oldest first.
    pub async fn letters(&self) -> Result<Vec<Letter>> {
        let command = cmd("XRANGE")
            .arg(self.keys.dead_letters())
            .arg("-")
            .arg("+")
            .to_owned();
        let answer = self.link.send(&command, self.begin()?).await?;
        let Value::Array(items) = answer else {
            return Err(unexpected());
        };
        items
            .into_iter()
            .map(|item| read_letter(item).ok_or_else(unexpected))
            .collect()
    }
}

/// `[id, [name, value, …]]`.
fn read_letter(item: Value) -> Option<Letter> {
    let Value::Array(mut parts) = item else {
        return None;
    };
    let Some(Value::Array(fields)) = parts.pop() else {
        return None;
    };
    let mut letter = Letter {
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
