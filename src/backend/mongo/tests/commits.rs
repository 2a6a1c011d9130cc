//! Commits: sent again, many at once, large.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn while_a_commit_is_in_doubt_the_owner_asks_the_server() {
    with_server(
        "while_a_commit_is_in_doubt_the_owner_asks_the_server",
        async |config| {
            let (owner, server) = (connect(&config).await, connect(&config).await);
            let session: SessionId = "doubtful".into();
            let token = granted(&owner, &session).await.token;
            let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
            commit_one(&owner, first).await.unwrap();
            settled(&owner, &session).await;
            assert_eq!(get(&owner, &session, "a").await.as_deref(), Some("1"));
            // It arrives, and the answer does not.
            let second = owned(&session, token, 1, vec![change("session", "a", "2")]);
            owner.0.slots.get_or_make(&session).begin_doubt();
            commit_and_die(&server, second.clone()).await;
            assert_eq!(get(&owner, &session, "a").await.as_deref(), Some("2"));
            // Sent again, it is known; and the next one builds on it.
            assert_eq!(commit_one(&owner, second).await.unwrap().version, 2);
            let third = owned(&session, token, 2, vec![change("session", "b", "3")]);
            assert_eq!(commit_one(&owner, third).await.unwrap().version, 3);
            settled(&owner, &session).await;
            assert_eq!(get(&owner, &session, "a").await.as_deref(), Some("2"));
            assert_eq!(get(&owner, &session, "b").await.as_deref(), Some("3"));
        },
    )
    .await;
}
use crate::backend::tcp_proxy::TcpProxy;
use crate::error::Kind;
use crate::record::RecordKey;

#[tokio::test]
async fn a_resend_through_another_process_is_known() {
    with_server("a_resend_through_another_process_is_known", async |config| {
        let (first, second) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "again".into();
        let token = granted(&first, &session).await.token;
        let patch = owned(&session, token, 0, vec![change("session", "a", "1")]);
        commit_and_die(&first, patch.clone()).await;
        let head = commit_one(&second, patch).await.unwrap();
        assert_eq!(head.version, 1);
        assert_eq!(first.head(&session).await.unwrap(), head);
        assert_eq!(get(&second, &session, "a").await.as_deref(), Some("1"));

        // Of an `exclusive: false` writer too, though others came between.
        let shared = |id| commit(&session, Fence::Shared, 0, vec![change("session", "s", id)]);
        let patch = shared("1");
        assert_eq!(commit_one(&first, patch.clone()).await.unwrap().version, 2);
        assert_eq!(commit_one(&second, shared("2")).await.unwrap().version, 3);
        for backend in [&first, &second] {
            assert_eq!(commit_one(backend, patch.clone()).await.unwrap().version, 2);
        }
        assert_eq!(get(&first, &session, "s").await.as_deref(), Some("2"));
        assert_eq!(first.head(&session).await.unwrap().version, 3);
    })
    .await;
}

#[tokio::test]
async fn of_a_hundred_shared_commits_at_once_none_is_lost() {
    with_server(
        "of_a_hundred_shared_commits_at_once_none_is_lost",
        async |config| {
            let mut backends = Vec::new();
            for _ in 0..8 {
                backends.push(connect(&config).await);
            }
            let session: SessionId = "storm".into();
            let commits = (0..100).map(|at| {
                let (backend, session) = (&backends[at % 8], &session);
                let changes = vec![
                    change("session", &at.to_string(), "kept"),
                    change("session", "all", &at.to_string()),
                ];
                commit_one(backend, commit(session, Fence::Shared, 0, changes))
            });
            let mut versions: Vec<_> = join_all(commits)
                .await
                .into_iter()
                .map(|answer| answer.unwrap().version)
                .collect();
            versions.sort_unstable();
            assert_eq!(versions, (1..=100).collect::<Vec<_>>(), "each has its version");
            assert_eq!(backends[0].head(&session).await.unwrap().version, 100);
            let keys: Vec<_> = (0..100).map(|at| key("session", &at.to_string())).collect();
            for backend in &backends {
                let found = backend.read(&session, &keys, Seen::NOTHING).await.unwrap();
                assert!(found.iter().all(Option::is_some));
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_burst_of_one_owner_is_applied_to_the_last() {
    with_server("a_burst_of_one_owner_is_applied_to_the_last", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "burst".into();
        let token = granted(&backend, &session).await.token;
        for base in 0..100_u64 {
            let changes = vec![
                change("session", "same", &base.to_string()),
                change("pre-key", &base.to_string(), "p"),
                change(
                    "pre-key",
                    &base.saturating_sub(1).to_string(),
                    if base == 0 { "p" } else { "" },
                ),
            ];
            let mut patch = crate::record::Patch::default();
            for change in changes {
                patch.set(change.key, change.value);
            }
            let head = commit_one(&backend, owned(&session, token, base, patch.into_changes())).await;
            assert_eq!(head.unwrap().version, base + 1);
            assert_eq!(
                get(&backend, &session, "same").await,
                Some(base.to_string()),
                "its own writes are read back at once"
            );
        }
        backend.release(&session, token).await.unwrap();
        let document = backend.0.connection.session(&session).await.unwrap().unwrap();
        assert!(document.pending.is_empty(), "given back without leftovers");
        assert_eq!(stored(&backend).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_patch_larger_than_a_document_is_one_patch() {
    with_server("a_patch_larger_than_a_document_is_one_patch", async |config| {
        let (writer, reader) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "large".into();
        let token = granted(&writer, &session).await.token;
        let changes: Vec<_> = (0..24)
            .map(|at| Change {
                key: key("session", &at.to_string()),
                value: Some(bytes(1_000_000)),
            })
            .collect();
        let keys: Vec<RecordKey> = changes.iter().map(|change| change.key.clone()).collect();
        let patch = owned(&session, token, 0, changes);
        commit_and_die(&writer, patch.clone()).await;
        assert!(staged(&writer).await > 1);
        // Visible to others before a single record is.
        let found = reader.read(&session, &keys, Seen::NOTHING).await.unwrap();
        assert!(found.iter().all(|value| *value == Some(bytes(1_000_000))));
        assert_eq!(commit_one(&reader, patch).await.unwrap().version, 1);

        let next = succeed(&reader, &session, token).await;
        assert_eq!((next.head.version, stored(&reader).await), (1, 24));
        assert_eq!(staged(&reader).await, 0, "the chunks are gone once applied");
        let small = owned(&session, next.token, 1, vec![change("session", "0", "")]);
        assert_eq!(commit_one(&reader, small).await.unwrap().version, 2);
        settled(&reader, &session).await;
        assert_eq!(stored(&writer).await, 23);
    })
    .await;
}

#[tokio::test]
async fn chunks_without_commit_point_are_removed() {
    with_server("chunks_without_commit_point_are_removed", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "half-staged".into();
        let token = granted(&backend, &session).await.token;
        let found = backend
            .0
            .committer
            .staging
            .begin(&session)
            .await
            .unwrap()
            .unwrap();
        let changes = vec![change("session", "a", "1")];
        backend
            .0
            .committer
            .staging
            .stage(&session, &found.epoch, &changes)
            .await
            .unwrap();
        assert_eq!(staged(&backend).await, 1);
        let next = succeed(&backend, &session, token).await;
        assert_eq!((next.head.version, staged(&backend).await), (0, 0));
        let after = backend.0.connection.session(&session).await.unwrap().unwrap();
        assert!(
            after.sweeps > found.sweeps,
            "a commit point that would name them is refused"
        );
    })
    .await;
}

#[tokio::test]
async fn a_record_that_fits_no_document_is_refused() {
    with_server("a_record_that_fits_no_document_is_refused", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "too-large".into();
        let token = granted(&backend, &session).await.token;
        let too_large = Change {
            key: key("session", "a"),
            value: Some(bytes(16 * 1024 * 1024)),
        };
        let answer = commit_one(&backend, owned(&session, token, 0, vec![too_large])).await;
        assert_eq!(answer.unwrap_err().kind(), Kind::InvalidValue);
        let next = owned(&session, token, 0, vec![change("session", "a", "1")]);
        assert_eq!(commit_one(&backend, next).await.unwrap().version, 1);
    })
    .await;
}

/// The session's document has them until then, however many commits come after them.
#[tokio::test]
async fn patches_that_are_not_applied_stay_pending() {
    let name = "patches_that_are_not_applied_stay_pending";
    with_server(name, async |config| {
        let (owner, next) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "pending".into();
        let token = granted(&owner, &session).await.token;
        for base in 0..3 {
            let id = base.to_string();
            let commit = owned(&session, token, base, vec![change("session", &id, "kept")]);
            commit_and_die(&owner, commit).await;
        }
        assert_eq!(stored(&next).await, 0);
        succeed(&next, &session, token).await;
        for id in ["0", "1", "2"] {
            assert_eq!(get(&next, &session, id).await.as_deref(), Some("kept"), "{id}");
        }
    })
    .await;
}

/// The records could not be written, and the session's document could.
#[tokio::test]
async fn patches_that_are_not_applied_stay_pending_when_the_lease_is_given_back() {
    let name = "patches_that_are_not_applied_stay_pending_when_the_lease_is_given_back";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            operation_timeout: seconds(2),
            ..config.clone()
        };
        let (owner, next) = (connect(&by_proxy).await, connect(&config).await);
        let session: SessionId = "given-back".into();
        let token = granted(&owner, &session).await.token;
        proxy.leave_unanswered("vault_records");
        let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
        commit_one(&owner, first).await.unwrap();
        owner.release(&session, token).await.unwrap();
        assert_eq!(stored(&next).await, 0);
        assert_eq!(granted(&next, &session).await.head.version, 1);
        assert_eq!(get(&next, &session, "a").await.as_deref(), Some("1"));
    })
    .await;
}

/// A server that is one of several acknowledges, and shows, what the others may not have.
#[tokio::test]
async fn commits_and_reads_ask_for_a_majority() {
    let name = "commits_and_reads_ask_for_a_majority";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let backend = connect(&by_proxy).await;
        let session: SessionId = "many".into();
        let token = granted(&backend, &session).await.token;
        for what in ["commit", "read"] {
            // What does not ask for it goes through.
            proxy.hold_back("majority");
            let (asking, id) = (backend.clone(), session.clone());
            let asked = tokio::spawn(async move {
                if what == "commit" {
                    let first = owned(&id, token, 0, vec![change("session", "a", "1")]);
                    commit_one(&asking, first).await.unwrap();
                } else {
                    assert_eq!(get(&asking, &id, "a").await.as_deref(), Some("1"));
                }
            });
            let held_back = tokio::time::timeout(seconds(20), proxy.holds_back()).await;
            assert!(held_back.is_ok() && !asked.is_finished(), "{what}");
            proxy.let_through();
            asked.await.unwrap();
            settled(&backend, &session).await;
        }
    })
    .await;
}

/// No server is needed: nothing is sent.
#[tokio::test]
async fn what_a_fail_over_may_take_back_is_no_acknowledgement() {
    for weak in ["local", "available", "snapshot"] {
        let url = format!("mongodb://127.0.0.1:1/?readConcernLevel={weak}");
        let refused = MongoBackend::connect(&MongoConfig::new(url)).await.map(drop);
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Config, "{error:?}");
        assert!(error.message().contains("readConcernLevel"), "{error:?}");
    }
}

/// One session's document was damaged by hand, so that the server refuses its patch.
#[tokio::test]
async fn what_stops_one_session_is_answered_to_that_one_alone() {
    let name = "what_stops_one_session_is_answered_to_that_one_alone";
    with_server(name, async |config| {
        let backend = connect(&config).await;
        let names: Vec<SessionId> = ["first", "damaged", "last"].map(Into::into).to_vec();
        let mut tokens = Vec::new();
        for session in &names {
            let token = granted(&backend, session).await.token;
            let first = owned(session, token, 0, vec![change("session", "a", "1")]);
            commit_one(&backend, first).await.unwrap();
            settled(&backend, session).await;
            tokens.push(token);
        }
        let damage = doc! { "$set": { "pending": "not an array" } };
        let connection = &backend.0.connection;
        let matched = connection.update_session(doc! { "_id": "damaged" }, damage).await;
        assert!(matched.unwrap());
        let commits = names
            .iter()
            .zip(&tokens)
            .map(|(session, token)| owned(session, *token, 1, vec![change("session", "a", "2")]));
        let answers = backend.commit(commits.collect()).await;
        let versions: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().map(|head| head.version))
            .collect();
        assert_eq!(versions[0].as_ref().ok(), Some(&2), "{answers:?}");
        assert_eq!(versions[2].as_ref().ok(), Some(&2), "{answers:?}");
        let error = answers[1].as_ref().unwrap_err();
        assert_eq!(error.session().map(|session| &**session), Some("damaged"));
        assert!(!error.retryable(), "{error}");
        // Leases likewise.
        let leases: Vec<_> = names.iter().cloned().zip(tokens).collect();
        assert!(
            backend
                .0
                .renewer
                .renew(&renewals(&leases), seconds(60))
                .await
                .iter()
                .all(Result::is_ok)
        );
    })
    .await;
}
