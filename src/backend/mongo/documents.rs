//! How sessions, patches and records look as documents. The shapes are written down in `docs/internals/mongodb.md`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use super::clock::Now;
use super::errors::corrupt;
use crate::backend::{Head, Inherited, Owner, Token};
use crate::error::{Error, Result};
use crate::record::{Change, RecordKey};

/// How long the document of a session that was never written, or was deleted, outlives its last lease.
pub(super) const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// How much BSON adds to a change beyond its key and value, generously.
const CHANGE_OVERHEAD: usize = 64;

/// One patch after its commit point.
#[derive(Debug)]
pub(super) struct Entry {
    /// The version of the session after it.
    pub version: u64,
    /// Its changes; `None` if they are staged and were not loaded.
    pub changes: Option<Vec<Change>>,
    /// Set if they are too large to stand in the session's document.
    pub stage: Option<Stage>,
}

/// Where the changes of a large patch are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub id: String,
    pub chunks: u32,
}

/// The document of a session.
#[derive(Debug)]
pub(super) struct SessionDoc {
    /// The incarnation: records of another one are not this session's.
    pub epoch: Arc<str>,
    pub version: u64,
    pub updated_at: u64,
    pub token: Token,
    pub client_token: Option<Token>,
    pub owner: Option<Owner>,
    pub lease_until: Option<DateTime>,
    /// How many milliseconds leases of this owner last.
    pub lease_lasts: Option<i64>,
    /// The lease of the owner's process, which may last longer than that.
    pub lease: Option<Arc<str>>,
    pub expires_at: Option<DateTime>,
    pub commit_id: u64,
    /// Commits of `exclusive: false` writers: id, version.
    pub recent: Vec<(u64, u64)>,
    pub pending: Vec<Arc<Entry>>,
    /// Incarnations whose records may not have been removed yet.
    pub garbage: Vec<Arc<str>>,
    pub staging: bool,
    pub sweeps: i64,
    /// The owner that may have acknowledged patches which stand in an outbox elsewhere.
    pub outbox: Option<Token>,
    pub inherited: Inherited,
}

impl SessionDoc {
    pub fn parse(document: &Document) -> Result<Self> {
        let pending = match document.get("pending") {
            None => Vec::new(),
            Some(Bson::Array(entries)) => entries.iter().map(parse_entry).collect::<Result<_>>()?,
            Some(_) => return Err(corrupt("`pending` is not an array")),
        };
        let recent = match document.get("recent") {
            None => Vec::new(),
            Some(Bson::Array(commits)) => commits
                .iter()
                .map(|commit| {
                    let commit = commit.as_document().ok_or_else(|| corrupt("a recent commit"))?;
                    Ok((unsigned(commit, "id")?, unsigned(commit, "v")?))
                })
                .collect::<Result<_>>()?,
            Some(_) => return Err(corrupt("`recent` is not an array")),
        };
        let garbage = match document.get("garbage") {
            None => Vec::new(),
            Some(Bson::Array(epochs)) => epochs
                .iter()
                .map(|epoch| {
                    epoch
                        .as_str()
                        .map(Arc::from)
                        .ok_or_else(|| corrupt("an old epoch"))
                })
                .collect::<Result<_>>()?,
            Some(_) => return Err(corrupt("`garbage` is not an array")),
        };
        Ok(Self {
            epoch: document
                .get_str("epoch")
                .map_err(|_| corrupt("a session without epoch"))?
                .into(),
            version: unsigned(document, "version")?,
            updated_at: unsigned(document, "updatedAt")?,
            token: unsigned(document, "token")?,
            client_token: document
                .contains_key("claim")
                .then(|| unsigned(document, "claim"))
                .transpose()?,
            owner: document.get_document("owner").ok().map(parse_owner).transpose()?,
            lease_until: document.get_datetime("leaseUntil").ok().copied(),
            lease_lasts: document.get_i64("leaseLasts").ok(),
            lease: document.get_str("lease").ok().map(Arc::from),
            expires_at: document.get_datetime("expiresAt").ok().copied(),
            commit_id: unsigned(document, "commitId")?,
            recent,
            pending,
            garbage,
            staging: document.get_bool("staging").unwrap_or(false),
            sweeps: number(document, "sweeps")?,
            outbox: document
                .contains_key("outbox")
                .then(|| unsigned(document, "outbox"))
                .transpose()?,
            inherited: match document.get("inherited") {
                None => Inherited::default(),
                Some(Bson::Array(owners)) => owners.iter().try_fold(Inherited::default(), |all, owner| {
                    let owner = owner.as_document().ok_or_else(|| corrupt("an earlier owner"))?;
                    Ok::<_, Error>(all.and((unsigned(owner, "token")?, unsigned(owner, "v")?)))
                })?,
                Some(_) => return Err(corrupt("`inherited` is not an array")),
            },
        })
    }

    /// Whether there is a session at all: not only a lease, a tombstone, or what the TTL index has not reaped yet.
    pub fn exists(&self, now: DateTime) -> bool {
        self.version > 0 && !self.expired(now)
    }

    /// Whether the session outlived its time to live.
    pub fn expired(&self, now: DateTime) -> bool {
        self.version > 0 && self.expires_at.is_some_and(|at| at <= now)
    }

    pub fn head(&self) -> Head {
        Head {
            version: self.version,
            updated_at: self.updated_at,
        }
    }
}

/// A new session's document without owner: no version, no records; removed at `expires_at` if it stays so.
pub(super) fn blank_session(session: &str, epoch: &str, expires_at: DateTime) -> Document {
    doc! {
        "_id": session, "epoch": epoch, "version": 0_i64, "updatedAt": 0_i64, "token": 0_i64, "commitId": 0_i64,
        "pending": [], "sweeps": 0_i64, "expiresAt": expires_at,
    }
}

/// What makes a session's document a tombstone: no version, no records, the token kept. The old incarnation's
/// records are remembered as garbage.
pub(super) fn tombstone_update(old: &str, new: &str, now: Now) -> Document {
    doc! {
        "$set": {
            "version": 0_i64, "updatedAt": 0_i64, "epoch": new, "commitId": 0_i64, "pending": [], "recent": [],
            "expiresAt": now.plus(IDLE),
        },
        "$push": { "garbage": old },
    }
}

/// Random: two incarnations never share one.
pub(super) fn new_epoch() -> Arc<str> {
    format!("{:016x}", random()).into()
}

/// A random number.
pub(super) fn random() -> u64 {
    getrandom::u64().expect("the system has a source of randomness")
}

/// Milliseconds since the Unix epoch.
pub(super) fn millis(time: DateTime) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}

/// A number as BSON has it; commit ids use all 64 bits and are only compared.
#[allow(clippy::cast_possible_wrap)]
pub(super) fn long(value: u64) -> i64 {
    value as i64
}

#[allow(clippy::cast_sign_loss)]
pub(super) fn unsigned(document: &Document, field: &str) -> Result<u64> {
    number(document, field).map(|value| value as u64)
}

fn number(document: &Document, field: &str) -> Result<i64> {
    match document.get(field) {
        None => Ok(0),
        Some(Bson::Int64(value)) => Ok(*value),
        Some(Bson::Int32(value)) => Ok((*value).into()),
        Some(_) => Err(corrupt("a field that should be a number is not")),
    }
}

pub(super) fn owner_document(owner: &Owner) -> Document {
    doc! {
        "host": &owner.host, "boot": &owner.boot, "pid": i64::from(owner.pid), "started": long(owner.started),
        "instance": &owner.instance,
    }
}

pub(super) fn parse_owner(document: &Document) -> Result<Owner> {
    let text = |field| document.get_str(field).unwrap_or_default().to_owned();
    Ok(Owner {
        host: text("host"),
        boot: text("boot"),
        pid: u32::try_from(number(document, "pid")?).map_err(|_| corrupt("an owner's pid"))?,
        started: unsigned(document, "started")?,
        instance: text("instance"),
    })
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

/// About how many bytes of BSON the changes are.
pub(super) fn size_of(changes: &[Change]) -> usize {
    changes.iter().map(change_size).sum()
}

pub(super) fn change_size(change: &Change) -> usize {
    CHANGE_OVERHEAD + change.key.as_bytes().len() + change.value.as_ref().map_or(0, Bytes::len)
}

/// The changes as an array of `{k, d}`, without `d` where a record is deleted.
pub(super) fn changes_array<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Bson {
    let array = changes.into_iter().map(|change| {
        let mut item = doc! { "k": binary(change.key.as_bytes()) };
        if let Some(value) = &change.value {
            item.insert("d", binary(value));
        }
        Bson::Document(item)
    });
    Bson::Array(array.collect())
}

pub(super) fn parse_changes(array: &[Bson]) -> Result<Vec<Change>> {
    let parse = |item: &Bson| {
        let item = item
            .as_document()
            .ok_or_else(|| corrupt("a change is not a document"))?;
        let key = item
            .get_binary_generic("k")
            .map_err(|_| corrupt("a change without key"))?;
        Ok(Change {
            key: RecordKey::from_bytes(key)?,
            value: data(item)?,
        })
    };
    array.iter().map(parse).collect()
}

/// An entry of `pending`: `{v, c}`, or `{v, stage, chunks}`.
pub(super) fn entry_document(entry: &Entry) -> Document {
    let mut document = doc! { "v": long(entry.version) };
    if let Some(stage) = &entry.stage {
        document.insert("stage", &stage.id);
        document.insert("chunks", i64::from(stage.chunks));
    } else {
        document.insert("c", changes_array(entry.changes.iter().flatten()));
    }
    document
}

fn parse_entry(entry: &Bson) -> Result<Arc<Entry>> {
    let entry = entry
        .as_document()
        .ok_or_else(|| corrupt("a pending patch is not a document"))?;
    let version = unsigned(entry, "v")?;
    let (changes, stage) = if let Ok(id) = entry.get_str("stage") {
        let chunks = u32::try_from(number(entry, "chunks")?).map_err(|_| corrupt("a count of chunks"))?;
        (
            None,
            Some(Stage {
                id: id.to_owned(),
                chunks,
            }),
        )
    } else {
        let array = entry
            .get_array("c")
            .map_err(|_| corrupt("a pending patch without changes"))?;
        (Some(parse_changes(array)?), None)
    };
    Ok(Arc::new(Entry {
        version,
        changes,
        stage,
    }))
}

/// What is stored under a record's `_id`.
#[derive(Debug)]
pub(super) struct Record {
    /// The version of the patch that wrote it.
    pub version: u64,
    /// `None`: that patch deleted it.
    pub value: Option<Bytes>,
}

pub(super) fn parse_record(mut document: Document) -> Result<(String, Record)> {
    let Some(Bson::Document(mut record)) = document.remove("r") else {
        return Err(corrupt("a record without content"));
    };
    let version = unsigned(&record, "v")?;
    let value = match record.remove("d") {
        None => None,
        Some(Bson::Binary(binary)) => Some(Bytes::from(binary.bytes)),
        Some(_) => return Err(corrupt("a record's bytes are not binary")),
    };
    match document.remove("_id") {
        Some(Bson::String(id)) => Ok((id, Record { version, value })),
        _ => Err(corrupt("a record's `_id` is not a string")),
    }
}

fn data(document: &Document) -> Result<Option<Bytes>> {
    match document.get("d") {
        None => Ok(None),
        Some(Bson::Binary(binary)) => Ok(Some(Bytes::copy_from_slice(&binary.bytes))),
        Some(_) => Err(corrupt("a record's bytes are not binary")),
    }
}

/// One update statement that gives a record what `change` says, unless something newer stands there: documents are
/// compared field by field, so `$max` compares the versions. (A guard in the filter would make an upsert that comes
/// late meet a duplicate key.) A deleted record leaves a tombstone until `tombstone_until`, so that an older write
/// that comes late finds it.
pub(super) fn record_statement(
    prefix: &str,
    version: u64,
    change: &Change,
    tombstone_until: DateTime,
) -> Document {
    let mut record = doc! { "v": long(version) };
    match &change.value {
        Some(value) => record.insert("d", binary(value)),
        None => record.insert("expiresAt", tombstone_until),
    };
    doc! {
        "q": { "_id": record_id(prefix, &change.key) }, "u": { "$max": { "r": record } }, "upsert": true,
    }
}

/// `session/epoch/`: what the `_id`s of an incarnation's records begin with.
pub(super) fn epoch_prefix(session: &str, epoch: &str) -> String {
    format!("{}/{epoch}/", escape(session))
}

/// `session/`: what the `_id`s of all its records, of any incarnation, begin with.
pub(super) fn session_prefix(session: &str) -> String {
    format!("{}/", escape(session))
}

/// `session/epoch/type/`, for [`range`].
pub(super) fn kind_prefix(prefix: &str, kind: &str) -> String {
    format!("{prefix}{}/", escape(kind))
}

/// `session/epoch/type/id`.
pub(super) fn record_id(prefix: &str, key: &RecordKey) -> String {
    format!("{prefix}{}/{}", escape(key.kind()), key.id())
}

/// The key in an `_id` that begins with `prefix`.
pub(super) fn parse_record_id(prefix: &str, id: &str) -> Result<RecordKey> {
    let wrong = || corrupt("a record's `_id` is not of its session");
    let (kind, id) = id
        .strip_prefix(prefix)
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(wrong)?;
    RecordKey::new(&unescape(kind), id)
}

/// The session and the epoch of any `_id` among the records.
pub(super) fn parse_owner_of(id: &str) -> Option<(String, &str)> {
    let mut parts = id.splitn(3, '/');
    let session = unescape(parts.next()?);
    let epoch = parts.next()?;
    parts.next().map(|_| (session, epoch))
}

/// All `_id`s that begin with `prefix`, which ends with `/`: the character after that is `0`.
pub(super) fn range(prefix: &str) -> Document {
    doc! { "$gte": prefix, "$lt": end_of(prefix) }
}

/// Above every `_id` that begins with `prefix`.
pub(super) fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    debug_assert!(end.ends_with('/'));
    end.pop();
    end.push('0');
    end
}

/// Keeps `/` out of sessions and types, so that an `_id` can be read in one way only.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F")
}

fn unescape(text: &str) -> String {
    text.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_are_unambiguous() {
        let tricky = ["a", "a/b", "a%2Fb", "%", "/", "a/", "a0"];
        for session in tricky {
            for kind in tricky {
                let key = RecordKey::new(kind, "x/y%2F").unwrap();
                let prefix = epoch_prefix(session, "00ff");
                let id = record_id(&prefix, &key);
                assert_eq!(parse_record_id(&prefix, &id).unwrap(), key);
                assert_eq!(parse_owner_of(&id), Some((session.to_owned(), "00ff")));
                for other in tricky.iter().filter(|&&other| other != session) {
                    let other = session_prefix(other);
                    assert!(!(other.as_str() <= id.as_str() && id < end_of(&other)));
                }
            }
        }
    }

    #[test]
    fn a_session_without_pending_patches_comes_back() {
        let document = blank_session("s", "e", DateTime::from_millis(0));
        let session = SessionDoc::parse(&document).unwrap();
        assert_eq!((session.version, session.pending.len()), (0, 0));
        assert!(!session.exists(DateTime::from_millis(0)));
    }

    #[test]
    fn a_pending_patch_comes_back() {
        let change = |id, value: Option<&'static [u8]>| Change {
            key: RecordKey::new("session", id).unwrap(),
            value: value.map(Bytes::from_static),
        };
        let entry = Entry {
            version: 7,
            changes: Some(vec![change("a", Some(b"1")), change("b", None)]),
            stage: None,
        };
        let parsed = parse_entry(&Bson::Document(entry_document(&entry))).unwrap();
        assert_eq!(
            (parsed.version, &parsed.changes, &parsed.stage),
            (7, &entry.changes, &None)
        );
    }

    #[test]
    fn what_is_not_ours_is_corrupt() {
        assert!(SessionDoc::parse(&doc! { "_id": "s" }).is_err());
        assert!(SessionDoc::parse(&doc! { "_id": "s", "epoch": "e", "version": "7" }).is_err());
        assert!(parse_record(doc! { "_id": "s/e/t/i", "r": { "v": 1_i64, "d": "text" } }).is_err());
    }
}
