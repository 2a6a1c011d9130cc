//! The end of a session: deleted, or its time to live over.

use std::time::Duration;

use super::super::vault::OpenOptions;
use super::{Bench, ID, kind, options, others_run};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Op};
use crate::backend::{Backend, Fence, SessionId};
use crate::error::Kind;

fn with_ttl() -> OpenOptions {
    OpenOptions {
        ttl: Some(Duration::from_secs(3600)),
        ..options()
    }
}

#[tokio::test]
async fn a_deleted_session_takes_no_more_writes() {
    let bench = Bench::new();
    let id: SessionId = ID.into();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    assert!(bench.vault.delete(&id, &options()).await.unwrap());
    assert_eq!(kind(bench.set(&session, &[("a", "2")]).await), Kind::Deleted);
    assert_eq!(
        kind(bench.vault.read(&session, &[key("session", "a")]).await),
        Kind::Deleted
    );
    assert_eq!(bench.memory.version(ID), 0);
    assert!(bench.losses().is_empty());

    let anew = bench.open().await;
    assert_eq!(bench.set(&anew, &[("b", "1")]).await.unwrap().version, 1);
    bench.memory.fail(Op::Delete, Fault::Refuse(Kind::Unavailable));
    assert_eq!(kind(bench.vault.delete(&id, &options()).await), Kind::Unavailable);
    assert_eq!(
        kind(bench.set(&anew, &[("b", "2")]).await),
        Kind::Deleted,
        "even though it failed"
    );
    assert!(!bench.memory.is_held(ID));
    assert!(bench.vault.delete(&id, &options()).await.unwrap());
    assert!(!bench.vault.delete(&id, &options()).await.unwrap());
}

#[tokio::test]
async fn deleting_what_was_taken_over_unnoticed_is_a_loss_and_no_deletion() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.another_owner().await;
    assert_eq!(
        kind(bench.vault.delete(&ID.into(), &options()).await),
        Kind::Fenced
    );
    assert_eq!(kind(bench.set(&session, &[("a", "2")]).await), Kind::Fenced);
    assert_eq!(bench.losses(), [Kind::Fenced]);
    assert_eq!(bench.stored("a").as_deref(), Some("1"));
}

#[tokio::test]
async fn deleting_twice_at_once_leaves_a_later_owner_alone() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.memory.hold(Op::Delete);
    let deletions = [(); 2].map(|()| {
        let vault = bench.vault.clone();
        tokio::spawn(async move { vault.delete(&ID.into(), &options()).await })
    });
    bench.memory.called(Op::Delete, 1).await;
    others_run().await;
    bench.memory.let_go(Op::Delete);
    let mut existed = Vec::new();
    for deletion in deletions {
        existed.push(deletion.await.unwrap().unwrap());
    }
    existed.sort_unstable();
    assert_eq!(existed, [false, true]);
    let anew = bench.open().await;
    bench.set(&anew, &[("b", "1")]).await.unwrap();
    bench.vault.close_session(&anew).await;
    assert!(!bench.memory.is_held(ID), "its handle was not forgotten");
}

#[tokio::test]
async fn an_idle_owner_keeps_its_session_alive() {
    let bench = Bench::new();
    let session = bench.vault.open(&ID.into(), &with_ttl()).await.unwrap();
    others_run().await;
    assert_eq!(bench.memory.calls(Op::Touch), 0, "there is nothing to keep yet");
    bench.set(&session, &[("a", "1")]).await.unwrap();
    assert_eq!(session.wants_touch(), None, "a write begins the time anew");
    bench.vault.close_session(&session).await;

    // How long it had to live when it was opened is not known, so it is touched at once.
    let session = bench.vault.open(&ID.into(), &with_ttl()).await.unwrap();
    bench.memory.called(Op::Touch, 1).await;
    others_run().await;
    assert_eq!(session.wants_touch(), None);
    session.refreshed(1);
    bench
        .vault
        .touch(&ID.into(), Some(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(session.wants_touch(), None);
    bench.vault.touch(&ID.into(), None).await.unwrap();
    session.refreshed(0);
    assert_eq!(session.wants_touch(), None, "it lives for ever now");
}

#[tokio::test]
async fn an_idle_owner_learns_that_its_session_ran_out() {
    let bench = Bench::new();
    let session = bench.vault.open(&ID.into(), &with_ttl()).await.unwrap();
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.vault.close_session(&session).await;
    bench.memory.hold(Op::Touch);
    let session = bench.vault.open(&ID.into(), &with_ttl()).await.unwrap();
    bench.memory.called(Op::Touch, 1).await;
    bench.memory.delete(&ID.into(), Fence::Shared).await.unwrap();
    bench.memory.let_go(Op::Touch);
    others_run().await;
    assert_eq!(bench.losses(), [Kind::SessionLost]);
    assert_eq!(kind(bench.set(&session, &[("a", "2")]).await), Kind::SessionLost);
    assert_eq!(bench.memory.version(ID), 0, "it was not brought back in part");
}
