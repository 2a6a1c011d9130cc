use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc};
use mongodb::{Client, Database};
use serde_json::json;

use super::server;
use crate::backend::servers::mongo_for;
use crate::config::ForeignSection;
use crate::error::{Error, Kind, Result};
use crate::foreign::ForeignMongo;

fn failed<T>(outcome: Result<T>) -> Error {
    outcome.err().expect("it fails")
}

/// An empty database of the test's own, and how it is reached.
async fn database(url: &str, name: &str) -> (Database, ForeignSection) {
    let database = Client::with_uri_str(url).await.unwrap().database(name);
    database.drop().await.unwrap();
    let options = ForeignSection {
        database: Some(name.to_owned()),
        ..server(url)
    };
    (database, options)
}

async fn all(mongo: &ForeignMongo, collection: &str, query: serde_json::Value) -> Vec<Document> {
    let query = serde_json::from_value(query).unwrap();
    let list = mongo.find(collection, query).await.unwrap();
    let mut found = Vec::new();
    loop {
        let page = mongo.next_documents(list).await.unwrap();
        let documents = page.items.into_iter().map(RawDocumentBuf::from_bytes);
        found.extend(documents.map(|document| Document::try_from(document.unwrap()).unwrap()));
        if !page.more {
            return found;
        }
    }
}

#[tokio::test]
async fn documents_are_read_as_they_are() {
    let Some(url) = mongo_for("documents_are_read_as_they_are") else {
        return;
    };
    let (database, options) = database(&url, "foreign_documents").await;
    let bytes = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0, 255, 7],
    };
    let first = doc! {
        "_id": "a", "bytes": bytes, "long": i64::MAX, "when": mongodb::bson::DateTime::from_millis(-5),
        "nothing": Bson::Null, "list": [1, "two", { "three": 3.5 }],
    };
    let collection = database.collection::<Document>("things");
    let many = (0..1200).map(|index| doc! { "_id": format!("n{index:04}"), "index": index });
    collection
        .insert_many(std::iter::once(first.clone()).chain(many))
        .await
        .unwrap();
    let mongo = ForeignMongo::open(&options).await.unwrap();
    assert_eq!(mongo.collections().await.unwrap(), ["things"]);

    let found = all(&mongo, "things", json!({})).await;
    assert_eq!(found.len(), 1201);
    assert_eq!(found[0], first);
    assert!(
        found
            .windows(2)
            .all(|pair| pair[0].get_str("_id").unwrap() < pair[1].get_str("_id").unwrap())
    );

    let some =
        json!({ "filter": { "_id": { "$gte": "n0100", "$lt": "n0102" } }, "projection": { "_id": 1 } });
    assert_eq!(
        all(&mongo, "things", some).await,
        [doc! { "_id": "n0100" }, doc! { "_id": "n0101" }]
    );
    assert_eq!(all(&mongo, "gone", json!({})).await, []);
    assert_eq!(failed(mongo.next_documents(99).await).kind(), Kind::InvalidValue);
    database.drop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_made_by_looking() {
    let Some(url) = mongo_for("nothing_is_made_by_looking") else {
        return;
    };
    let (database, options) = database(&url, "foreign_nothing").await;
    let mongo = ForeignMongo::open(&options).await.unwrap();
    assert_eq!(mongo.collections().await.unwrap(), Vec::<String>::new());
    assert_eq!(all(&mongo, "things", json!({})).await, []);
    assert_eq!(
        database.list_collection_names().await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_server_or_its_address_is_said() {
    let away = ForeignSection {
        open_timeout: 300,
        operation_timeout: 1000,
        ..server("mongodb://u:hunter2@127.0.0.1:1/db")
    };
    let error = failed(ForeignMongo::open(&away).await);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");

    let unnamed = failed(ForeignMongo::open(&server("mongodb://127.0.0.1:1")).await);
    assert_eq!(unnamed.kind(), Kind::Config);
    assert_eq!(unnamed.detail("field"), Some(&"database".into()));
    let wrong = failed(ForeignMongo::open(&server("redis://127.0.0.1")).await);
    assert_eq!(wrong.kind(), Kind::Config);
}
