//! Patches that wait: what reads see of them, their order and their bounds.

use std::sync::Arc;

use bytes::Bytes;

use super::super::access::waiting;
use super::super::session::Lookup;
use super::super::vault::OpenOptions;
use super::{Bench, ID, kind, options};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Memory, Op};
use crate::error::{Error, Kind};
use crate::record::Patch;

#[tokio::test]
async fn a_queued_value_is_seen_at_once_and_a_failed_one_is_not() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "old")]).await.unwrap();
    bench.memory.hold(Op::Commit);
    let outcome = bench.set(&session, &[("a", "new"), ("b", "new")]);
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("new"));
    assert_eq!(bench.get(&session, "b").await.as_deref(), Some("new"));
    bench.memory.fail(Op::Commit, Fault::Refuse(Kind::StorageFull));
    bench.memory.let_go(Op::Commit);
    assert_eq!(kind(outcome.await), Kind::StorageFull);
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("old"));
    assert_eq!(bench.get(&session, "b").await, None);
    assert_eq!(bench.set(&session, &[("b", "again")]).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_failed_patch_does_not_hide_what_was_queued_after_it() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Refuse(Kind::StorageFull));
    bench.memory.hold(Op::Commit);
    let first = bench.set(&session, &[("a", "1")]);
    bench.memory.called(Op::Commit, 1).await;
    let second = bench.set(&session, &[("a", "2")]);
    bench.memory.let_go(Op::Commit);
    assert_eq!(kind(first.await), Kind::StorageFull);
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("2"));
    assert_eq!(second.await.unwrap().version, 1);
    assert_eq!(bench.stored("a").as_deref(), Some("2"));
}

#[tokio::test]
async fn a_burst_is_one_commit_with_a_version_for_each_patch() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.hold(Op::Commit);
    let mut outcomes = vec![bench.set(&session, &[("a", "0")])];
    bench.memory.called(Op::Commit, 1).await;
    for value in ["1", "2", "3"] {
        outcomes.push(bench.set(&session, &[("a", value), (value, value)]));
    }
    outcomes.push(bench.set(&session, &[("2", "")]));
    bench.memory.let_go(Op::Commit);
    let mut versions = Vec::new();
    for outcome in outcomes {
        versions.push(outcome.await.unwrap().version);
    }
    assert_eq!(versions, [1, 2, 3, 4, 5]);
    let commits = bench.memory.commits();
    assert_eq!(
        commits.iter().map(|commit| commit.patches).collect::<Vec<_>>(),
        [1, 4]
    );
    for (id, value) in [("a", Some("3")), ("1", Some("1")), ("2", None), ("3", Some("3"))] {
        assert_eq!(bench.stored(id).as_deref(), value);
        assert_eq!(bench.get(&session, id).await.as_deref(), value);
    }
}

#[tokio::test]
async fn an_expected_version_is_checked_when_its_turn_comes() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.hold(Op::Commit);
    let first = bench.set(&session, &[("a", "1")]);
    bench.memory.called(Op::Commit, 1).await;
    let second = bench.set(&session, &[("a", "2")]);
    let wrong = bench.set_expecting(&session, &[("a", "wrong"), ("b", "wrong")], Some(1));
    let right = bench.set_expecting(&session, &[("c", "right")], Some(2));
    bench.memory.let_go(Op::Commit);
    assert_eq!(first.await.unwrap().version, 1);
    assert_eq!(second.await.unwrap().version, 2);
    let error = wrong.await.unwrap_err();
    assert_eq!(error.kind(), Kind::VersionMismatch);
    assert_eq!(error.detail("expectedVersion"), Some(&1.into()));
    assert_eq!(error.detail("actualVersion"), Some(&2.into()));
    assert_eq!(right.await.unwrap().version, 3);
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("2"));
    assert_eq!(bench.get(&session, "b").await, None);
}

#[tokio::test]
async fn writes_that_wait_are_bounded() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.hold(Op::Commit);
    // Shared bytes: 256 MiB by count only.
    let big = Bytes::from(vec![0; 64 * 1024 * 1024]);
    let queue = |id: &str| {
        let mut patch = Patch::default();
        patch.set(key("session", id), Some(big.clone()));
        let (reply, outcome) = waiting();
        bench.vault.commit(&session, patch, None, reply);
        outcome
    };
    let small = bench.set(&session, &[("a", "1")]);
    bench.memory.called(Op::Commit, 1).await;
    let _waiting: Vec<_> = ["1", "2", "3", "4"].map(queue).into();
    assert_eq!(kind(queue("5").await), Kind::Unavailable);
    assert!(matches!(
        session.lookup(&[key("session", "4")]),
        Ok(Lookup::Found(_))
    ));
    assert!(
        matches!(session.lookup(&[key("session", "5")]), Ok(Lookup::Unknown)),
        "it was not taken"
    );
    session.terminate(&Error::new(Kind::Closed, "session", "the test is over"));
    bench.memory.let_go(Op::Commit);
    small.await.unwrap();
}

#[tokio::test]
async fn sharing_writers_merge_and_remember_nothing() {
    let memory = Arc::new(Memory::default());
    let (one, two) = (Bench::over(memory.clone()), Bench::over(memory));
    let shared = OpenOptions {
        exclusive: false,
        ..options()
    };
    let first = one.vault.open(&ID.into(), &shared).await.unwrap();
    let second = two.vault.open(&ID.into(), &shared).await.unwrap();
    one.set(&first, &[("a", "1"), ("b", "1")]).await.unwrap();
    assert_eq!(two.set(&second, &[("b", "2")]).await.unwrap().version, 2);
    assert_eq!(one.get(&first, "a").await.as_deref(), Some("1"));
    assert_eq!(one.get(&first, "b").await.as_deref(), Some("2"));
    assert_eq!(
        kind(one.set_expecting(&first, &[("a", "3")], Some(1)).await),
        Kind::VersionMismatch
    );
    assert_eq!(
        one.set_expecting(&first, &[("a", "3")], Some(2))
            .await
            .unwrap()
            .version,
        3
    );
    assert!(!one.memory.is_held(ID));
}
