//! Crashes between any two steps.

use super::*;
use crate::backend::Head;
use crate::time::Moment;

#[tokio::test]
async fn a_crash_after_the_commit_point_loses_nothing() {
    with_server("a_crash_after_the_commit_point_loses_nothing", async |config| {
        let (victim, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "crash".into();
        let token = granted(&victim, &session).await.token;
        let first = vec![change("session", "a", "1"), change("session", "b", "1")];
        commit_one(&victim, owned(&session, token, 0, first))
            .await
            .unwrap();
        settled(&victim, &session).await;
        let second = vec![
            change("session", "a", "2"),
            change("session", "b", ""),
            change("session", "c", "2"),
        ];
        commit_and_die(&victim, owned(&session, token, 1, second)).await;

        // Nobody has repaired anything yet: readers lay the patch over the records.
        for _ in 0..2 {
            assert_eq!(other.head(&session).await.unwrap().version, 2);
            assert_eq!(get(&other, &session, "a").await.as_deref(), Some("2"));
            assert_eq!(get(&other, &session, "b").await, None);
            let mut scanned = Vec::new();
            let mut cursor = None;
            loop {
                let page = other
                    .scan(&session, Some("session"), cursor, 1, Seen::NOTHING)
                    .await
                    .unwrap();
                scanned.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let two = Bytes::from_static(b"2");
            assert_eq!(
                scanned,
                [(key("session", "a"), two.clone()), (key("session", "c"), two)]
            );
            assert_eq!(stored(&other).await, 2);
        }

        let request = Acquire {
            preempt: Some(token),
            read: vec![key("session", "a"), key("session", "b"), key("session", "c")],
            ..acquire(&session)
        };
        let next = grant(&other, request).await;
        assert_eq!(next.head.version, 2);
        let two = Some(Bytes::from_static(b"2"));
        assert_eq!(next.records, [two.clone(), None, two]);
        assert_eq!(stored(&other).await, 2, "rolled forward: a and c");
    })
    .await;
}

#[tokio::test]
async fn a_crash_in_the_middle_of_the_records_loses_nothing() {
    with_server(
        "a_crash_in_the_middle_of_the_records_loses_nothing",
        async |config| {
            let (victim, other) = (connect(&config).await, connect(&config).await);
            let session: SessionId = "half".into();
            let token = granted(&victim, &session).await.token;
            let changes = vec![change("session", "a", "1"), change("session", "b", "1")];
            commit_and_die(&victim, owned(&session, token, 0, changes)).await;
            let document = victim.0.connection.session(&session).await.unwrap().unwrap();
            let half = std::sync::Arc::new(super::super::documents::Entry {
                version: 1,
                changes: Some(vec![change("session", "a", "1")]),
                stage: None,
            });
            victim
                .0
                .applier
                .apply(&session, &document.epoch, &[half], Moment::now())
                .await
                .unwrap();
            assert_eq!(stored(&victim).await, 1);
            assert_eq!(get(&other, &session, "b").await.as_deref(), Some("1"));
            let next = succeed(&other, &session, token).await;
            assert_eq!((next.head.version, stored(&other).await), (1, 2));
        },
    )
    .await;
}

#[tokio::test]
async fn a_late_write_of_a_dead_owner_changes_nothing() {
    with_server("a_late_write_of_a_dead_owner_changes_nothing", async |config| {
        let (sleeper, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "late".into();
        let token = granted(&sleeper, &session).await.token;
        let old = vec![
            change("session", "deleted", "old"),
            change("session", "kept", "old"),
        ];
        commit_and_die(&sleeper, owned(&session, token, 0, old)).await;
        let document = sleeper.0.connection.session(&session).await.unwrap().unwrap();

        let next = succeed(&other, &session, token).await.token;
        let new = vec![change("session", "deleted", ""), change("session", "kept", "new")];
        commit_one(&other, owned(&session, next, 1, new)).await.unwrap();
        settled(&other, &session).await;

        // It wakes up where it stood: about to bring the records up to its patch.
        sleeper
            .0
            .applier
            .apply(&session, &document.epoch, &document.pending, Moment::now())
            .await
            .unwrap();
        settled(&sleeper, &session).await;
        assert_eq!(get(&other, &session, "deleted").await, None);
        assert_eq!(get(&other, &session, "kept").await.as_deref(), Some("new"));
        let third = connect(&config).await;
        assert_eq!(get(&third, &session, "deleted").await, None);
        assert_eq!(get(&third, &session, "kept").await.as_deref(), Some("new"));
    })
    .await;
}

#[tokio::test]
async fn a_delete_halfway_is_a_delete() {
    with_server("a_delete_halfway_is_a_delete", async |config| {
        let (victim, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "half-deleted".into();
        let token = granted(&victim, &session).await.token;
        let changes = vec![change("session", "a", "1"), change("session", "b", "1")];
        commit_one(&victim, owned(&session, token, 0, changes))
            .await
            .unwrap();
        settled(&victim, &session).await;
        let garbage = victim
            .0
            .lifetime
            .write_tombstone(&session, Fence::Owner(token))
            .await
            .unwrap();
        assert!(garbage.is_some_and(|garbage| garbage.existed));
        assert_eq!(stored(&other).await, 2, "the crash came before the removal");

        for backend in [&victim, &other] {
            assert_eq!(backend.head(&session).await.unwrap(), Head::default());
            assert_eq!(get(backend, &session, "a").await, None);
            let scanned = backend
                .scan(&session, None, None, 10, Seen::NOTHING)
                .await
                .unwrap();
            assert!(scanned.items.is_empty());
            assert!(backend.list(None, 10).await.unwrap().items.is_empty());
        }
        // Sent again, it is finished and says that it was done.
        assert!(other.delete(&session, Fence::Owner(token)).await.unwrap());
        assert!(!other.delete(&session, Fence::Owner(token)).await.unwrap());
        assert_eq!(stored(&other).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_incarnation_stays_invisible_to_the_next() {
    with_server(
        "a_deleted_incarnation_stays_invisible_to_the_next",
        async |config| {
            let (victim, other) = (connect(&config).await, connect(&config).await);
            let session: SessionId = "reborn".into();
            let token = granted(&victim, &session).await.token;
            let changes = vec![change("session", "a", "1"), change("session", "b", "1")];
            commit_one(&victim, owned(&session, token, 0, changes))
                .await
                .unwrap();
            settled(&victim, &session).await;
            victim
                .0
                .lifetime
                .write_tombstone(&session, Fence::Owner(token))
                .await
                .unwrap();

            let next = succeed(&other, &session, token).await;
            assert_eq!(next.head, Head::default());
            let changes = vec![change("session", "b", "2")];
            commit_one(&other, owned(&session, next.token, 0, changes))
                .await
                .unwrap();
            for backend in [&connect(&config).await, &other] {
                assert_eq!(get(backend, &session, "a").await, None);
                assert_eq!(get(backend, &session, "b").await.as_deref(), Some("2"));
            }
            settled(&other, &session).await;
            // The new owner removes the old incarnation in the background.
            while stored(&other).await != 1 {
                tokio::task::yield_now().await;
            }
        },
    )
    .await;
}
