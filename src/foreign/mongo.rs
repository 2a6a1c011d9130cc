//! Documents of any collection of a MongoDB server, as BSON.

use std::time::Instant;

use mongodb::bson::{Document, doc, serialize_to_document};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cursors::{Cursors, Page};
use crate::backend::mongo::{MongoConfig, Pages, Reader};
use crate::config::{ForeignSection, ms};
use crate::error::{Error, Kind, Result};
use crate::resilience::until_reachable;

const LAYER: &str = "mongodb";

/// A database whose documents are read.
pub struct ForeignMongo {
    reader: Reader,
    lists: Cursors<Pages>,
}

/// Which documents, and what of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MongoQuery {
    filter: Map<String, Value>,
    projection: Option<Map<String, Value>>,
    /// By `_id` if it is not said.
    sort: Option<Map<String, Value>>,
}

impl ForeignMongo {
    /// Connects; waits for a server that is not up as long as the options say.
    pub async fn open(options: &ForeignSection) -> Result<Self> {
        let deadline = Instant::now() + ms(options.open_timeout);
        let config = MongoConfig {
            database: options.database.clone(),
            tls: options.tls.as_ref().map(Into::into),
            operation_timeout: ms(options.operation_timeout),
            ..MongoConfig::new(&options.url)
        };
        Ok(Self {
            reader: until_reachable(deadline, |_| {}, || Reader::open(&config)).await?,
            lists: Cursors::new(LAYER),
        })
    }

    /// The names of the collections.
    pub async fn collections(&self) -> Result<Vec<String>> {
        self.reader.collections().await
    }

    /// Begins to read the documents of a collection that match.
    pub async fn find(&self, collection: &str, query: MongoQuery) -> Result<u32> {
        let sort = query.sort.as_ref().map(document).transpose()?;
        let projection = query.projection.as_ref().map(document).transpose()?;
        let filter = document(&query.filter)?;
        let sort = sort.unwrap_or_else(|| doc! { "_id": 1 });
        let pages = self.reader.find(collection, filter, projection, sort).await?;
        Ok(self.lists.add(pages))
    }

    /// The next documents, each as BSON.
    pub async fn next_documents(&self, number: u32) -> Result<Page<Vec<u8>>> {
        let mut pages = self.lists.take(number)?;
        let (items, more) = pages.next(&self.reader).await?;
        if more {
            self.lists.put_back(number, pages);
        }
        Ok(Page { items, more })
    }

    /// The server's time, in milliseconds since 1970.
    pub async fn time(&self) -> Result<i64> {
        let hello = self.reader.ask(doc! { "hello": 1 }).await?;
        let time = hello.get_datetime("localTime").map_err(|_| unexpected())?;
        Ok(time.timestamp_millis())
    }

    /// The collection's indexes by which the server removes documents: their names, and the field that they go by.
    pub async fn expiring_indexes(&self, collection: &str) -> Result<Vec<(String, String)>> {
        let indexes = self.reader.indexes(collection).await?;
        let expiring = indexes
            .iter()
            .filter(|index| index.contains_key("expireAfterSeconds"));
        let named = expiring.map(|index| {
            let name = index.get_str("name").unwrap_or_default().to_owned();
            let field = index.get_document("key").ok().and_then(|key| key.keys().next());
            (name, field.cloned().unwrap_or_default())
        });
        Ok(named.collect())
    }

    /// Gives a list up.
    pub fn end(&self, number: u32) {
        self.lists.drop_one(number);
    }
}

fn unexpected() -> Error {
    Error::new(
        Kind::Unavailable,
        LAYER,
        "the server's answer is not what was asked for",
    )
}

fn document(json: &Map<String, Value>) -> Result<Document> {
    serialize_to_document(json)
        .map_err(|cause| Error::new(Kind::InvalidValue, LAYER, "this is no query").because(&cause))
}
