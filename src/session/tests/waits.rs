//! Waiting for a session that somebody else holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::Session;
use super::super::lease::Asking;
use super::super::vault::{OpenOptions, Vault};
use super::{Bench, ID, kind, options, others_run};
use crate::backend::contract::acquire;
use crate::backend::memory::{Fault, Memory, Op};
use crate::backend::{Acquired, Backend, Fence, Owner, SessionId, Token};
use crate::error::{Kind, Result};

fn patient() -> OpenOptions {
    OpenOptions {
        open_timeout: Duration::from_secs(600),
        ..options()
    }
}

fn opening(vault: &Arc<Vault>, id: &str) -> JoinHandle<Result<Arc<Session>>> {
    let (vault, id): (_, SessionId) = (vault.clone(), id.into());
    tokio::spawn(async move { vault.open(&id, &patient()).await })
}

/// Another process takes the session.
async fn held_elsewhere(memory: &Memory, id: &str, owner: Option<Owner>) -> Token {
    let mut request = acquire(&id.into());
    request.owner = owner.unwrap_or(request.owner);
    match memory.acquire(request).await.unwrap() {
        Acquired::Granted(grant) => grant.token,
        Acquired::Held(holder) => panic!("held by {holder:?}"),
    }
}

#[tokio::test]
async fn a_session_let_go_is_taken_without_having_been_asked_for_in_between() {
    let bench = Bench::new();
    let token = held_elsewhere(&bench.memory, ID, None).await;
    let waiting = opening(&bench.vault, ID);
    bench.memory.called(Op::CheckLeases, 3).await;
    assert!(!waiting.is_finished());
    assert_eq!(bench.memory.calls(Op::Acquire), 2);
    bench.memory.release(&ID.into(), token).await.unwrap();
    let session = waiting.await.unwrap().unwrap();
    assert_eq!(bench.memory.calls(Op::Acquire), 3);
    assert_eq!(bench.set(&session, &[("a", "1")]).await.unwrap().version, 1);

    // Nobody waits any more, so nothing is asked any more.
    bench.memory.hold(Op::CheckLeases);
    let asked = bench.memory.calls(Op::CheckLeases);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.memory.calls(Op::CheckLeases), asked);
}

#[tokio::test]
async fn all_who_wait_are_asked_about_in_one_question() {
    const COUNT: usize = 200;
    let bench = Bench::new();
    let names: Vec<_> = (0..COUNT).map(|n| format!("session-{n}")).collect();
    let mut tokens = Vec::new();
    for name in &names {
        tokens.push(held_elsewhere(&bench.memory, name, None).await);
    }
    bench.memory.hold(Op::CheckLeases);
    let waiting: Vec<_> = names.iter().map(|name| opening(&bench.vault, name)).collect();
    bench.memory.called(Op::Acquire, 2 * COUNT).await;
    bench.memory.called(Op::CheckLeases, 1).await;
    others_run().await;
    for (name, token) in names.iter().zip(tokens) {
        bench.memory.release(&name.as_str().into(), token).await.unwrap();
    }
    bench.memory.let_go(Op::CheckLeases);
    for opened in waiting {
        opened.await.unwrap().unwrap();
    }
    assert_eq!(bench.memory.calls(Op::Acquire), 3 * COUNT);
    // The first may have been asked before all were there.
    assert!(bench.memory.calls(Op::CheckLeases) <= 2);
}

#[tokio::test]
async fn a_storage_that_cannot_say_is_an_error_and_no_reason_to_wait_on() {
    let bench = Bench::new();
    held_elsewhere(&bench.memory, ID, None).await;
    bench
        .memory
        .fail(Op::CheckLeases, Fault::Refuse(Kind::Unavailable));
    let error = opening(&bench.vault, ID).await.unwrap().err().unwrap();
    assert_eq!(
        (error.kind(), error.session().map(|id| &**id)),
        (Kind::Unavailable, Some(ID))
    );
}

#[tokio::test]
async fn who_has_waited_long_enough_is_told_the_holder_of_that_moment() {
    let bench = Bench::new();
    let token = held_elsewhere(&bench.memory, ID, None).await;
    bench.memory.hold(Op::CheckLeases);
    let short = OpenOptions {
        open_timeout: Duration::from_millis(200),
        ..options()
    };
    let vault = bench.vault.clone();
    let waiting = tokio::spawn(async move { vault.open(&ID.into(), &short).await });
    bench.memory.called(Op::CheckLeases, 1).await;
    bench.memory.release(&ID.into(), token).await.unwrap();
    let later = Owner {
        pid: 4242,
        // Not known to be dead, for nothing is known of its process.
        started: 0,
        ..acquire(&ID.into()).owner
    };
    held_elsewhere(&bench.memory, ID, Some(later)).await;
    let error = waiting.await.unwrap().err().unwrap();
    assert_eq!(error.kind(), Kind::SessionBusy);
    assert_eq!(error.detail("holder").unwrap()["pid"], 4242);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_owner_that_dies_is_succeeded_while_it_is_waited_for() {
    let bench = Bench::new();
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    held_elsewhere(&bench.memory, ID, Some(Owner::of(child.id()))).await;
    let waiting = opening(&bench.vault, ID);
    bench.memory.called(Op::CheckLeases, 2).await;
    assert!(!waiting.is_finished());
    child.kill().unwrap();
    child.wait().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_the_store_ends_the_wait() {
    let bench = Bench::new();
    held_elsewhere(&bench.memory, ID, None).await;
    let waiting = opening(&bench.vault, ID);
    bench.memory.called(Op::CheckLeases, 1).await;
    bench.vault.close().await.unwrap();
    assert_eq!(kind(waiting.await.unwrap().map(|_| ())), Kind::Closed);
    assert!(bench.memory.is_held(ID), "by the other one");
}

#[tokio::test]
async fn two_stores_of_one_process_hand_over_without_the_storages_word() {
    for released in [true, false] {
        let memory = Arc::new(Memory::default());
        let (one, two) = (Bench::over(memory.clone()), Bench::over(memory.clone()));
        let first = one.open().await;
        one.set(&first, &[("a", "1")]).await.unwrap();
        memory.hold(Op::CheckLeases);
        let waiting = opening(&two.vault, ID);
        memory.called(Op::CheckLeases, 1).await;
        others_run().await;
        assert!(!waiting.is_finished());
        if !released {
            memory.fail(Op::Release, Fault::Refuse(Kind::Unavailable));
        }
        one.vault.close_session(&first).await;
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(two.set(&second, &[("a", "2")]).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn what_a_handle_has_lost_is_refused_at_once() {
    let bench = Bench::new();
    let id: SessionId = ID.into();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    let Fence::Owner(other) = bench.another_owner().await else {
        unreachable!("an owner was asked for")
    };
    assert_eq!(kind(bench.set(&session, &[("a", "2")]).await), Kind::Fenced);

    let asked = bench.memory.calls(Op::Acquire);
    assert_eq!(kind(bench.vault.delete(&id, &patient()).await), Kind::Fenced);
    let ttl = Some(Duration::from_secs(60));
    assert_eq!(kind(bench.vault.touch(&id, ttl).await), Kind::Fenced);
    let opened = bench.vault.open_unless_lost(&id, &patient()).await;
    assert_eq!(kind(opened.map(|_| ())), Kind::Fenced);
    assert_eq!(bench.memory.calls(Op::Acquire), asked);
    assert_eq!(bench.stored("a").as_deref(), Some("1"));

    // Once the handle is given back, nobody here takes itself for the owner.
    bench.vault.close_session(&session).await;
    assert_eq!(kind(bench.vault.delete(&id, &options()).await), Kind::SessionBusy);
    bench.memory.release(&id, other).await.unwrap();
    assert!(bench.vault.delete(&id, &options()).await.unwrap().existed);
}

/// Another store of this process has been granted the lease, and has not heard so yet.
#[tokio::test]
async fn a_lease_on_its_way_to_another_store_of_the_process_is_not_displaced() {
    // No other test's: all of the process count.
    let id = "on-its-way";
    let bench = Bench::new();
    let asking = Asking::begin(&id.into());
    held_elsewhere(&bench.memory, id, Some(Owner::current().clone())).await;
    let waiting = opening(&bench.vault, id);
    bench.memory.called(Op::Acquire, 2).await;
    others_run().await;
    assert!(!waiting.is_finished());
    assert_eq!(bench.memory.calls(Op::Acquire), 2);
    // It failed, so that the lease was left behind.
    drop(asking);
    waiting.await.unwrap().unwrap();
}

/// Who asks is known to the others from the moment that it asks.
#[tokio::test]
async fn a_store_that_asks_is_waited_for_by_the_others_of_the_process() {
    let id = "asked-for";
    let (one, two) = (Bench::new(), Bench::new());
    one.memory.hold(Op::Acquire);
    let first = opening(&one.vault, id);
    one.memory.called(Op::Acquire, 1).await;
    held_elsewhere(&two.memory, id, Some(Owner::current().clone())).await;
    let second = opening(&two.vault, id);
    two.memory.called(Op::Acquire, 2).await;
    others_run().await;
    assert!(!second.is_finished());
    assert_eq!(two.memory.calls(Op::Acquire), 2);
    one.memory.let_go(Op::Acquire);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

/// As where two storages name different dead owners: what is preempted in one stands in the other.
#[tokio::test]
async fn a_holder_that_cannot_be_displaced_is_asked_for_with_pauses() {
    let id = "stays";
    let bench = Bench::new();
    held_elsewhere(&bench.memory, id, Some(Owner::current().clone())).await;
    bench.memory.keep_holders(1_000);
    let hasty = OpenOptions {
        open_timeout: Duration::from_millis(300),
        ..options()
    };
    let before = bench.memory.calls(Op::Acquire);
    let opened = bench.vault.open(&id.into(), &hasty).await;
    assert_eq!(kind(opened.map(|_| ())), Kind::SessionBusy);
    // At once, once more, after 20, 40, 80 and 160 ms, and when the time is over; on a slow machine fewer.
    let asked = bench.memory.calls(Op::Acquire) - before;
    assert!((3..=8).contains(&asked), "asked {asked} times");
}
