//! Reads what the server answers.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::errors::{LAYER, error};
use super::keys::HeadField;
use crate::backend::{
    Acquire, Acquired, Fence, Grant, Holder, Owner, SessionId, Token, client_token_refused, fenced,
    session_lost,
};
use crate::error::{Error, Kind, Result};

/// What is said of a server that was restored from an old copy.
pub(super) const OLDER_COPY: &str = "Redis holds an older copy of the session";

/// What is said of a server that has lost a session.
pub(super) const GONE: &str = "Redis no longer holds what this owner has written";

/// A head that is not what the scripts write.
pub(super) fn corrupt_head() -> Error {
    error(Kind::Corrupt, "the session's head cannot be read")
}

/// An answer that the scripts and commands never give.
pub(crate) fn unexpected() -> Error {
    error(Kind::Internal, "the server's answer has an unexpected shape")
}

/// One record, or none.
pub(crate) fn record(value: Value) -> Result<Option<Bytes>> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::Nil => Ok(None),
        _ => Err(unexpected()),
    }
}

/// Cursor and elements of SCAN and HSCAN.
pub(crate) fn read_scan(answer: Value) -> Result<(String, Vec<Value>)> {
    if let Value::Array(mut parts) = answer
        && let (Some(Value::Array(items)), Some(Value::BulkString(cursor))) = (parts.pop(), parts.pop())
        && let Ok(cursor) = String::from_utf8(cursor)
    {
        return Ok((cursor, items));
    }
    Err(unexpected())
}

/// The answer of the scan script: what `@` holds, the cursor and the elements.
pub(super) fn read_page(answer: Value) -> Result<(Value, String, Vec<Value>)> {
    let Value::Array(parts) = answer else {
        return Err(unexpected());
    };
    let head = parts.first().cloned().ok_or_else(unexpected)?;
    let (cursor, items) = read_scan(Value::Array(parts))?;
    Ok((head, cursor, items))
}

/// Token and owner of a lease: `token attempt owner`.
pub(crate) fn parse_lease(lease: &[u8]) -> Option<(Token, Owner)> {
    let mut parts = std::str::from_utf8(lease).ok()?.splitn(3, ' ');
    let token = parts.next()?.parse().ok()?;
    let owner = serde_json::from_str(parts.nth(1)?).ok()?;
    Some((token, owner))
}

/// The answer of the acquire script.
pub(super) fn read_acquired(answer: Value, request: &Acquire) -> Result<Acquired> {
    let Value::Array(parts) = answer else {
        return Err(unexpected());
    };
    let mut parts = parts.into_iter();
    let mut text = || match parts.next() {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        _ => Err(unexpected()),
    };
    match text()?.as_slice() {
        b"fenced" => {
            let accepted = String::from_utf8_lossy(&text()?).parse();
            Err(client_token_refused(
                LAYER,
                request.client_token.unwrap_or_default(),
                accepted.unwrap_or_default(),
            ))
        }
        b"corrupt" => Err(corrupt_head()),
        b"held" => {
            let (token, owner) = parse_lease(&text()?)
                .ok_or_else(|| error(Kind::Corrupt, "the session's lease cannot be read"))?;
            let expires_in = match parts.next() {
                Some(Value::Int(left)) => u64::try_from(left).ok().map(Duration::from_millis),
                _ => return Err(unexpected()),
            };
            Ok(Acquired::Held(Holder {
                owner,
                token,
                expires_in,
            }))
        }
        b"granted" => {
            let head = HeadField::parse(&text()?).ok_or_else(corrupt_head)?;
            let records = parts.map(record).collect::<Result<Vec<_>>>()?;
            if records.len() != request.read.len() {
                return Err(unexpected());
            }
            Ok(Acquired::Granted(Grant {
                token: head.token,
                head: head.head(),
                records,
                expires: true,
            }))
        }
        _ => Err(unexpected()),
    }
}

/// Reads the answer of the delete and touch scripts.
pub(super) fn read_done(session: &SessionId, fence: Fence, answer: &Value) -> Result<bool> {
    match answer {
        Value::Int(done) => Ok(*done == 1),
        Value::BulkString(head) => match HeadField::parse(head) {
            Some(head) => {
                let older = matches!(fence, Fence::Owner(token) if head.token < token);
                let error = if older {
                    session_lost(LAYER, OLDER_COPY, None, head.version)
                } else {
                    fenced(LAYER, Some(head.token))
                };
                Err(error.in_session(session))
            }
            None => Err(corrupt_head().in_session(session)),
        },
        _ => Err(unexpected()),
    }
}
