//! Implements `Backend` by delegating to the other modules.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::checked::Checked;
use super::config::EmbeddedConfig;
use super::database::{Beside, Database};
use super::failure::LAYER;
use super::files::Files;
use super::grants::Grants;
use super::key_ages;
use super::listing::{self, Range};
use super::lock::FolderLock;
use super::maintenance;
use super::place::Place;
use super::schema;
use super::session::{self, Now};
use super::store::{Store, on_blocking_thread};
use super::wal_monitor::WalMonitor;
use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Owner, Page, Renewal,
    Seen, SessionId, Token,
};
use crate::error::Result;
use crate::record::{KeyId, RecordKey};

/// Sessions in a `SQLite` database of a folder.
///
/// A commit is durable as [`Durability`](super::Durability) says. The lease of a session is the lock on the folder: it does not
/// expire, and [`Backend::acquire`] always grants, to the last who asks. A session's token is larger than any
/// before it, so whoever asked earlier is `Fenced`.
///
/// Needs a tokio runtime with time; calls block its thread for as long as `SQLite` takes.
pub struct Embedded {
    pub(super) store: Arc<Store>,
}

impl Embedded {
    /// Opens the store in `config.folder`, made if there is none.
    ///
    /// - `SessionBusy`: somebody else has the folder; the details `holder` (an [`Owner`](crate::backend::Owner),
    ///   where known) and `folder` name it.
    /// - `Config`: the database belongs to another program or a newer release.
    /// - `Corrupt`: the database is damaged. It is left as it was.
    /// - `Unavailable`, `StorageFull`: folder or files cannot be used.
    pub async fn open(config: EmbeddedConfig) -> Result<Self> {
        let deadline = Instant::now() + config.open_timeout;
        let files = Files::in_folder(&config.folder)?;
        if !config.exclusive && !files.database.exists() {
            let files = files.clone();
            let alone = FolderLock::take(&files, true, config.open_timeout).await?;
            on_blocking_thread(move || {
                let made = schema::create_if_absent(&files);
                drop(alone);
                made
            })
            .await?;
        }
        let remaining = deadline.saturating_duration_since(Instant::now());
        let lock = FolderLock::take(&files, config.exclusive, remaining).await?;
        let wal = Arc::new(WalMonitor::default());
        let heard = wal.clone();
        on_blocking_thread(move || {
            if config.exclusive {
                schema::create_if_absent(&files)?;
            }
            lock.sign(&files)?;
            files.tighten();
            let place = Arc::new(Place::new(files, lock)?);
            let shared = !config.exclusive;
            let database = Database::open(place.clone(), config.durability, shared, move |pages| {
                heard.committed(pages);
            })?;
            Ok(Self {
                store: Arc::new(Store {
                    database: Mutex::new(Some(database)),
                    place,
                    moving: Mutex::default(),
                    shared,
                    durability: config.durability,
                    wal,
                    grants: Grants::new(config.exclusive),
                    checked: Checked::default(),
                }),
            })
        })
        .await
    }

    fn reading<T>(&self, work: impl FnOnce(&rusqlite::Connection, Now) -> rusqlite::Result<T>) -> Result<T> {
        self.store
            .with(|database| database.read(|db| work(db, Now::get())))
    }

    fn writing<T>(&self, work: impl FnOnce(&rusqlite::Connection, Now) -> rusqlite::Result<T>) -> Result<T> {
        self.store.wal.check_flushed()?;
        let done = self
            .store
            .with(|database| database.write(|db| work(db, Now::get())));
        if let Err(error) = &done {
            self.store.wal.note_failed_flush(error);
        }
        maintenance::after_write(&self.store);
        done
    }
}

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &'static str {
        LAYER
    }

    /// One transaction at a time, with whatever waits.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy {
            sessions: 512,
            in_flight: 1,
        }
    }

    fn is_in_place(&self) -> bool {
        self.store.with(|_| self.store.place.look()).is_ok()
    }

    async fn ping(&self) -> Result<()> {
        self.store.wal.check()?;
        self.store.with(Database::ping)
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        let (grants, checked) = (&self.store.grants, &self.store.checked);
        let granted = match self.reading(|db, now| session::grant(db, &request, grants, checked, now)) {
            Ok(Some(grant)) => Ok(Ok(grant)),
            Ok(None) => self.writing(|db, now| session::acquire(db, &request, grants, checked, now)),
            Err(error) => Err(error),
        };
        match granted {
            Ok(Ok(grant)) => Ok(Acquired::Granted(grant)),
            Ok(Err(error)) | Err(error) => Err(error.in_session(&request.session)),
        }
    }

    /// Nobody is waited for here: who holds the folder may take every session in it.
    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        Ok(vec![false; leases.len()])
    }

    async fn renew(&self, leases: &[Renewal], _lease: Duration) -> Vec<Result<()>> {
        let renewed = self.reading(|db, now| {
            leases
                .iter()
                .map(|Renewal { session, token, .. }| {
                    session::renew(db, session, *token, &self.store.grants, &self.store.checked, now)
                })
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        let answers = renewed.unwrap_or_else(|error| vec![Err(error); leases.len()]);
        leases
            .iter()
            .zip(answers)
            .map(|(lease, answer)| answer.map_err(|error| error.in_session(&lease.session)))
            .collect()
    }

    /// The next who asks need not wait in any case.
    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.store.grants.end(session, token);
        Ok(())
    }

    /// This process has the folder, so nobody else has a session in it. A folder that is shared has no owners.
    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        let granted = self.store.with(|_| Ok(self.store.grants.current(session)));
        let token = granted.map_err(|error| error.in_session(session))?;
        Ok(token.map(|token| Holder {
            owner: Owner::current().clone(),
            token,
            expires_in: None,
        }))
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        match self.reading(|db, _| key_ages::seen(db, key))? {
            Some(seen) => Ok(seen),
            None => self.writing(|db, _| key_ages::see(db, key, now)),
        }
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.reading(|db, now| session::head(db, session, &self.store.checked, now))
            .map_err(|error| error.in_session(session))
    }

    async fn notes(&self, session: &SessionId) -> Result<Vec<String>> {
        let notes = self
            .reading(|db, _| session::notes(db, session))
            .map_err(|error| error.in_session(session))?;
        if !notes.is_empty() {
            maintenance::flush_now(&self.store).await?;
        }
        Ok(notes)
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], _seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.reading(|db, now| session::read(db, session, keys, &self.store.checked, now))
            .map_err(|error| error.in_session(session))
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        _seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        let range = Range::new(kind, cursor.as_ref())?;
        self.reading(|db, now| listing::scan(db, session, &range, limit, &self.store.checked, now))
            .and_then(|page| page)
            .map_err(|error| error.in_session(session))
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        let answers = self
            .store
            .wal
            .check_flushed()
            .and_then(|()| {
                self.store
                    .with(|database| Ok(database.commit(&commits, &self.store.grants, &self.store.checked)))
            })
            .unwrap_or_else(|error| vec![Err(error); commits.len()]);
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.store.wal.note_failed_flush(error);
        }
        maintenance::after_write(&self.store);
        commits
            .iter()
            .zip(answers)
            .map(|(commit, answer)| answer.map_err(|error| error.in_session(&commit.session)))
            .collect()
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        let deleted = self
            .writing(|db, now| {
                session::delete(db, session, fence, &self.store.grants, &self.store.checked, now)
            })
            .and_then(|deleted| deleted)
            .map_err(|error| error.in_session(session))?;
        if deleted {
            // The session is gone all the same, and closing tries again.
            let _ = self.scrub().await;
        }
        Ok(deleted)
    }

    async fn scrub(&self) -> Result<()> {
        let store = self.store.clone();
        on_blocking_thread(move || {
            let _alone = store.moving.lock();
            let _turn = store.turn()?;
            store.with(|database| {
                database.scrub()?;
                store.wal.emptied();
                Ok(())
            })
        })
        .await
    }

    async fn verify(&self) -> Result<()> {
        let store = self.store.clone();
        on_blocking_thread(move || {
            store.with(|_| store.place.look())?;
            Beside::open(&store.place.files)?.verify()
        })
        .await
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.writing(|db, now| {
            session::touch(
                db,
                session,
                fence,
                ttl,
                &self.store.grants,
                &self.store.checked,
                now,
            )
        })
        .and_then(|touched| touched)
        .map_err(|error| error.in_session(session))
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.reading(|db, now| listing::list(db, cursor.as_ref(), limit, &self.store.checked, now))
    }

    /// Moves the log into the database and frees the folder. Closing again does nothing.
    async fn close(&self) -> Result<()> {
        let database = self.store.database.lock().take();
        self.store.wal.stop().await;
        let place = self.store.place.clone();
        on_blocking_thread(move || {
            let closed = database.map_or(Ok(()), Database::close);
            place.release();
            closed
        })
        .await
    }
}
