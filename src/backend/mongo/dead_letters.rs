//! Patches that can never be applied, where they cannot be kept beside the outbox that they stood in.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};

use super::MongoBackend;
use super::documents::{epoch_prefix, long, unsigned};
use super::errors::corrupt;
use crate::backend::DeadLetter;
use crate::error::Result;

impl MongoBackend {
    /// Keeps a patch for an operator; the same one is kept once.
    pub async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let connection = &self.0.connection;
        let owner = letter.token.to_string();
        let document = doc! {
            "_id": format!("{}{}", epoch_prefix(&letter.session, &owner), letter.version),
            "session": &*letter.session, "token": long(letter.token), "version": long(letter.version),
            "reason": &letter.reason, "at": long(letter.at),
            "entry": Binary { subtype: BinarySubtype::Generic, bytes: letter.entry.to_vec() },
        };
        // It is no news if it stands there already.
        connection
            .insert(&connection.letters, vec![document])
            .await
            .map(drop)
    }

    /// What was kept so.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let connection = &self.0.connection;
        let found = connection.find(&connection.letters, doc! {}, None, 0).await?;
        found.into_iter().map(parse).collect()
    }
}

fn parse(mut document: Document) -> Result<DeadLetter> {
    let Some(Bson::Binary(entry)) = document.remove("entry") else {
        return Err(corrupt("a dead letter without entry"));
    };
    let text = |field| document.get_str(field).unwrap_or_default();
    Ok(DeadLetter {
        session: text("session").into(),
        token: unsigned(&document, "token")?,
        version: unsigned(&document, "version")?,
        reason: text("reason").to_owned(),
        at: unsigned(&document, "at")?,
        entry: entry.bytes.into(),
    })
}
