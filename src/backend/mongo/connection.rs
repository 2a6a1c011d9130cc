//! The collections and their indexes, and the one place where commands are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, ReadConcern, ReadConcernLevel, WriteConcern};
use mongodb::{Collection, Database};
use tokio::sync::Semaphore;

use super::client::{self, ClientKey, Shared};
use super::clock::{Clock, Now};
use super::documents::SessionDoc;
use super::errors::{DUPLICATE_KEY, about, corrupt, from_code, timed_out, unacknowledged};
use super::primary::Primaries;
use super::tls::misunderstanding;
use super::{LAYER, MongoConfig};
use crate::backend::store_closed;
use crate::error::{Error, Kind, Result};
use crate::time::signed_millis;

/// The server removes by its own clock alone. It has this much longer than a session lives, so that a clock that is
/// ahead by less removes nothing that is in use.
const REAPED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// A read begins again if the primary changes meanwhile; so many times in all.
const READS: usize = 3;

tokio::task_local! {
    static URGENT: ();
}

/// Makes `work`, whose commands wait for no other ones: for what renews leases, and for nothing else.
pub(super) async fn urgently<T>(work: impl Future<Output = T>) -> T {
    URGENT.scope((), work).await
}

/// What came of an update command.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// How many statements found a document or made one.
    pub matched: u64,
    /// Which statements met a document made by somebody else at the same time.
    pub duplicates: Vec<usize>,
    /// Which statements the server refused, each for itself.
    pub refused: Vec<(usize, Error)>,
}

/// A database to send commands to.
pub(super) struct Connection {
    database: Database,
    places: Arc<Semaphore>,
    primaries: Primaries,
    /// How many of them there were when a majority last had a write of ours; held while one is under way.
    confirmed: tokio::sync::Mutex<u64>,
    pub sessions: Collection<Document>,
    pub records: Collection<Document>,
    pub staged: Collection<Document>,
    pub leases: Collection<Document>,
    pub letters: Collection<Document>,
    write_concern: Document,
    /// Whether what is acknowledged here may be rolled back by a fail-over.
    pub weak: bool,
    pub timeout: Duration,
    clock: Arc<Clock>,
    key: ClientKey,
    /// Where the server is, for its errors.
    hosts: String,
    closed: AtomicBool,
}

impl Connection {
    pub async fn open(config: &MongoConfig) -> Result<Self> {
        config.validate()?;
        let options = client::options(config).await?;
        let name = config
            .database
            .clone()
            .or_else(|| options.default_database.clone())
            .unwrap_or_else(|| MongoConfig::DEFAULT_DATABASE.to_owned());
        let read_concern = options.read_concern.clone().unwrap_or_else(ReadConcern::majority);
        if !matches!(
            read_concern.level,
            ReadConcernLevel::Majority | ReadConcernLevel::Linearizable
        ) {
            // A commit sent again is answered as done when it is read, and no majority may have it.
            return Err(Error::new(
                Kind::Config,
                LAYER,
                "readConcernLevel must be majority or linearizable: what else is read may be rolled back",
            ));
        }
        let concern = options.write_concern.clone().unwrap_or_default();
        if concern.w == Some(Acknowledgment::Nodes(0)) {
            return Err(Error::new(
                Kind::Config,
                LAYER,
                "w=0 acknowledges nothing: use w=majority",
            ));
        }
        let write_concern = write_concern_document(&concern, config.operation_timeout);

        let hosts = client::hosts_of(&options);
        let asked = options.clone();
        let (shared, key) = client::share(config, options)?;
        let Shared {
            client,
            places,
            primaries,
        } = shared;
        let database = client.database(&name);
        let collection = |name: &str| {
            let options = CollectionOptions::builder()
                .read_concern(read_concern.clone())
                .build();
            database.collection_with_options(&format!("{}{name}", config.collection_prefix), options)
        };
        let leases = collection("leases");
        let clock = Clock::new(
            database.clone(),
            leases.name().to_owned(),
            config.operation_timeout,
        );
        let connection = Self {
            sessions: collection("sessions"),
            records: collection("records"),
            staged: collection("staged"),
            leases,
            letters: collection("dead_letters"),
            database,
            places,
            primaries,
            confirmed: tokio::sync::Mutex::new(0),
            weak: concern
                .w
                .as_ref()
                .is_some_and(|w| matches!(w, Acknowledgment::Nodes(_))),
            write_concern,
            timeout: config.operation_timeout,
            clock,
            key,
            hosts,
            closed: AtomicBool::new(false),
        };
        match connection.create_indexes().await {
            Ok(()) => Ok(connection),
            Err(failed) if failed.kind() == Kind::Unavailable => Err(match misunderstanding(asked).await {
                Some(message) => Error::new(Kind::Config, LAYER, message).because(&failed),
                None => failed,
            }),
            Err(failed) => Err(failed),
        }
    }

    /// Sessions that outlived their time by [`REAPED_AFTER`], the tombstones of deleted records, and the leases of processes that are no
    /// more, are removed by the server. Outboxes whose owners died are looked for by themselves.
    async fn create_indexes(&self) -> Result<()> {
        let ttl = |field: &str, after: Duration, sparse: bool| {
            let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            doc! { "key": { field: 1 }, "name": "expiresAt_ttl", "expireAfterSeconds": after, "sparse": sparse }
        };
        let outbox = doc! { "key": { "outbox": 1 }, "name": "outbox", "sparse": true };
        let made = [
            (
                &self.sessions,
                vec![ttl("expiresAt", REAPED_AFTER, false), outbox],
            ),
            (&self.records, vec![ttl("r.expiresAt", Duration::ZERO, true)]),
            (&self.leases, vec![ttl("expiresAt", Duration::ZERO, false)]),
        ]
        .map(async |(collection, indexes)| {
            self.run(doc! { "createIndexes": collection.name(), "indexes": indexes })
                .await
        });
        try_join_all(made).await.map(drop)
    }

    /// Bounds a wait by `operation_timeout`, and maps the driver's error.
    pub async fn bounded<T>(&self, work: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
        let places = match URGENT.try_with(|()| ()) {
            Ok(()) => None,
            Err(_) => Some(&*self.places),
        };
        let answer = client::bounded(places, self.timeout, work).await;
        answer.map_err(|error| self.about(error))
    }

    fn about(&self, error: Error) -> Error {
        about(error, &self.hosts)
    }

    /// Sees to it that reads show everything that was acknowledged by the primaries before this one; how many of them
    /// this client had met by then.
    async fn confirm_primary(&self) -> Result<u64> {
        let mut confirmed = self.confirmed.lock().await;
        let met = self.primaries.met();
        if *confirmed != met || met == 0 {
            // A write that a majority has; and another primary has another clock.
            self.clock.ask_anew().await?;
            // The first is met by asking it.
            *confirmed = met.max(1);
        }
        Ok(*confirmed)
    }

    /// Whether a command that is not urgent would be sent now.
    #[cfg(test)]
    pub fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Sends a command to the primary.
    pub async fn run(&self, command: Document) -> Result<Document> {
        self.bounded(async { self.database.run_command(command).await })
            .await
    }

    /// Sends a write; an answer without the acknowledgement asked for is an error.
    async fn write(&self, mut command: Document) -> Result<Document> {
        command.insert("writeConcern", self.write_concern.clone());
        let answer = self.run(command).await?;
        if let Ok(concern) = answer.get_document("writeConcernError") {
            let (code, text) = code_and_text(concern);
            return Err(unacknowledged(code, text));
        }
        Ok(answer)
    }

    /// [`Connection::update_each`] for statements that belong together: one that is refused is an error.
    pub async fn update(
        &self,
        collection: &Collection<Document>,
        statements: Vec<Document>,
    ) -> Result<Updated> {
        let updated = self.update_each(collection, statements).await?;
        match updated.refused.first() {
            Some((_, refused)) => Err(refused.clone()),
            None => Ok(updated),
        }
    }

    /// Sends update statements in one command; they are independent of each other.
    pub async fn update_each(
        &self,
        collection: &Collection<Document>,
        statements: Vec<Document>,
    ) -> Result<Updated> {
        let command = doc! { "update": collection.name(), "updates": statements, "ordered": false };
        let answer = self.write(command).await?;
        let mut updated = Updated {
            matched: count(&answer, "n")?,
            ..Updated::default()
        };
        for error in answer.get_array("writeErrors").into_iter().flatten() {
            let error = error
                .as_document()
                .ok_or_else(|| corrupt("a write error is not a document"))?;
            let index = usize::try_from(count(error, "index")?).unwrap_or(usize::MAX);
            match code_and_text(error) {
                (DUPLICATE_KEY, _) => updated.duplicates.push(index),
                (code, text) => updated.refused.push((index, from_code(code, text))),
            }
        }
        Ok(updated)
    }

    /// Changes one session's document; whether it matched.
    pub async fn update_session(&self, filter: Document, update: Document) -> Result<bool> {
        let statement = doc! { "q": filter, "u": update };
        Ok(self.update(&self.sessions, vec![statement]).await?.matched > 0)
    }

    /// Changes one session's document and gives it as it is then; `None` if none matched.
    pub async fn modify_session(&self, filter: Document, update: Document) -> Result<Option<Document>> {
        let command = doc! {
            "findAndModify": self.sessions.name(), "query": filter, "update": update, "new": true,
        };
        let mut answer = self.write(command).await?;
        match answer.remove("value") {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(document)),
            Some(_) => Err(corrupt("findAndModify answered something else")),
        }
    }

    /// Adds documents; `false` if one of their `_id`s existed.
    pub async fn insert(&self, collection: &Collection<Document>, documents: Vec<Document>) -> Result<bool> {
        let answer = self
            .write(doc! { "insert": collection.name(), "documents": documents })
            .await?;
        match first_write_error(&answer) {
            None => Ok(true),
            Some((DUPLICATE_KEY, _)) => Ok(false),
            Some((code, text)) => Err(from_code(code, text)),
        }
    }

    /// Removes whatever matches; how many.
    pub async fn remove(&self, collection: &Collection<Document>, filter: Document) -> Result<u64> {
        let answer = self
            .write(doc! { "delete": collection.name(), "deletes": [{ "q": filter, "limit": 0 }] })
            .await?;
        if let Some((code, text)) = first_write_error(&answer) {
            return Err(from_code(code, text));
        }
        count(&answer, "n")
    }

    /// The first `limit` documents that match, by `_id`; all of them for 0.
    pub async fn find(
        &self,
        collection: &Collection<Document>,
        filter: Document,
        projection: Option<Document>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        for _ in 0..READS {
            let confirmed = if URGENT.try_with(|()| ()).is_ok() {
                None
            } else {
                let confirmed = tokio::time::timeout(self.timeout, Box::pin(self.confirm_primary()));
                let confirmed = confirmed.await.unwrap_or_else(|_| Err(timed_out()));
                Some(confirmed.map_err(|error| self.about(error))?)
            };
            let find = collection
                .find(filter.clone())
                .sort(doc! { "_id": 1 })
                .limit(i64::try_from(limit).unwrap_or(i64::MAX));
            let find = match &projection {
                Some(projection) => find.projection(projection.clone()),
                None => find,
            };
            let found = self.bounded(async { find.await?.try_collect().await }).await?;
            // A read that waited for a primary got the answer of one that is not confirmed.
            if confirmed.is_none_or(|confirmed| confirmed == self.primaries.met()) {
                return Ok(found);
            }
        }
        Err(self.about(Error::new(
            Kind::Unavailable,
            LAYER,
            "the primary changed while it was read",
        )))
    }

    /// The document of a session, whatever it stands for.
    pub async fn session(&self, session: &str) -> Result<Option<SessionDoc>> {
        let found = self
            .find(&self.sessions, doc! { "_id": session }, None, 1)
            .await?;
        found.first().map(SessionDoc::parse).transpose()
    }

    /// Fails once the backend was closed.
    pub fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(store_closed(LAYER));
        }
        Ok(())
    }

    /// From here on no call begins.
    pub fn begin_close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// What time it is.
    pub async fn now(&self) -> Result<Now> {
        self.clock.now().await.map_err(|error| self.about(error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        client::give_back(&self.key);
    }
}

/// Majority and journal unless the URL says otherwise. A wait for members that outlives ours would hold the
/// server's threads for nobody.
fn write_concern_document(concern: &WriteConcern, timeout: Duration) -> Document {
    let acknowledgment = match &concern.w {
        Some(Acknowledgment::Nodes(nodes)) => Bson::from(i64::from(*nodes)),
        Some(Acknowledgment::Custom(tag)) => Bson::from(tag.as_str()),
        // `Majority`, and whatever the driver may add.
        _ => Bson::from("majority"),
    };
    let timeout = concern.w_timeout.unwrap_or(timeout).min(timeout);
    doc! {
        "w": acknowledgment,
        "j": concern.journal.unwrap_or(true),
        "wtimeout": signed_millis(timeout),
    }
}

fn first_write_error(answer: &Document) -> Option<(i32, &str)> {
    let errors = answer.get_array("writeErrors").ok()?;
    errors.first()?.as_document().map(code_and_text)
}

fn code_and_text(error: &Document) -> (i32, &str) {
    (
        error.get_i32("code").unwrap_or(0),
        error.get_str("errmsg").unwrap_or_default(),
    )
}

fn count(answer: &Document, field: &str) -> Result<u64> {
    let number = match answer.get(field) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        _ => return Err(corrupt("the server's answer has no count")),
    };
    u64::try_from(number).map_err(|_| corrupt("the server's count is negative"))
}
