//! A panic in any task of a vault: whoever waits is told, and the vault takes nothing any more.

use std::sync::Arc;
use std::time::Duration;

use super::super::LostSessions;
use super::super::vault::{OpenOptions, Settings, Vault};
use super::{Bench, ID, kind, options, others_run, patch};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Memory, Op};
use crate::error::Kind;
use crate::runtime::{WorkerThread, spawn};

/// Nothing here takes long unless somebody waits for ever.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, work)
        .await
        .expect("nobody waits for ever")
}

async fn refuses_everything(bench: &Bench) {
    let id = ID.into();
    assert_eq!(kind(bench.vault.ensure_open()), Kind::Internal);
    assert_eq!(
        kind(soon(bench.vault.open(&id, &options())).await.map(|_| ())),
        Kind::Internal
    );
    assert_eq!(
        kind(soon(bench.vault.delete(&id, &options())).await),
        Kind::Internal
    );
}

#[tokio::test]
async fn a_panic_in_the_committer_answers_every_write_and_ends_every_session() {
    let bench = Bench::new();
    let session = bench.open().await;
    let other = bench.vault.open(&"other".into(), &options()).await.unwrap();
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.memory.fail(Op::Commit, Fault::Panic);
    bench.memory.hold(Op::Commit);
    let under_way = bench.set(&session, &[("a", "2")]);
    let beside = bench.set(&other, &[("a", "1")]);
    bench.memory.called(Op::Commit, 3).await;
    let queued = bench.set(&session, &[("a", "3")]);
    bench.memory.let_go(Op::Commit);
    for outcome in [under_way, queued] {
        assert_eq!(kind(soon(outcome).await), Kind::Internal);
    }
    // It may have been committed and answered before the other panicked.
    if let Err(error) = soon(beside).await {
        assert_eq!(error.kind(), Kind::Internal);
    }
    for session in [&session, &other] {
        assert_eq!(
            kind(soon(bench.set(session, &[("b", "1")])).await),
            Kind::Internal
        );
        let read = soon(bench.vault.read(session, &[key("session", "a")])).await;
        assert_eq!(kind(read), Kind::Internal);
    }
    assert_eq!(bench.losses(), [Kind::Internal; 2]);
    refuses_everything(&bench).await;
    for session in [&session, &other] {
        soon(bench.vault.close_session(session)).await;
    }
    soon(bench.vault.close()).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_before_a_panic_is_there_for_whoever_opens_the_store_anew() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.memory.fail(Op::Commit, Fault::Panic);
    assert_eq!(
        kind(soon(bench.set(&session, &[("a", "2")])).await),
        Kind::Internal
    );
    // At once, although nobody gave the lease back.
    let anew = Bench::over(bench.memory.clone());
    let session = soon(anew.open()).await;
    assert_eq!(anew.get(&session, "a").await.as_deref(), Some("1"));
    anew.set(&session, &[("a", "3")]).await.unwrap();
}

#[tokio::test]
async fn a_panic_while_a_session_is_closed_ends_the_wait_for_it() {
    for op in [Op::Release, Op::Commit] {
        let bench = Bench::new();
        let session = bench.open().await;
        bench.memory.hold(op);
        bench.memory.fail(op, Fault::Panic);
        let outcome = bench.set(&session, &[("a", "1")]);
        let (vault, closing) = (bench.vault.clone(), session.clone());
        let closing = bench
            .vault
            .worker()
            .spawn(async move { vault.close_session(&closing).await });
        others_run().await;
        let waiting = bench.vault.clone();
        let opening = tokio::spawn(async move { waiting.open(&ID.into(), &options()).await.map(|_| ()) });
        others_run().await;
        bench.memory.let_go(op);
        assert_eq!(soon(outcome).await.is_ok(), op == Op::Release, "{op:?}");
        let _ = soon(closing).await;
        assert_eq!(kind(soon(opening).await.unwrap()), Kind::Internal, "{op:?}");
        soon(bench.vault.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_while_a_session_is_opened_ends_the_wait_for_it() {
    for op in [Op::Acquire, Op::Scan] {
        let bench = Bench::new();
        let session = bench.open().await;
        bench.set(&session, &[("a", "1")]).await.unwrap();
        bench.vault.close_session(&session).await;
        bench.memory.hold(op);
        bench.memory.fail(op, Fault::Panic);
        let vault = bench.vault.clone();
        let opening = bench
            .vault
            .worker()
            .spawn(async move { vault.open(&ID.into(), &options()).await.map(|_| ()) });
        others_run().await;
        let waiting = bench.vault.clone();
        let waiting = tokio::spawn(async move { waiting.open(&ID.into(), &options()).await.map(|_| ()) });
        others_run().await;
        bench.memory.let_go(op);
        assert!(soon(opening).await.unwrap_err().is_panic(), "{op:?}");
        assert_eq!(kind(soon(waiting).await.unwrap()), Kind::Internal, "{op:?}");
        refuses_everything(&bench).await;
    }
}

#[tokio::test]
async fn a_panic_in_the_watch_tells_all_who_wait_for_other_owners() {
    let bench = Bench::new();
    bench.another_owner().await;
    bench.memory.fail(Op::CheckLeases, Fault::Panic);
    let patient = OpenOptions {
        open_timeout: Duration::from_secs(600),
        ..options()
    };
    let opened = soon(bench.vault.open(&ID.into(), &patient)).await;
    assert_eq!(kind(opened.map(|_| ())), Kind::Internal);
    refuses_everything(&bench).await;
}

#[tokio::test]
async fn a_panic_in_a_renewal_or_a_touch_ends_every_session() {
    for op in [Op::Renew, Op::Touch] {
        let memory = Arc::new(Memory::default());
        let settings = Settings {
            lost: Arc::<LostSessions>::default(),
            lease: Duration::from_millis(60),
            operation_timeout: Duration::from_secs(600),
        };
        let vault = Vault::new(memory.clone(), WorkerThread::current(), settings, |_, _| ());
        let options = OpenOptions {
            ttl: (op == Op::Touch).then_some(Duration::from_millis(30)),
            ..options()
        };
        let session = vault.open(&ID.into(), &options).await.unwrap();
        vault
            .committed(&session, patch(&[("a", "1")]), None)
            .await
            .unwrap();
        memory.fail(op, Fault::Panic);
        soon(memory.called(op, 1)).await;
        others_run().await;
        assert_eq!(
            session.terminal_error().map(|error| error.kind()),
            Some(Kind::Internal),
            "{op:?}"
        );
        soon(vault.close_session(&session)).await;
        soon(vault.close()).await.unwrap();
    }
}

async fn panics() {
    tokio::task::yield_now().await;
    panic!("injected");
}

#[tokio::test]
async fn a_panic_in_a_task_of_the_storage_ends_every_session() {
    let bench = Bench::new();
    let session = bench.open().await;
    // As the reconciler, the sweeper and the flusher are: spawned by a task of the store.
    let task = bench.vault.worker().spawn(async { spawn(panics()).await });
    assert!(soon(task).await.unwrap().is_err());
    assert_eq!(
        kind(soon(bench.set(&session, &[("a", "1")])).await),
        Kind::Internal
    );
    refuses_everything(&bench).await;
}
