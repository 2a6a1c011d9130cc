//! Commits whose outcome is not known, and storages that say something else than before.

use super::{Bench, ID, kind};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Op};
use crate::error::Kind;

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_applied_twice() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Lose(Kind::Timeout));
    assert_eq!(kind(bench.set(&session, &[("a", "1")]).await), Kind::Timeout);
    assert_eq!(
        bench.get(&session, "a").await.as_deref(),
        Some("1"),
        "asked of the storage, not of memory"
    );
    assert_eq!(
        bench.set(&session, &[("b", "2")]).await.unwrap().version,
        2,
        "it stood at 1 after all"
    );
    assert_eq!(bench.memory.version(ID), 2);
    assert_eq!(bench.stored("a").as_deref(), Some("1"));
    let reads = bench.memory.calls(Op::Read);
    assert_eq!(bench.get(&session, "b").await.as_deref(), Some("2"));
    assert_eq!(bench.memory.calls(Op::Read), reads, "memory counts again");
}

#[tokio::test]
async fn a_doubtful_commit_may_be_applied_while_the_next_is_on_its_way() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Late(Kind::Timeout));
    assert_eq!(
        kind(bench.set(&session, &[("a", "late"), ("b", "late")]).await),
        Kind::Timeout
    );
    assert_eq!(bench.get(&session, "a").await, None);
    bench.memory.hold(Op::Commit);
    let next = bench.set(&session, &[("a", "next")]);
    bench.memory.called(Op::Commit, 2).await;
    assert_eq!(bench.memory.deliver(), 1);
    bench.memory.let_go(Op::Commit);
    assert_eq!(next.await.unwrap().version, 2);
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("next"));
    assert_eq!(bench.get(&session, "b").await.as_deref(), Some("late"));
}

#[tokio::test]
async fn a_doubtful_commit_can_never_be_applied_after_the_next() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Late(Kind::Unavailable));
    assert_eq!(
        kind(bench.set(&session, &[("a", "late")]).await),
        Kind::Unavailable
    );
    assert_eq!(bench.set(&session, &[("a", "next")]).await.unwrap().version, 1);
    assert_eq!(bench.memory.deliver(), 0);
    assert_eq!(bench.stored("a").as_deref(), Some("next"));
}

#[tokio::test]
async fn nothing_is_written_while_the_storage_cannot_say_where_it_stands() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Lose(Kind::Timeout));
    assert_eq!(kind(bench.set(&session, &[("a", "1")]).await), Kind::Timeout);
    bench.memory.fail(Op::Head, Fault::Refuse(Kind::CircuitOpen));
    assert_eq!(kind(bench.set(&session, &[("a", "2")]).await), Kind::CircuitOpen);
    assert_eq!(bench.memory.commits().len(), 1);
    assert_eq!(bench.set(&session, &[("a", "3")]).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_storage_that_went_back_has_lost_the_session() {
    let bench = Bench::new();
    let session = bench.open().await;
    for value in ["1", "2", "3"] {
        bench.set(&session, &[("a", value)]).await.unwrap();
    }
    bench.memory.restore_to(ID, 1);
    let error = bench.set(&session, &[("a", "4")]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SessionLost);
    assert_eq!(
        (error.detail("expectedVersion"), error.detail("actualVersion")),
        (Some(&3.into()), Some(&1.into()))
    );
    assert_eq!(bench.memory.version(ID), 1, "nothing was written over it");
    assert_eq!(kind(bench.set(&session, &[("a", "5")]).await), Kind::SessionLost);
    assert_eq!(
        kind(bench.vault.read(&session, &[key("session", "a")]).await),
        Kind::SessionLost
    );
    assert_eq!(bench.losses(), [Kind::SessionLost]);
}

#[tokio::test]
async fn an_outage_is_never_an_absent_record() {
    let bench = Bench::new();
    let session = bench.open().await;
    for fault in [Kind::Unavailable, Kind::Timeout, Kind::CircuitOpen] {
        bench.memory.fail(Op::Read, Fault::Refuse(fault));
        assert_eq!(
            kind(bench.vault.read(&session, &[key("session", "a")]).await),
            fault
        );
    }
    assert_eq!(bench.get(&session, "a").await, None);
}
