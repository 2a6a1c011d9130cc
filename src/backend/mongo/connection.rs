//! One client per URL, the indexes, the server's clock, and the one place where commands are sent.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, ReadConcern, ReadConcernLevel, ReadPreference,
    SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database};
use parking_lot::Mutex;

use super::errors::{DUPLICATE_KEY, corrupt, from_code, from_driver, timed_out, unacknowledged};
use super::tls::{certificates, misunderstanding};
use super::{LAYER, MongoConfig};
use crate::backend::Tls;
use crate::error::{Error, Kind, Result};
use crate::runtime;

/// How old an estimate of the server's clock may be before a new one is made …
const CLOCK_AGE: Duration = Duration::from_secs(30);
/// … in the background, and before it is waited for.
const CLOCK_AGE_LIMIT: Duration = Duration::from_secs(300);

/// Where that clock is read, among the leases.
const CLOCK: &str = "clock";

/// The longest that setting a connection up may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections to each server. A command holds one for its round trip: the driver's 10 are few when that takes
/// long.
const POOL_SIZE: u32 = 50;
/// Connections that are set up at once.
const CONNECTING: u32 = 8;

/// URL, certificates and time-out, and the runtime: a client's background tasks live on the one that made it.
type ClientKey = (String, Option<[u8; 32]>, Duration, tokio::runtime::Id);

fn key_of(config: &MongoConfig) -> ClientKey {
    let certificates = config.tls.as_ref().map(Tls::fingerprint);
    let runtime = tokio::runtime::Handle::current().id();
    (
        config.url.clone(),
        certificates,
        config.operation_timeout,
        runtime,
    )
}

/// The clients of this process, each with how many connections use it.
type Clients = HashMap<ClientKey, (Client, usize)>;

fn clients() -> &'static Mutex<Clients> {
    static CLIENTS: OnceLock<Mutex<Clients>> = OnceLock::new();
    CLIENTS.get_or_init(Mutex::default)
}

/// What came of an update command.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// How many statements found a document or made one.
    pub matched: u64,
    /// Which statements met a document made by somebody else at the same time.
    pub duplicates: Vec<usize>,
}

/// A database to send commands to.
pub(super) struct Connection {
    database: Database,
    pub sessions: Collection<Document>,
    pub records: Collection<Document>,
    pub staged: Collection<Document>,
    pub leases: Collection<Document>,
    pub letters: Collection<Document>,
    write_concern: Document,
    /// Whether what is acknowledged here may be rolled back by a fail-over.
    pub weak: bool,
    pub timeout: Duration,
    clock: Arc<Mutex<Clock>>,
    key: ClientKey,
    /// Where the server is, for its errors.
    hosts: String,
}

impl Connection {
    pub async fn open(config: &MongoConfig) -> Result<Self> {
        config.validate()?;
        let refused = |error: &mongodb::error::Error| {
            Error::new(Kind::Config, LAYER, "the driver does not take this URL")
                .because(&config.redact(&error.kind.to_string()))
        };
        let parsing = ClientOptions::parse(&config.url);
        let mut options = tokio::time::timeout(config.operation_timeout, parsing)
            .await
            .map_err(|_| timed_out())?
            .map_err(|error| match error.kind.as_ref() {
                mongodb::error::ErrorKind::DnsResolve { .. } => from_driver(&error),
                _ => refused(&error),
            })?;
        // Less than the whole, so that "no server, because …" comes before the bare time-out does.
        options.server_selection_timeout = Some(config.operation_timeout * 3 / 4);
        // Setting a connection up takes several round trips. It goes on in the background when the command that asked
        // for it has run out of time, so that on a slow network a later one finds it ready.
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.max_pool_size.get_or_insert(POOL_SIZE);
        options.max_connecting.get_or_insert(CONNECTING);
        options.app_name.get_or_insert_with(|| "baileys-vault".to_owned());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
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

        let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(", ");
        let key = key_of(config);
        let asked = options.clone();
        let client = {
            let mut clients = clients().lock();
            if let Some((client, users)) = clients.get_mut(&key) {
                *users += 1;
                client.clone()
            } else {
                // The driver reads the files once, while it makes the client.
                let _files = certificates(&mut options, config.tls.as_ref())?;
                let client = Client::with_options(options).map_err(|error| refused(&error))?;
                clients.insert(key.clone(), (client.clone(), 1));
                client
            }
        };
        let database = client.database(&name);
        let collection = |name: &str| {
            let options = CollectionOptions::builder()
                .read_concern(read_concern.clone())
                .build();
            database.collection_with_options(&format!("{}{name}", config.collection_prefix), options)
        };
        let connection = Self {
            sessions: collection("sessions"),
            records: collection("records"),
            staged: collection("staged"),
            leases: collection("leases"),
            letters: collection("dead_letters"),
            database,
            weak: concern
                .w
                .as_ref()
                .is_some_and(|w| matches!(w, Acknowledgment::Nodes(_))),
            write_concern,
            timeout: config.operation_timeout,
            clock: Arc::default(),
            key,
            hosts,
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

    /// Sessions that outlived their time, the tombstones of deleted records, and the leases of processes that are no
    /// more, are removed by the server. Outboxes whose owners died are looked for by themselves.
    async fn create_indexes(&self) -> Result<()> {
        let ttl = |field: &str, sparse: bool| {
            doc! { "key": { field: 1 }, "name": "expiresAt_ttl", "expireAfterSeconds": 0, "sparse": sparse }
        };
        let outbox = doc! { "key": { "outbox": 1 }, "name": "outbox", "sparse": true };
        let made = [
            (&self.sessions, vec![ttl("expiresAt", false), outbox]),
            (&self.records, vec![ttl("r.expiresAt", true)]),
            (&self.leases, vec![ttl("expiresAt", false)]),
        ]
        .map(async |(collection, indexes)| {
            self.run(doc! { "createIndexes": collection.name(), "indexes": indexes })
                .await
        });
        try_join_all(made).await.map(drop)
    }

    /// Bounds a wait by `operation_timeout`, and maps the driver's error.
    pub async fn bounded<T>(&self, work: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(answer) => answer.map_err(|error| self.about(from_driver(&error))),
            Err(_) => Err(self.about(timed_out())),
        }
    }

    /// Names the server where an error is of the server and not of the data.
    fn about(&self, error: Error) -> Error {
        match error.kind() {
            Kind::Config | Kind::Unavailable | Kind::Timeout | Kind::StorageFull => {
                error.at_server(&self.hosts)
            }
            _ => error,
        }
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

    /// Sends update statements in one command; they are independent of each other.
    pub async fn update(
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
            match code_and_text(error) {
                (DUPLICATE_KEY, _) => {
                    let index = usize::try_from(count(error, "index")?).unwrap_or(usize::MAX);
                    updated.duplicates.push(index);
                }
                (code, text) => return Err(from_code(code, text)),
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
        let find = collection
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let find = match projection {
            Some(projection) => find.projection(projection),
            None => find,
        };
        self.bounded(async { find.await?.try_collect().await }).await
    }

    /// The clock of the primary that has the leases, by an estimate that is wrong by no more than half a round trip: owners on machines with
    /// wrong clocks then agree on when a lease ends.
    pub async fn now(&self) -> Result<DateTime> {
        let mut begin = false;
        let known = {
            let mut clock = self.clock.lock();
            let known = clock.estimate.filter(|(at, _)| at.elapsed() < CLOCK_AGE_LIMIT);
            if known.is_some_and(|(at, _)| at.elapsed() >= CLOCK_AGE) && !clock.asking {
                clock.asking = true;
                begin = true;
            }
            known
        };
        if let Some((at, millis)) = known {
            if begin {
                let (clock, timeout) = (self.clock.clone(), self.timeout);
                let (database, leases) = (self.database.clone(), self.leases.name().to_owned());
                runtime::spawn(async move {
                    // What fails is asked again by the next caller.
                    let asked = tokio::time::timeout(timeout, estimate(&database, &leases)).await;
                    let mut clock = clock.lock();
                    clock.asking = false;
                    if let Ok(Ok(estimate)) = asked {
                        clock.estimate = Some(estimate);
                    }
                });
            }
            return Ok(later(millis, at.elapsed()));
        }
        let asked = estimate(&self.database, self.leases.name());
        let estimate = match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.map_err(|error| self.about(error))?,
            Err(_) => return Err(self.about(timed_out())),
        };
        self.clock.lock().estimate = Some(estimate);
        Ok(later(estimate.1, estimate.0.elapsed()))
    }
}

/// What is known of the server's clock.
#[derive(Default)]
struct Clock {
    /// What it showed, in ms, at which moment of ours.
    estimate: Option<(Instant, i64)>,
    /// Whether it is being asked.
    asking: bool,
}

/// Asked of the primary that has the leases, by a write: `hello` is answered by a router, and each of those has a clock
/// of its own.
async fn estimate(database: &Database, leases: &str) -> Result<(Instant, i64)> {
    let command = doc! {
        "findAndModify": leases, "query": { "_id": CLOCK }, "update": { "$currentDate": { "now": true } },
        "upsert": true, "new": true, "writeConcern": { "w": 1 },
    };
    let mut again = true;
    loop {
        let sent = Instant::now();
        let answer = match database.run_command(command.clone()).await {
            Ok(answer) => answer,
            // Two processes made it at the same moment.
            Err(error) if again && is_duplicate(&error) => {
                again = false;
                continue;
            }
            Err(error) => return Err(from_driver(&error)),
        };
        let now = answer
            .get_document("value")
            .and_then(|clock| clock.get_datetime("now"));
        let millis = now
            .map_err(|_| corrupt("the server does not tell its time"))?
            .timestamp_millis();
        return Ok((sent + sent.elapsed() / 2, millis));
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    use mongodb::error::ErrorKind;
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == DUPLICATE_KEY)
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut clients = clients().lock();
        if let Some((_, users)) = clients.get_mut(&self.key) {
            *users -= 1;
            if *users == 0 {
                clients.remove(&self.key);
            }
        }
    }
}

/// `at` moved by `by`.
pub(super) fn after(at: DateTime, by: Duration) -> DateTime {
    later(at.timestamp_millis(), by)
}

fn later(millis: i64, by: Duration) -> DateTime {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_millis(millis.saturating_add(by))
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
        "wtimeout": i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
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

/// How many connections share this configuration's client on this runtime.
#[cfg(test)]
pub(super) fn users_of(config: &MongoConfig) -> usize {
    clients()
        .lock()
        .get(&key_of(config))
        .map_or(0, |(_, users)| *users)
}
