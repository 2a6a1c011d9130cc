//! Reads of many fields. A server ends the connection, everybody's, when an answer is larger than it lets wait for a
//! client (`client-output-buffer-limit`). Asked again as a whole it would do so again: so it is asked in halves, and
//! what that teaches is remembered.

use redis::{Value, cmd};
use tokio::time::Instant;

use super::answers::unexpected;
use super::connection::Link;
use super::keys::HEAD;
use crate::error::{Error, Result};

/// Smaller answers are not what a connection ended for; it may have stood idle for longer than the server likes.
const LARGE: usize = 256 * 1024;

/// A read that is made smaller while connections end under it.
pub(crate) struct Shrinking {
    pub portion: usize,
    shrunk: bool,
    again: bool,
}

impl Shrinking {
    pub fn new(link: &Link) -> Self {
        Self {
            portion: link.portion.get(),
            shrunk: false,
            again: false,
        }
    }

    /// After a read of `asked` fields failed: whether it is worth another try, with what [`Self::portion`] says now.
    pub fn after(&mut self, error: Error, asked: usize) -> Result<()> {
        if !error.is_of_ended_connection() {
            return Err(error);
        }
        if asked > 1 {
            self.portion = asked.div_ceil(2);
            self.shrunk = true;
            return Ok(());
        }
        if !std::mem::replace(&mut self.again, true) {
            return Ok(());
        }
        let text = format!(
            "{}; it does so whenever this record is read: raise client-output-buffer-limit (normal) on the server",
            error.message()
        );
        Err(Error::new(error.kind(), error.layer(), text)
            .because(&error.cause().unwrap_or_default())
            .with("setting", "client-output-buffer-limit")
            .of_ended_connection())
    }

    /// After all was read: remembers what was learnt if the answers had so many bytes.
    pub fn learn(&self, link: &Link, bytes: usize) {
        if self.shrunk && bytes >= LARGE {
            link.portion.shrink_to(self.portion);
        }
    }
}

/// What stood in `@` of the hash `key` whenever it was read, and the values of `fields`, in the order asked.
pub(crate) async fn fields(
    link: &Link,
    key: &str,
    fields: &[&[u8]],
    deadline: Instant,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut reading = Shrinking::new(link);
    let mut heads = Vec::with_capacity(1);
    let mut values = Vec::with_capacity(fields.len());
    let mut rest = fields;
    while !rest.is_empty() {
        let (some, others) = rest.split_at(rest.len().min(reading.portion));
        let mut command = cmd("HMGET");
        command.arg(key).arg(HEAD).arg(some);
        match link.send(&command, deadline).await {
            Ok(Value::Array(found)) if found.len() == some.len() + 1 => {
                let mut found = found.into_iter();
                heads.extend(found.next());
                values.extend(found);
                rest = others;
            }
            Ok(_) => return Err(unexpected()),
            Err(fault) => reading.after(fault.into(), some.len())?,
        }
    }
    reading.learn(link, bytes(&values));
    Ok((heads, values))
}

/// Bytes of records among `values`.
pub(super) fn bytes(values: &[Value]) -> usize {
    let sizes = values.iter().map(|value| match value {
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    });
    sizes.sum()
}
