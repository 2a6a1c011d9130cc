//! Tests against a server; every test uses a schema of its own.

mod cost;
mod layout;
mod races;

use super::{PostgresBackend, PostgresConfig};
use crate::backend::servers::{connected, postgres_for};
use crate::backend::{Backend, contract};

/// A schema that no other test uses.
fn config(url: &str) -> PostgresConfig {
    PostgresConfig {
        schema: format!("vault_test_{:016x}", getrandom::u64().unwrap()),
        ..PostgresConfig::new(url)
    }
}

/// Runs `test` with the configuration of an empty schema, or skips it.
async fn with_server<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PostgresConfig) -> F) {
    let Some(url) = postgres_for(name) else { return };
    let config = config(&url);
    test(config.clone()).await;
    let backend = connect(&config).await;
    let drop = format!(
        "DROP SCHEMA {} CASCADE",
        super::statements::quoted(&config.schema)
    );
    backend
        .0
        .connection
        .ask(&drop, &[])
        .await
        .expect("the test's schema is dropped");
}

async fn connect(config: &PostgresConfig) -> PostgresBackend {
    connected(async || PostgresBackend::connect(config).await).await
}

#[tokio::test]
async fn the_contract_is_kept() {
    with_server("the_contract_is_kept", async |config| {
        let backend = connect(&config).await;
        contract::run(&backend).await;
        contract::closed(&backend).await;
    })
    .await;
}

#[tokio::test]
async fn the_contract_is_kept_on_one_connection() {
    with_server("the_contract_is_kept_on_one_connection", async |config| {
        let backend = connect(&PostgresConfig {
            max_connections: 1,
            ..config
        })
        .await;
        contract::run(&backend).await;
        backend.close().await.unwrap();
    })
    .await;
}
