//! The tables, and how they came to be what they are.
//!
//! Migrations are numbered and run in one transaction, under a lock that belongs to the transaction (a pooler may give
//! the next one to another connection). A schema that a newer release has changed is left alone.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::LAYER;
use super::dial::column;
use super::errors::{corrupt, from_driver};
use super::statements::quoted;
use crate::error::{Error, Kind, Result};

/// What each step does; the layout's number is how many there are. They only ever grow.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// Makes the schema what this release needs.
pub(super) async fn prepare(client: &Client, schema: &str) -> Result<()> {
    if layout_of(client, schema).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let run = async |statements: &str| {
        client
            .batch_execute(statements)
            .await
            .map_err(|cause| from_driver(&cause))
    };
    run("BEGIN").await?;
    let migrated = async {
        let lock = "SELECT pg_advisory_xact_lock(hashtext('baileys-vault'), hashtext($1))";
        query(client, lock, schema).await?;
        // Others may have done it meanwhile.
        let layout = layout_of(client, schema).await?;
        let name = quoted(schema);
        // Of the catalogue, and not `to_regnamespace`: that answers from a cache that may be older than the lock.
        let known = query(client, "SELECT 1 FROM pg_namespace WHERE nspname = $1", schema).await?;
        if known.is_empty() {
            run(&format!("CREATE SCHEMA {name}")).await?;
        }
        for (at, migration) in MIGRATIONS.iter().enumerate().skip(layout) {
            run(&migration.replace("{schema}", &name)).await?;
            let number = at + 1;
            run(&format!(
                "INSERT INTO {name}.vault_meta (name, value) VALUES ('layout', '{number}') \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ))
            .await?;
        }
        run("COMMIT").await
    };
    let migrated = migrated.await;
    if migrated.is_err() {
        // What it says matters less than what went wrong.
        let _ = run("ROLLBACK").await;
    }
    migrated
}

/// The number of the layout that is there; 0 if there is none.
async fn layout_of(client: &Client, schema: &str) -> Result<usize> {
    let table = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = 'vault_meta'";
    if query(client, table, schema).await?.is_empty() {
        return Ok(0);
    }
    let name = quoted(schema);
    let layout = format!("SELECT value FROM {name}.vault_meta WHERE name = $1");
    let found = query(client, &layout, "layout").await?;
    let Some(row) = found.first() else { return Ok(0) };
    let layout = column::<String>(row, 0)?;
    let layout: usize = layout
        .parse()
        .map_err(|_| corrupt("the number of the layout is not a number"))?;
    if layout > MIGRATIONS.len() {
        let text = format!(
            "the tables have layout {layout}, of a newer release of baileys-vault; this one knows layouts up to {}",
            MIGRATIONS.len()
        );
        return Err(Error::new(Kind::Config, LAYER, text)
            .with("layout", layout)
            .with("knownLayout", MIGRATIONS.len()));
    }
    Ok(layout)
}

async fn query(client: &Client, statement: &str, text: &str) -> Result<Vec<Row>> {
    client
        .query_typed(statement, &[(&text, Type::TEXT)])
        .await
        .map_err(|cause| from_driver(&cause))
}
