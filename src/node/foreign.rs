//! The calls that read what other libraries have stored.
//!
//! A page is framed as (little-endian) `u8 more`, then its items. Bytes are `u32 length | bytes`, with a length of
//! [`NOTHING`] for what is not there. A cell of SQLite is `u8 type` (0 null, 1 integer, 2 real, 3 text, 4 blob), then
//! 8 bytes for a number, or bytes.

#![expect(clippy::needless_pass_by_value, reason = "napi hands arguments over by value")]

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use serde_json::json;

use super::core::Core;
use super::port::Payload;
use super::source::{Reader, Source};
use crate::config::{self, ForeignSection, ms};
use crate::error::{Error, Kind, Result};
use crate::foreign::{
    Cell, ForeignMongo, ForeignRedis, ForeignSqlite, MongoQuery, Page, SqliteQuery, unpack_snappy,
};
use crate::runtime::WorkerThread;

/// The length of bytes that are not there.
const NOTHING: u32 = u32::MAX;

#[napi]
impl Core {
    /// Request: connects to a Redis server with another library's data; `options` as `ForeignSection`. JSON: its handle.
    #[napi(catch_unwind)]
    pub fn foreign_redis_open(&self, options: String) -> u32 {
        self.open_source(WorkerThread::network(), async move || {
            let options: ForeignSection = config::parse(&options)?;
            Ok(Reader::Redis(Arc::new(ForeignRedis::open(&options).await?)))
        })
    }

    /// Request: the same for MongoDB.
    #[napi(catch_unwind)]
    pub fn foreign_mongo_open(&self, options: String) -> u32 {
        self.open_source(WorkerThread::network(), async move || {
            let options: ForeignSection = config::parse(&options)?;
            Ok(Reader::Mongo(Arc::new(ForeignMongo::open(&options).await?)))
        })
    }

    /// Request: opens an SQLite file as it is at this moment; waits for its writer up to `timeout` milliseconds. JSON:
    /// its handle.
    #[napi(catch_unwind)]
    pub fn foreign_sqlite_open(&self, path: String, timeout: u32) -> u32 {
        self.open_source(WorkerThread::disk(&path), async move || {
            let path = PathBuf::from(path);
            let reader = ForeignSqlite::open(&path, ms(timeout.into()))?;
            Ok(Reader::Sqlite(Arc::new(reader)))
        })
    }

    /// Request: closes a source; lists that are being read from it are given up.
    #[napi(catch_unwind)]
    pub fn foreign_close(&self, source: u32) -> u32 {
        let source = self.thread.sources.lock().remove(&source);
        self.request(std::convert::identity, |answer| match source {
            Some(Source { reader, worker }) => {
                worker.spawn(async move {
                    drop(reader);
                    answer.give(Ok(Payload::None));
                });
            }
            None => answer.give(Ok(Payload::None)),
        })
    }

    /// Request: the next page of a list. Answer: for keys and documents, bytes; for rows, their cells.
    #[napi(catch_unwind)]
    pub fn foreign_next(&self, source: u32, list: u32) -> u32 {
        self.in_source(source, async move |reader| {
            Ok(Payload::Answer(match reader {
                Reader::Redis(redis) => page(&redis.next_keys(list).await?, put_bytes),
                Reader::Mongo(mongo) => page(&mongo.next_documents(list).await?, put_bytes),
                Reader::Sqlite(sqlite) => page(&sqlite.next_rows(list)?, put_cells),
            }))
        })
    }

    /// Request: gives up a list that was not read to its end.
    #[napi(catch_unwind)]
    pub fn foreign_end(&self, source: u32, list: u32) -> u32 {
        self.in_source(source, async move |reader| {
            match reader {
                Reader::Redis(redis) => redis.end(list),
                Reader::Mongo(mongo) => mongo.end(list),
                Reader::Sqlite(sqlite) => sqlite.end(list),
            }
            Ok(Payload::None)
        })
    }

    /// Request: begins to list keys that match a pattern. JSON: the list.
    #[napi(catch_unwind)]
    pub fn foreign_redis_scan(&self, source: u32, pattern: Buffer) -> u32 {
        let pattern = pattern.to_vec();
        self.in_redis(source, async move |redis| {
            Ok(Payload::Json(redis.scan(pattern).await?.into()))
        })
    }

    /// Request: the type of a key. JSON.
    #[napi(catch_unwind)]
    pub fn foreign_redis_type(&self, source: u32, key: Buffer) -> u32 {
        let key = key.to_vec();
        self.in_redis(source, async move |redis| {
            Ok(Payload::Json(redis.type_of(&key).await?.into()))
        })
    }

    /// Request: what keys hold. Answer: bytes for each, in the order of `keys`.
    #[napi(catch_unwind)]
    pub fn foreign_redis_get(&self, source: u32, keys: Vec<Buffer>) -> u32 {
        let keys: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
        self.in_redis(source, async move |redis| {
            let mut answer = Vec::new();
            for value in redis.get(&keys).await? {
                match value {
                    Some(value) => put_bytes(&mut answer, &value),
                    None => answer.extend(NOTHING.to_le_bytes()),
                }
            }
            Ok(Payload::Answer(answer))
        })
    }

    /// Request: the fields of a hash. Answer: bytes, a field and its value in turn.
    #[napi(catch_unwind)]
    pub fn foreign_redis_hash(&self, source: u32, key: Buffer) -> u32 {
        let key = key.to_vec();
        self.in_redis(source, async move |redis| {
            let mut answer = Vec::new();
            for (field, value) in redis.hash(&key).await? {
                put_bytes(&mut answer, &field);
                put_bytes(&mut answer, &value);
            }
            Ok(Payload::Answer(answer))
        })
    }

    /// Request: the members of a set. Answer: bytes.
    #[napi(catch_unwind)]
    pub fn foreign_redis_members(&self, source: u32, key: Buffer) -> u32 {
        let key = key.to_vec();
        self.in_redis(source, async move |redis| {
            let mut answer = Vec::new();
            for member in redis.members(&key).await? {
                put_bytes(&mut answer, &member);
            }
            Ok(Payload::Answer(answer))
        })
    }

    /// Request: milliseconds that a key lives on. JSON; `null` for ever.
    #[napi(catch_unwind)]
    pub fn foreign_redis_ttl(&self, source: u32, key: Buffer) -> u32 {
        let key = key.to_vec();
        self.in_redis(source, async move |redis| {
            Ok(Payload::Json(json!(redis.lifetime(&key).await?)))
        })
    }

    /// Request: what a field of a hash holds. Answer: bytes, or nothing.
    #[napi(catch_unwind)]
    pub fn foreign_redis_field(&self, source: u32, key: Buffer, field: Buffer) -> u32 {
        let (key, field) = (key.to_vec(), field.to_vec());
        self.in_redis(source, async move |redis| {
            let mut answer = Vec::new();
            match redis.field(&key, &field).await? {
                Some(value) => put_bytes(&mut answer, &value),
                None => answer.extend(NOTHING.to_le_bytes()),
            }
            Ok(Payload::Answer(answer))
        })
    }

    /// Request: how many items a stream has. JSON.
    #[napi(catch_unwind)]
    pub fn foreign_redis_stream_length(&self, source: u32, key: Buffer) -> u32 {
        let key = key.to_vec();
        self.in_redis(source, async move |redis| {
            Ok(Payload::Json(redis.stream_length(&key).await?.into()))
        })
    }

    /// Request: the server's time, in milliseconds since 1970. JSON.
    #[napi(catch_unwind)]
    pub fn foreign_time(&self, source: u32) -> u32 {
        self.in_source(source, async move |reader| match reader {
            Reader::Redis(redis) => Ok(Payload::Json(redis.time().await?.into())),
            Reader::Mongo(mongo) => Ok(Payload::Json(mongo.time().await?.into())),
            Reader::Sqlite(_) => Err(another_kind()),
        })
    }

    /// Request: the indexes by which the server removes documents. JSON `[[name, field]]`.
    #[napi(catch_unwind)]
    pub fn foreign_mongo_expiring_indexes(&self, source: u32, collection: String) -> u32 {
        self.in_mongo(source, async move |mongo| {
            Ok(Payload::Json(json!(mongo.expiring_indexes(&collection).await?)))
        })
    }

    /// Request: the names of the collections. JSON.
    #[napi(catch_unwind)]
    pub fn foreign_mongo_collections(&self, source: u32) -> u32 {
        self.in_mongo(source, async move |mongo| {
            Ok(Payload::Json(mongo.collections().await?.into()))
        })
    }

    /// Request: begins to read documents; `query` is JSON `{ filter, projection, sort }`. JSON: the list.
    #[napi(catch_unwind)]
    pub fn foreign_mongo_find(&self, source: u32, collection: String, query: String) -> u32 {
        self.in_mongo(source, async move |mongo| {
            let query: MongoQuery = config::parse(&query)?;
            Ok(Payload::Json(mongo.find(&collection, query).await?.into()))
        })
    }

    /// Request: the names of the tables. JSON.
    #[napi(catch_unwind)]
    pub fn foreign_sqlite_tables(&self, source: u32) -> u32 {
        self.in_sqlite(source, |sqlite| Ok(Payload::Json(sqlite.tables()?.into())))
    }

    /// Request: the columns of a table. JSON `[{ name, declared }]`.
    #[napi(catch_unwind)]
    pub fn foreign_sqlite_columns(&self, source: u32, table: String) -> u32 {
        self.in_sqlite(source, move |sqlite| {
            let columns = sqlite.columns(&table)?;
            let columns = columns
                .iter()
                .map(|column| json!({ "name": column.name, "declared": column.declared }));
            Ok(Payload::Json(columns.collect()))
        })
    }

    /// Request: begins to read rows; `query` is JSON `{ columns, equals: [[column, value]] }`. JSON: the list.
    #[napi(catch_unwind)]
    pub fn foreign_sqlite_rows(&self, source: u32, table: String, query: String) -> u32 {
        self.in_sqlite(source, move |sqlite| {
            let query: SqliteQuery = config::parse(&query)?;
            Ok(Payload::Json(sqlite.rows(&table, &query)?.into()))
        })
    }

    /// What was packed in Snappy's raw format; null if these bytes are not that.
    #[napi(catch_unwind)]
    pub fn foreign_unpack_snappy(&self, packed: Buffer) -> Option<Buffer> {
        unpack_snappy(&packed).map(Buffer::from)
    }

    fn open_source<F>(&self, worker: WorkerThread, open: impl FnOnce() -> F + Send + 'static) -> u32
    where
        F: Future<Output = Result<Reader>> + Send + 'static,
    {
        let thread = self.thread.clone();
        self.request(std::convert::identity, |answer| {
            worker.clone().spawn(async move {
                answer.give(open().await.map(|reader| {
                    let number = thread.next_handle();
                    let source = Source { reader, worker };
                    thread.sources.lock().insert(number, source);
                    Payload::Json(number.into())
                }));
            });
        })
    }

    fn in_source<F>(&self, source: u32, work: impl FnOnce(Reader) -> F + Send + 'static) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        let source = self.thread.sources.lock().get(&source).cloned();
        self.request(std::convert::identity, |answer| match source {
            Some(Source { reader, worker }) => {
                worker.spawn(async move { answer.give(work(reader).await) });
            }
            None => answer.give(Err(Error::new(Kind::Closed, "store", "the source is closed"))),
        })
    }

    fn in_redis<F>(&self, source: u32, work: impl FnOnce(Arc<ForeignRedis>) -> F + Send + 'static) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        self.in_source(source, async move |reader| match reader {
            Reader::Redis(redis) => work(redis).await,
            _ => Err(another_kind()),
        })
    }

    fn in_mongo<F>(&self, source: u32, work: impl FnOnce(Arc<ForeignMongo>) -> F + Send + 'static) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        self.in_source(source, async move |reader| match reader {
            Reader::Mongo(mongo) => work(mongo).await,
            _ => Err(another_kind()),
        })
    }

    fn in_sqlite(
        &self,
        source: u32,
        work: impl FnOnce(&ForeignSqlite) -> Result<Payload> + Send + 'static,
    ) -> u32 {
        self.in_source(source, async move |reader| match reader {
            Reader::Sqlite(sqlite) => work(&sqlite),
            _ => Err(another_kind()),
        })
    }
}

fn another_kind() -> Error {
    Error::new(Kind::Internal, "store", "the source is of another kind")
}

fn page<T>(page: &Page<T>, put: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut answer = vec![u8::from(page.more)];
    for item in &page.items {
        put(&mut answer, item);
    }
    answer
}

fn put_bytes(answer: &mut Vec<u8>, bytes: &Vec<u8>) {
    // No server or file gives 4 GiB at once.
    answer.extend(u32::try_from(bytes.len()).unwrap_or(NOTHING - 1).to_le_bytes());
    answer.extend(bytes);
}

fn put_cells(answer: &mut Vec<u8>, cells: &Vec<Cell>) {
    for cell in cells {
        match cell {
            Cell::Null => answer.push(0),
            Cell::Integer(number) => {
                answer.push(1);
                answer.extend(number.to_le_bytes());
            }
            Cell::Real(number) => {
                answer.push(2);
                answer.extend(number.to_le_bytes());
            }
            Cell::Text(bytes) => {
                answer.push(3);
                put_bytes(answer, bytes);
            }
            Cell::Blob(bytes) => {
                answer.push(4);
                put_bytes(answer, bytes);
            }
        }
    }
}
