//! The end of a session: deleted, or its time to live over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::Session;
use super::super::bulk;
use super::super::vault::{OpenOptions, Vault};
use super::{Bench, ID, kind, options, others_run, patch, ring};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Op};
use crate::backend::{Backend, Fence, SessionId};
use crate::error::Kind;
use crate::record::RecordKey;
use crate::runtime::WorkerThread;

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
    assert!(bench.vault.delete(&id, &options()).await.unwrap().existed);
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
    assert!(bench.vault.delete(&id, &options()).await.unwrap().existed);
    assert!(!bench.vault.delete(&id, &options()).await.unwrap().existed);
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
        existed.push(deletion.await.unwrap().unwrap().existed);
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
    session.refreshed(0);
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

#[tokio::test]
async fn a_session_that_cannot_be_read_can_be_deleted() {
    for exclusive in [true, false] {
        let bench = Bench::new();
        let session = bench.open().await;
        let mut first = patch(&[("a", "1")]);
        first.set(RecordKey::creds(), Some(Bytes::from_static(b"me")));
        bench.vault.committed(&session, first, None).await.unwrap();
        bench.vault.close_session(&session).await;
        let stranger = OpenOptions {
            ring: ring(&[9]),
            exclusive,
            ..options()
        };
        let id = ID.into();
        let opened = bench.vault.open(&id, &stranger).await.map(|_| ());
        assert_eq!(kind(opened), Kind::Encryption);
        let deletion = bench.vault.delete(&id, &stranger).await.unwrap();
        assert!(deletion.existed);
        assert_eq!(deletion.unreadable.unwrap().kind(), Kind::Encryption);
        assert_eq!(bench.memory.version(ID), 0);
        assert!(!bench.memory.is_held(ID));
        let deletion = bench.vault.delete(&id, &stranger).await.unwrap();
        assert!(!deletion.existed && deletion.unreadable.is_none());
        let anew = bench.vault.open(&id, &stranger).await.unwrap();
        bench.set(&anew, &[("a", "2")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_in_use_with_other_keys_is_not_deleted() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    let stranger = OpenOptions {
        ring: ring(&[9]),
        ..options()
    };
    assert_eq!(
        kind(bench.vault.delete(&ID.into(), &stranger).await),
        Kind::Config
    );
    bench.set(&session, &[("a", "2")]).await.unwrap();
}

#[tokio::test]
async fn an_unavailable_storage_is_no_unreadable_session() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.vault.close_session(&session).await;
    bench.memory.fail(Op::Scan, Fault::Refuse(Kind::Unavailable));
    assert_eq!(
        kind(bench.vault.delete(&ID.into(), &options()).await),
        Kind::Unavailable
    );
    assert_eq!(bench.memory.version(ID), 1);
}

/// A session that its owner has found to be lost.
async fn lost_session(bench: &Bench) -> Arc<Session> {
    let session = bench.open().await;
    for value in ["1", "2"] {
        bench.set(&session, &[("a", value)]).await.unwrap();
    }
    bench.memory.restore_to(ID, 1);
    assert_eq!(kind(bench.set(&session, &[("a", "3")]).await), Kind::SessionLost);
    session
}

#[tokio::test]
async fn a_session_known_to_be_lost_is_not_begun_anew_before_it_is_deleted() {
    let bench = Bench::new();
    let id: SessionId = ID.into();
    let session = lost_session(&bench).await;

    // In whatever way it is asked for, with its handle open and closed, and after the store was closed.
    let shared = OpenOptions {
        exclusive: false,
        ..options()
    };
    let mut vault = bench.vault.clone();
    for step in 0..3 {
        for options in [&options(), &shared] {
            let opened = vault.open(&id, options).await.map(|_| ());
            assert_eq!(kind(opened), Kind::SessionLost, "{step}");
            let opened = vault.open_unless_lost(&id, options).await.map(|_| ());
            assert_eq!(kind(opened), Kind::SessionLost, "{step}");
            assert_eq!(
                kind(bulk::snapshot(&vault, &id, options).await),
                Kind::SessionLost
            );
        }
        assert_eq!(kind(vault.exists(&id).await), Kind::SessionLost);
        assert_eq!(kind(vault.touch(&id, None).await), Kind::SessionLost);
        assert_eq!(
            kind(bulk::list_ids(&vault, &session, "session").await),
            Kind::SessionLost
        );
        assert_eq!(kind(bulk::clear(&vault, &session).await), Kind::SessionLost);
        if step == 0 {
            bench.vault.close_session(&session).await;
        } else if step == 1 {
            // Not the backend, which the next one shares.
            vault = Vault::new(
                bench.memory.clone(),
                WorkerThread::current(),
                bench.vault.settings().clone(),
                |_, _| (),
            );
        }
    }
    assert!(vault.open(&"other".into(), &options()).await.is_ok());
    assert!(vault.delete(&id, &options()).await.unwrap().existed);
    let anew = vault.open(&id, &options()).await.unwrap();
    assert_eq!(anew.head().version, 0);
    assert!(bench.vault.settings().lost.is_empty());
}

#[tokio::test]
async fn a_lost_session_stays_lost_while_the_storage_cannot_delete_it() {
    let bench = Bench::new();
    let id: SessionId = ID.into();
    let _session = lost_session(&bench).await;
    bench.memory.fail(Op::Delete, Fault::Refuse(Kind::Unavailable));
    assert_eq!(kind(bench.vault.delete(&id, &options()).await), Kind::Unavailable);
    let opened = bench.vault.open(&id, &options()).await.map(|_| ());
    assert_eq!(kind(opened), Kind::SessionLost);
    assert!(bench.vault.delete(&id, &options()).await.unwrap().existed);
    bench.open().await;
}

#[tokio::test]
async fn the_first_millisecond_of_the_clock_is_an_instant_like_any_other() {
    let bench = Bench::new();
    let session = bench.vault.open(&ID.into(), &with_ttl()).await.unwrap();
    bench.set(&session, &[("a", "1")]).await.unwrap();
    session.refreshed(0);
    assert_eq!(session.wants_touch(), None);
    session.trust_until(0);
    assert!(!session.is_trusted() && session.lease_expires());
}
