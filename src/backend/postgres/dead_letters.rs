//! Patches that can never be applied, where they cannot be kept beside the outbox that they stood in.

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::PostgresBackend;
use super::connection::Parameter;
use super::dial::column;
use super::ids::{long, session_of, unsigned};
use crate::backend::DeadLetter;
use crate::error::Result;

impl PostgresBackend {
    /// Keeps a patch for an operator; the same one is kept once.
    pub async fn push_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let (session, reason, entry) = (
            letter.session.as_bytes(),
            letter.reason.as_bytes(),
            &*letter.entry,
        );
        let (token, version, at) = (long(letter.token), long(letter.version), long(letter.at));
        let parameters: [Parameter<'_>; 6] = [
            (&session, Type::BYTEA),
            (&token, Type::INT8),
            (&version, Type::INT8),
            (&reason, Type::BYTEA),
            (&at, Type::INT8),
            (&entry, Type::BYTEA),
        ];
        let connection = &self.0.connection;
        connection
            .ask(&connection.statements.push_letter, &parameters)
            .await
            .map(drop)
    }

    /// What was kept so.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let connection = &self.0.connection;
        let rows = connection.ask(&connection.statements.letters, &[]).await?;
        rows.iter().map(parse).collect()
    }
}

fn parse(row: &Row) -> Result<DeadLetter> {
    Ok(DeadLetter {
        session: session_of(column(row, 0)?)?,
        token: unsigned(column(row, 1)?),
        version: unsigned(column(row, 2)?),
        reason: String::from_utf8_lossy(column(row, 3)?).into_owned(),
        at: unsigned(column(row, 4)?),
        entry: Bytes::copy_from_slice(column(row, 5)?),
    })
}
