//! Reads any collection of a database, and writes nothing: for what is no store of ours.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{CollectionOptions, ReadConcern};
use mongodb::{Cursor, Database};

use super::client::{self, ClientKey, Shared};
use super::errors::about;
use super::tls::misunderstanding;
use super::{LAYER, MongoConfig};
use crate::error::{Error, Kind, Result};

/// Most documents in one page, and about as many bytes.
const PAGE_DOCUMENTS: usize = 500;
const PAGE_BYTES: usize = 4 << 20;

/// A database whose collections are read.
pub(crate) struct Reader {
    database: Database,
    shared: Shared,
    read_concern: ReadConcern,
    timeout: Duration,
    hosts: String,
    key: ClientKey,
}

impl Reader {
    /// Connects, and asks the server for a sign of life. The database must be named, by the options or the URL.
    pub async fn open(config: &MongoConfig) -> Result<Self> {
        config.validate()?;
        let options = client::options(config).await?;
        let Some(name) = config
            .database
            .clone()
            .or_else(|| options.default_database.clone())
        else {
            return Err(Error::new(
                Kind::Config,
                LAYER,
                "the database is named neither in the URL nor beside it",
            )
            .with("field", "database"));
        };
        let hosts = client::hosts_of(&options);
        let read_concern = options.read_concern.clone().unwrap_or_else(ReadConcern::majority);
        let asked = options.clone();
        let (shared, key) = client::share(config, options)?;
        let reader = Self {
            database: shared.client.database(&name),
            shared,
            read_concern,
            timeout: config.operation_timeout,
            hosts,
            key,
        };
        // Not `ping`, which needs no login.
        let first = reader.bounded(async { reader.database.run_command(doc! { "dbStats": 1 }).await });
        match first.await {
            Ok(_) => Ok(reader),
            // A user who may read may still not see the figures of a database.
            Err(error) if error.detail("mongoCode").is_some_and(|code| code == 13) => Ok(reader),
            Err(failed) if failed.kind() == Kind::Unavailable => Err(match misunderstanding(asked).await {
                Some(message) => Error::new(Kind::Config, LAYER, message).because(&failed),
                None => failed,
            }),
            Err(failed) => Err(failed),
        }
    }

    /// The answer to a command that changes nothing.
    pub async fn ask(&self, command: Document) -> Result<Document> {
        self.bounded(async { self.database.run_command(command).await })
            .await
    }

    /// The indexes of a collection; none if it does not exist.
    pub async fn indexes(&self, collection: &str) -> Result<Vec<Document>> {
        let command = doc! { "listIndexes": collection };
        let found = self.bounded(async {
            let mut cursor = self.database.run_cursor_command(command).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        });
        match found.await {
            // There is no such collection.
            Err(error) if error.detail("mongoCode").is_some_and(|code| code == 26) => Ok(Vec::new()),
            found => found,
        }
    }

    /// The names of the collections that the user may read, without those of the server.
    pub async fn collections(&self) -> Result<Vec<String>> {
        let command = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
        let names = self.bounded(async {
            let mut cursor = self.database.run_cursor_command(command).await?;
            let mut names = Vec::new();
            while cursor.advance().await? {
                names.push(cursor.current().get_str("name").unwrap_or_default().to_owned());
            }
            Ok(names)
        });
        let mut names = names.await?;
        names.retain(|name| !name.is_empty() && !name.starts_with("system."));
        names.sort_unstable();
        Ok(names)
    }

    /// The documents of a collection that match, in the order of `sort`.
    pub async fn find(
        &self,
        collection: &str,
        filter: Document,
        projection: Option<Document>,
        sort: Document,
    ) -> Result<Pages> {
        let options = CollectionOptions::builder()
            .read_concern(self.read_concern.clone())
            .build();
        let collection = self
            .database
            .collection_with_options::<RawDocumentBuf>(collection, options);
        let size = u32::try_from(PAGE_DOCUMENTS).unwrap_or(u32::MAX);
        let mut find = collection.find(filter).sort(sort).batch_size(size);
        if let Some(projection) = projection {
            find = find.projection(projection);
        }
        Ok(Pages(self.bounded(async { find.await }).await?))
    }

    async fn bounded<T>(&self, work: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
        let answer = client::bounded(Some(&self.shared.places), self.timeout, work).await;
        answer.map_err(|error| about(error, &self.hosts))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        client::give_back(&self.key);
    }
}

/// Documents that are fetched a page at a time, as the server has them.
pub(crate) struct Pages(Cursor<RawDocumentBuf>);

impl Pages {
    /// The next page, and whether there may be another one.
    pub async fn next(&mut self, reader: &Reader) -> Result<(Vec<Vec<u8>>, bool)> {
        let cursor = &mut self.0;
        let page = async {
            let mut documents = Vec::new();
            let mut bytes = 0;
            while documents.len() < PAGE_DOCUMENTS && bytes < PAGE_BYTES {
                if !cursor.advance().await? {
                    return Ok((documents, false));
                }
                let document = cursor.current().as_bytes().to_vec();
                bytes += document.len();
                documents.push(document);
            }
            Ok((documents, true))
        };
        reader.bounded(page).await
    }
}
