//! The tables: who may make them, and what becomes of those of a newer release.

use futures_util::future::join_all;

use super::*;
use crate::backend::contract::{acquire, change, commit, commit_one, key};
use crate::backend::{Acquired, Fence, Seen, SessionId};
use crate::error::Kind;
use crate::record::RecordKey;

#[tokio::test]
async fn processes_that_start_together_make_the_tables_once() {
    with_server(
        "processes_that_start_together_make_the_tables_once",
        async |config| {
            let backends = join_all((0..8).map(|_| PostgresBackend::connect(&config))).await;
            for backend in backends {
                backend.unwrap().ping().await.unwrap();
            }
        },
    )
    .await;
}

#[tokio::test]
async fn tables_of_a_newer_release_are_left_alone() {
    with_server("tables_of_a_newer_release_are_left_alone", async |config| {
        let backend = connect(&config).await;
        let meta = format!("{}.vault_meta", super::super::statements::quoted(&config.schema));
        let set = |layout: u32| format!("UPDATE {meta} SET value = '{layout}' WHERE name = 'layout'");
        backend.0.connection.ask(&set(99), &[]).await.unwrap();
        let error = PostgresBackend::connect(&config).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.detail("layout"), Some(&99.into()), "{error}");
        backend.0.connection.ask(&set(1), &[]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn any_name_of_a_schema_and_any_id_will_do() {
    with_server("any_name_of_a_schema_and_any_id_will_do", async |config| {
        let config = PostgresConfig {
            schema: format!("It's \"vault_\" {}", &config.schema[11..]),
            ..config
        };
        let backend = connect(&config).await;
        let session: SessionId = "s".repeat(1000).into();
        let Acquired::Granted(grant) = backend.acquire(acquire(&session)).await.unwrap() else {
            panic!("it is free");
        };
        let ids: Vec<String> = [0, 999, 1000, 1001, RecordKey::MAX_ID]
            .map(|length| "x".repeat(length))
            .to_vec();
        let kind = "k".repeat(RecordKey::MAX_KIND);
        let changes = ids.iter().map(|id| change(&kind, id, "x")).collect();
        let first = commit(&session, Fence::Owner(grant.token), 0, changes);
        commit_one(&backend, first).await.unwrap();
        let keys: Vec<_> = ids.iter().map(|id| key(&kind, id)).collect();
        let found = backend.read(&session, &keys, Seen::NOTHING).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{found:?}");
        let page = backend
            .scan(&session, None, None, 100, Seen::NOTHING)
            .await
            .unwrap();
        let mut scanned: Vec<_> = page.items.into_iter().map(|(key, _)| key).collect();
        let mut expected = keys;
        scanned.sort();
        expected.sort();
        assert_eq!(scanned, expected);
        let drop = format!(
            "DROP SCHEMA {} CASCADE",
            super::super::statements::quoted(&config.schema)
        );
        backend.0.connection.ask(&drop, &[]).await.unwrap();
        // What the removal leaves is said, and nothing is made anew under an owner.
        let late = commit(
            &session,
            Fence::Owner(grant.token),
            1,
            vec![change("session", "a", "1")],
        );
        assert_eq!(commit_one(&backend, late).await.unwrap_err().kind(), Kind::Config);
    })
    .await;
}

/// What nobody uses any more is removed: sessions whose time is over, then their rows, then leases.
#[tokio::test]
async fn the_sweeper_removes_only_what_is_over() {
    with_server("the_sweeper_removes_only_what_is_over", async |config| {
        use std::time::Duration;
        let backend = connect(&config).await;
        let rows = async |table: &str| {
            let table = format!("{}.{table}", super::super::statements::quoted(&config.schema));
            let rows = backend
                .0
                .connection
                .ask(&format!("SELECT FROM {table}"), &[])
                .await;
            rows.unwrap().len()
        };
        let mut held = None;
        for (name, ttl) in [("over", Some(50)), ("here", None), ("held", None)] {
            let session: SessionId = name.into();
            let Acquired::Granted(grant) = backend.acquire(acquire(&session)).await.unwrap() else {
                panic!("it is free");
            };
            let changes = vec![change("session", "a", "1"), change("session", "b", "2")];
            let mut first = commit(&session, Fence::Owner(grant.token), 0, changes);
            first.ttl = ttl.map(Duration::from_millis);
            commit_one(&backend, first).await.unwrap();
            if name == "held" {
                // Deleted, and still its owner's.
                backend.delete(&session, Fence::Owner(grant.token)).await.unwrap();
                held = Some((session, grant.token));
            } else {
                backend.release(&session, grant.token).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(backend.sweep(Duration::from_secs(3600)).await.unwrap(), 0);
        assert_eq!((rows("vault_session").await, rows("vault_record").await), (3, 4));
        assert_eq!(backend.sweep(Duration::ZERO).await.unwrap(), 1);
        assert_eq!((rows("vault_session").await, rows("vault_record").await), (2, 2));
        let (session, token) = held.unwrap();
        let again = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1")],
        );
        assert_eq!(commit_one(&backend, again).await.unwrap().version, 1);
        assert_eq!(backend.sweep(Duration::ZERO).await.unwrap(), 0);
    })
    .await;
}
