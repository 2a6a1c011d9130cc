//! Statements that meet each other, under READ COMMITTED and the stricter levels.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::NoTls;

use super::*;
use crate::backend::contract::{acquire, change, commit, commit_one, key};
use crate::backend::postgres::outbox::STEP;
use crate::backend::{Acquire, Acquired, Commit, Fence, Grant, OutboxOpened, Seen, SessionId, Token};
use crate::error::Kind;

async fn grant(backend: &PostgresBackend, request: Acquire) -> Grant {
    match backend.acquire(request).await.unwrap() {
        Acquired::Granted(grant) => grant,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

fn preempting(session: &SessionId, token: Token) -> Acquire {
    Acquire {
        preempt: Some(token),
        read: vec![key("session", "a"), key("session", "b")],
        ..acquire(session)
    }
}

async fn values(backend: &PostgresBackend, session: &SessionId, ids: &[&str]) -> Vec<Option<String>> {
    let keys: Vec<_> = ids.iter().map(|id| key("session", id)).collect();
    let found = backend.read(session, &keys, Seen::NOTHING).await.unwrap();
    let text = |value: bytes::Bytes| String::from_utf8(value.to_vec()).unwrap();
    found.into_iter().map(|value| value.map(text)).collect()
}

/// A connection by which the test holds rows as any transaction may.
async fn by_hand(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    crate::runtime::spawn(connection);
    client
}

#[tokio::test]
async fn a_commit_that_met_the_next_owner_is_fenced() {
    with_server("a_commit_that_met_the_next_owner_is_fenced", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "race".into();
        let token = grant(&backend, acquire(&session)).await.token;
        let other = by_hand(&config.url).await;
        let table = format!(
            "{}.vault_session",
            super::super::statements::quoted(&config.schema)
        );
        other.batch_execute("BEGIN").await.unwrap();
        let raised = format!("UPDATE {table} SET token = token + 1 WHERE id = 'race'");
        other.batch_execute(&raised).await.unwrap();
        // It meets the transaction that has raised the token and not ended yet.
        let late = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1")],
        );
        let ended = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        let (answer, ()) = tokio::join!(commit_one(&backend, late), ended);
        assert_eq!(answer.unwrap_err().kind(), Kind::Fenced);
        assert_eq!(values(&backend, &session, &["a"]).await, [None]);
    })
    .await;
}

#[tokio::test]
async fn a_row_that_is_held_holds_up_its_session_alone() {
    with_server("a_row_that_is_held_holds_up_its_session_alone", async |config| {
        let config = PostgresConfig {
            operation_timeout: Duration::from_millis(500),
            ..config
        };
        let backend = connect(&config).await;
        let [held, free]: [SessionId; 2] = ["held".into(), "free".into()];
        let mut commits = Vec::new();
        for session in [&held, &free] {
            let token = grant(&backend, acquire(session)).await.token;
            let changes = vec![change("session", "a", "1")];
            commits.push(commit(session, Fence::Owner(token), 0, changes));
        }
        let other = by_hand(&config.url).await;
        let table = format!(
            "{}.vault_session",
            super::super::statements::quoted(&config.schema)
        );
        other.batch_execute("BEGIN").await.unwrap();
        let locked = format!("SELECT FROM {table} WHERE id = 'held' FOR UPDATE");
        other.batch_execute(&locked).await.unwrap();
        let begun = std::time::Instant::now();
        let answers = backend.commit(commits.clone()).await;
        assert_eq!(answers[0].as_ref().unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(answers[1].as_ref().unwrap().version, 1);
        assert!(begun.elapsed() < Duration::from_secs(5));
        other.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(commit_one(&backend, commits[0].clone()).await.unwrap().version, 1);
    })
    .await;
}

/// Two owners in turn: whoever takes the session over sees head and records of one version, and of two that write at
/// the same time only one does.
async fn owners_in_turn(config: PostgresConfig) {
    let (one, two) = (connect(&config).await, connect(&config).await);
    let session: SessionId = "turns".into();
    let mut token = grant(&one, acquire(&session)).await.token;
    let mut version = 0;
    for turn in 0..150 {
        let (old, new) = if turn % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let next = (version + 1).to_string();
        let changes = vec![change("session", "a", &next), change("session", "b", &next)];
        let racing = commit(&session, Fence::Owner(token), version, changes);
        let (written, taken) = tokio::join!(commit_one(old, racing), grant(new, preempting(&session, token)));
        if let Ok(head) = &written {
            version = head.version;
        } else {
            assert_eq!(written.unwrap_err().kind(), Kind::Fenced);
        }
        assert_eq!(taken.head.version, version, "turn {turn}");
        let expected = (version > 0).then(|| bytes::Bytes::from(version.to_string()));
        assert_eq!(taken.records, [expected.clone(), expected], "turn {turn}");
        token = taken.token;
    }
    assert!(version > 0, "some of the writers were faster");
}

#[tokio::test]
async fn who_takes_over_sees_head_and_records_of_one_version() {
    with_server(
        "who_takes_over_sees_head_and_records_of_one_version",
        owners_in_turn,
    )
    .await;
}

#[tokio::test]
async fn the_same_under_serializable() {
    with_server("the_same_under_serializable", async |config| {
        let and = if config.url.contains('?') { '&' } else { '?' };
        let strict = format!(
            "{}{and}options=-c%20default_transaction_isolation%3Dserializable",
            config.url
        );
        owners_in_turn(PostgresConfig {
            url: strict,
            ..config
        })
        .await;
    })
    .await;
}

/// Writers without owner swap which of two records exists. One that deleted by an old snapshot would leave both.
#[tokio::test]
async fn writers_without_owner_leave_the_last_write_of_each_record() {
    with_server(
        "writers_without_owner_leave_the_last_write_of_each_record",
        async |config| {
            let session: SessionId = "swap".into();
            let backends = [
                connect(&config).await,
                connect(&config).await,
                connect(&config).await,
            ];
            let writes = |id: usize, round: usize| {
                let (put, removed) = if (id + round).is_multiple_of(2) {
                    ("a", "b")
                } else {
                    ("b", "a")
                };
                vec![change("session", put, "here"), change("session", removed, "")]
            };
            let writers = backends.iter().enumerate().map(async |(id, backend)| {
                for round in 0..60 {
                    let shared: Commit = commit(&session, Fence::Shared, 0, writes(id, round));
                    commit_one(backend, shared).await.unwrap();
                    let found = values(backend, &session, &["a", "b"]).await;
                    let here = found.iter().filter(|value| value.is_some()).count();
                    assert_eq!(here, 1, "round {round} of {id}: {found:?}");
                }
            });
            join_all(writers).await;
            assert_eq!(backends[0].head(&session).await.unwrap().version, 180);
        },
    )
    .await;
}

/// A commit whose answer was lost is sent again, and found again though others have written since.
#[tokio::test]
async fn a_commit_without_owner_is_known_after_others() {
    with_server("a_commit_without_owner_is_known_after_others", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "again".into();
        let first = commit(&session, Fence::Shared, 0, vec![change("session", "a", "1")]);
        let head = commit_one(&backend, first.clone()).await.unwrap();
        for _ in 0..15 {
            let other = commit(&session, Fence::Shared, 0, vec![change("session", "a", "2")]);
            commit_one(&backend, other).await.unwrap();
        }
        assert_eq!(
            commit_one(&backend, first.clone()).await.unwrap().version,
            head.version
        );
        assert_eq!(values(&backend, &session, &["a"]).await, [Some("2".into())]);
        let last = commit(&session, Fence::Shared, 0, vec![change("session", "a", "3")]);
        assert_eq!(commit_one(&backend, last).await.unwrap().version, 17);
        // Of the many before it is not known any more: its write is the last one, which its caller still waits for.
        assert_eq!(commit_one(&backend, first).await.unwrap().version, 18);
    })
    .await;
}

/// Whoever deletes was told that it failed, and writes on.
#[tokio::test]
async fn a_delete_that_arrives_late_takes_nothing_that_was_written_since() {
    let name = "a_delete_that_arrives_late_takes_nothing_that_was_written_since";
    with_server(name, async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "late".into();
        let token = grant(&backend, acquire(&session)).await.token;
        let fence = Fence::Owner(token);
        let write = async |base| {
            let one = commit(&session, fence, base, vec![change("session", "a", "1")]);
            commit_one(&backend, one).await.unwrap()
        };
        let lifetime = &backend.0.lifetime;
        let seen = async || lifetime.stands(&session).await.unwrap().unwrap();
        let bury = async |seen| lifetime.bury(&session, fence, seen).await.unwrap();
        write(0).await;
        let before = seen().await;
        write(1).await;
        assert_eq!(bury(before).await, None);
        let before = seen().await;
        assert!(backend.delete(&session, fence).await.unwrap());
        write(0).await;
        write(1).await;
        assert_eq!(bury(before).await, None, "the same version of another life");
        assert_eq!(backend.head(&session).await.unwrap().version, 2);
        assert_eq!(bury(seen().await).await, Some(true));
    })
    .await;
}

/// Its owner was told that it failed, opened it again, and acknowledges commits by it.
#[tokio::test]
async fn an_outbox_is_not_closed_by_what_arrives_late() {
    with_server("an_outbox_is_not_closed_by_what_arrives_late", async |config| {
        let owner = connect(&config).await;
        let session: SessionId = "closed-late".into();
        let token = grant(&owner, acquire(&session)).await.token;
        let open = async || owner.open_outbox(&session, token, (0, 0), None).await.unwrap();
        assert_eq!(open().await, OutboxOpened::Yes);
        let late = STEP.fetch_add(1, Ordering::Relaxed);
        assert_eq!(open().await, OutboxOpened::Yes);
        assert!(!owner.close_outbox_at(late, &session, token, None).await.unwrap());
        let named = async || owner.metadata(&session).await.unwrap().unwrap().outbox;
        assert_eq!(named().await, Some(token));
        // Nobody deletes beside it, not even its owner.
        let deleted = owner.delete(&session, Fence::Owner(token)).await;
        assert_eq!(deleted.unwrap_err().kind(), Kind::SessionBusy);
        assert!(owner.close_outbox(&session, token, None).await.unwrap());
        assert_eq!(named().await, None);
        // The next owner counts anew.
        owner.release(&session, token).await.unwrap();
        let token = grant(&owner, acquire(&session)).await.token;
        assert!(owner.close_outbox_at(1, &session, token, None).await.unwrap());
    })
    .await;
}
