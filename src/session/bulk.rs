//! Work on whole sessions: reading one, sealing it anew, clearing it, verifying all.
//!
//! All of it goes page by page beside the session's own commits. What they change meanwhile is noted in a journal,
//! and wins: so a snapshot is what the session held at one version, and sealing anew never brings an old value back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::access::waiting;
use super::renewal;
use super::session::Session;
use super::vault::{OpenOptions, Vault};
use crate::backend::{Cursor, Head, Page, Seen, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, Patch, RecordKey, Sealer};

/// Records per page.
const PAGE: usize = 1000;
/// How often a session that others write is read again before giving up.
const ATTEMPTS: usize = 8;

/// Everything a session held at one version.
#[derive(Debug)]
pub struct Snapshot {
    /// That version.
    pub head: Head,
    /// The records, in no order.
    pub records: HashMap<RecordKey, Bytes>,
}

/// What [`rotate`] did in one step.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Records sealed anew.
    pub resealed: usize,
    /// Records looked at.
    pub total: usize,
    /// Where the next step begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// Which keys seal a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Seals {
    /// Its records.
    pub records: usize,
    /// Those that are not sealed with the active key and algorithm.
    pub stale: usize,
    /// How many each key seals, by its name; `plain` are not sealed.
    pub keys: BTreeMap<String, usize>,
}

/// What [`verify`] looked at.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Verified {
    /// Sessions that exist.
    pub sessions: usize,
    /// Their records.
    pub records: usize,
}

/// Looks at everything that is stored: the storage's own structure, and every record of every session, which must open.
pub async fn verify(vault: &Vault, options: &OpenOptions) -> Result<Verified> {
    vault.backend().verify().await?;
    let ids = vault.list().await?;
    let mut records = 0;
    for id in &ids {
        let sealer = Sealer::new(options.ring.clone(), options.seal, id)?;
        let mut cursor = None;
        loop {
            let page = vault.backend().scan(id, None, cursor, PAGE, Seen::NOTHING).await;
            let page = page.map_err(|error| error.in_session(id))?;
            for (key, sealed) in &page.items {
                sealer.open(key, sealed).map_err(|error| error.in_session(id))?;
            }
            records += page.items.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(Verified {
        sessions: ids.len(),
        records,
    })
}

/// Reads a whole session, open here or not; `None` if it does not exist.
pub async fn snapshot(vault: &Vault, id: &SessionId, options: &OpenOptions) -> Result<Option<Snapshot>> {
    vault.settings().lost.check(id)?;
    let read = match vault.opened(id, options)? {
        Some(session) => snapshot_of_ours(vault, &session).await,
        None => snapshot_of_others(vault, id, options).await,
    };
    read.map_err(|error| error.in_session(id))
}

async fn snapshot_of_ours(vault: &Vault, session: &Arc<Session>) -> Result<Option<Snapshot>> {
    settle(vault, session).await?;
    let journal = session.open_journal();
    let read = scan(vault, session.id(), session.sealer(), session.seen()).await;
    let mut records = read.map_err(|error| session.hear(error))?;
    session.quiesce().await;
    // Still ours: what was read is not what somebody else has made of it, or an emptied storage.
    renewal::renew_now(vault, session).await;
    let (changed, head) = journal.read()?;
    for (key, value) in changed {
        match value {
            Some(value) => records.insert(key, value),
            None => records.remove(&key),
        };
    }
    Ok((head.version > 0).then_some(Snapshot { head, records }))
}

async fn snapshot_of_others(
    vault: &Vault,
    id: &SessionId,
    options: &OpenOptions,
) -> Result<Option<Snapshot>> {
    let sealer = Sealer::new(options.ring.clone(), options.seal, id)?;
    let mut head = vault.backend().head(id).await?;
    for _ in 0..ATTEMPTS {
        if head.version == 0 {
            return Ok(None);
        }
        let seen = Seen {
            version: head.version,
            ..Seen::NOTHING
        };
        let records = match scan(vault, id, &sealer, seen).await {
            // Deleted meanwhile, or lost: what is there now is the answer.
            Err(error) if error.kind() == Kind::SessionLost => None,
            read => Some(read?),
        };
        let after = vault.backend().head(id).await?;
        match records {
            Some(records) if after.version == head.version => return Ok(Some(Snapshot { head, records })),
            _ => head = after,
        }
    }
    Err(Error::new(
        Kind::Unavailable,
        "session",
        "the session's owner kept changing it while it was read",
    ))
}

/// Waits for what is queued. If the outcome of an earlier commit is in doubt, an empty patch ends that: once it is
/// committed, the doubtful one can never be applied any more.
async fn settle(vault: &Vault, session: &Arc<Session>) -> Result<()> {
    session.flush().await;
    if session.in_doubt() {
        vault.committed(session, Patch::default(), None).await?;
    }
    Ok(())
}

async fn scan(
    vault: &Vault,
    id: &SessionId,
    sealer: &Sealer,
    seen: Seen,
) -> Result<HashMap<RecordKey, Bytes>> {
    let mut records = HashMap::new();
    let mut cursor = None;
    loop {
        let page = vault.backend().scan(id, None, cursor, PAGE, seen).await?;
        for (key, sealed) in page.items {
            let plain = sealer.open(&key, &sealed)?;
            records.insert(key, plain);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(records);
        }
    }
}

/// Some records of an open session.
async fn page(
    vault: &Vault,
    session: &Session,
    kind: Option<&str>,
    cursor: Option<Cursor>,
) -> Result<Page<(RecordKey, Bytes)>> {
    let page = vault
        .backend()
        .scan(session.id(), kind, cursor, PAGE, session.seen());
    page.await.map_err(|error| session.hear(error))
}

/// The ids of all records of type `kind`.
pub async fn list_ids(vault: &Vault, session: &Arc<Session>, kind: &str) -> Result<Vec<String>> {
    session.flush().await;
    // What somebody else's session has, or an emptied storage has not, is not the answer.
    renewal::renew_now(vault, session).await;
    session.ensure_usable()?;
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(vault, session, Some(kind), cursor).await?;
        ids.extend(page.items.iter().map(|(key, _)| key.id().to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            ids.sort_unstable();
            ids.dedup();
            return Ok(ids);
        }
    }
}

/// Deletes every record but the creds; what is set after the call stays.
pub async fn clear(vault: &Vault, session: &Arc<Session>) -> Result<Head> {
    settle(vault, session).await?;
    let journal = session.open_journal();
    let mut doomed = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(vault, session, None, cursor).await?;
        let keys = page
            .items
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| *key != RecordKey::creds());
        doomed.extend(keys.map(|key| Change { key, value: None }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let (reply, outcome) = waiting();
    if session.amend(&journal, doomed, reply).1 {
        vault.schedule(session.clone());
    }
    outcome.await
}

/// Seals a page of records anew, from `cursor` on, where they are not sealed with the active key and algorithm. Each step
/// stands by itself: what is under way between two of them is kept, and one that is broken off is begun again at no
/// cost. After the last one nothing that an older key sealed is left where it was stored.
pub async fn rotate(vault: &Vault, session: &Arc<Session>, cursor: Option<Cursor>) -> Result<Rotation> {
    settle(vault, session).await?;
    let journal = session.open_journal();
    let page = page(vault, session, None, cursor).await?;
    let total = page.items.len();
    let mut stale = Vec::new();
    for (key, sealed) in page.items {
        if session.sealer().needs_reseal(&sealed) {
            let value = Some(session.sealer().open(&key, &sealed)?);
            stale.push(Change { key, value });
        }
    }
    let (reply, outcome) = waiting();
    let (resealed, schedule) = session.amend(&journal, stale, reply);
    if schedule {
        vault.schedule(session.clone());
    }
    outcome.await?;
    // A record whose last change is in doubt was left as it is.
    journal.read()?;
    drop(journal);
    if page.next.is_none() {
        vault.backend().scrub().await?;
    }
    Ok(Rotation {
        resealed,
        total,
        next: page.next,
    })
}

/// Which keys seal session `id`, whoever has it open.
pub async fn seals(vault: &Vault, id: &SessionId, options: &OpenOptions) -> Result<Seals> {
    let sealer = Sealer::new(options.ring.clone(), options.seal, id)?;
    let mut seals = Seals::default();
    let mut cursor = None;
    loop {
        let page = vault.backend().scan(id, None, cursor, PAGE, Seen::NOTHING).await;
        let page = page.map_err(|error| error.in_session(id))?;
        for (_, sealed) in &page.items {
            let key = Sealer::key_of(sealed).map_or_else(|| "plain".to_owned(), |key| key.to_string());
            *seals.keys.entry(key).or_default() += 1;
            seals.stale += usize::from(sealer.needs_reseal(sealed));
        }
        seals.records += page.items.len();
        cursor = page.next;
        if cursor.is_none() {
            return Ok(seals);
        }
    }
}
