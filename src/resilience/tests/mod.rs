//! The wrappers over a backend that fails on demand, on tokio's clock, which stands still until all wait.

mod breaker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerConfig, Position};
use super::wrap_with;
use crate::backend::Seen;
use crate::backend::contract::renewals;
use crate::backend::contract::{self, acquire, change, commit, commit_one, key};
use crate::backend::memory::{Fault, Memory, Op};
use crate::backend::{Acquired, Backend, Fence, SessionId};
use crate::config::ResilienceSection;
use crate::error::{Error, Kind};
use crate::observe::StoreMetrics;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    memory: Arc<Memory>,
    began: Instant,
    breaker: Arc<Breaker>,
    backend: Arc<dyn Backend>,
}

fn new_breaker() -> Arc<Breaker> {
    let config = BreakerConfig::from(&ResilienceSection::default().breaker);
    let metrics = Box::leak(Box::new(StoreMetrics::new()));
    Arc::new(Breaker::new("memory", config, metrics))
}

impl Bench {
    fn new() -> Self {
        Self::configured(&ResilienceSection::default())
    }

    fn configured(config: &ResilienceSection) -> Self {
        let (memory, breaker) = (Arc::new(Memory::default()), new_breaker());
        let backend = wrap_with(memory.clone(), breaker.clone(), config, Box::new(|| 1.0));
        Self {
            memory,
            began: Instant::now(),
            breaker,
            backend,
        }
    }

    fn fail(&self, op: Op, fault: Fault, times: usize) {
        for _ in 0..times {
            self.memory.fail(op, fault);
        }
    }

    async fn owned(&self, name: &str) -> (SessionId, Fence) {
        let session: SessionId = name.into();
        match self.backend.acquire(acquire(&session)).await.unwrap() {
            Acquired::Granted(grant) => (session, Fence::Owner(grant.token)),
            Acquired::Held(holder) => panic!("held by {holder:?}"),
        }
    }

    fn passed(&self) -> Duration {
        self.began.elapsed()
    }
}

fn outage() -> Error {
    Error::new(Kind::Unavailable, "memory", "down")
}

/// On the real clock, which the backend's leases go by.
#[tokio::test]
async fn wrapped_backends_keep_every_promise() {
    contract::run(&*Bench::new().backend).await;
    contract::closed(&*Bench::new().backend).await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_a_moment_is_tried_again_with_growing_pauses() {
    let bench = Bench::new();
    let (session, _) = bench.owned("s").await;
    bench.fail(Op::Read, Fault::Refuse(Kind::Unavailable), 2);
    bench.fail(Op::Read, Fault::Lose(Kind::Timeout), 1);
    assert_eq!(
        bench
            .backend
            .read(&session, &[key("a", "1")], Seen::NOTHING)
            .await
            .unwrap(),
        [None]
    );
    assert_eq!(bench.memory.calls(Op::Read), 4);
    assert_eq!(bench.passed(), Duration::from_millis(50 + 100 + 200));
}

#[tokio::test(start_paused = true)]
async fn retries_end() {
    let bench = Bench::new();
    bench.fail(Op::Head, Fault::Refuse(Kind::Unavailable), 4);
    let error = bench.backend.head(&"s".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (Kind::Unavailable, true));
    assert_eq!(bench.memory.calls(Op::Head), 4, "one try and three retries");
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again() {
    for kind in [
        Kind::Fenced,
        Kind::Config,
        Kind::Corrupt,
        Kind::StorageFull,
        Kind::Closed,
    ] {
        let bench = Bench::new();
        bench.memory.fail(Op::Head, Fault::Refuse(kind));
        assert_eq!(bench.backend.head(&"s".into()).await.unwrap_err().kind(), kind);
        assert_eq!(bench.memory.calls(Op::Head), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_never_sent_twice() {
    let bench = Bench::new();
    let (session, fence) = bench.owned("s").await;
    commit_one(
        &*bench.backend,
        commit(&session, fence, 0, vec![change("a", "1", "x")]),
    )
    .await
    .unwrap();
    bench.memory.fail(Op::Delete, Fault::Lose(Kind::Unavailable));
    assert_eq!(
        bench.backend.delete(&session, fence).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    assert_eq!(bench.memory.calls(Op::Delete), 1);
}

#[tokio::test(start_paused = true)]
async fn only_the_failed_commits_of_a_batch_are_sent_again() {
    let bench = Bench::new();
    let mut commits = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let (session, fence) = bench.owned(name).await;
        commits.push(commit(&session, fence, 0, vec![change("a", "1", name)]));
    }
    commits[3].base = 9;
    bench.memory.fail(Op::Commit, Fault::Lose(Kind::Unavailable));
    let ids: Vec<_> = commits.iter().map(|commit| commit.id).collect();
    let answers = bench.backend.commit(commits).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map(|head| head.version).map_err(Error::kind))
        .collect();
    assert_eq!(kinds, [Ok(1), Ok(1), Ok(1), Err(Kind::VersionMismatch)]);
    let sent: Vec<_> = bench.memory.commits().iter().map(|commit| commit.id).collect();
    assert_eq!(sent, [ids[0], ids[1], ids[2], ids[3], ids[0]]);
    assert_eq!(bench.memory.version("one"), 1, "applied once");
}

#[tokio::test(start_paused = true)]
async fn every_wait_is_bounded() {
    let bench = Bench::new();
    let (session, fence) = bench.owned("s").await;
    bench.fail(Op::Commit, Fault::Hang, 4);
    let outcome = commit_one(&*bench.backend, commit(&session, fence, 0, Vec::new())).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!(
        (
            error.detail("operation").unwrap(),
            error.detail("timeoutMs").unwrap()
        ),
        (&"commit".into(), &5_000.into())
    );
    assert_eq!(
        bench.memory.commits().len(),
        2,
        "a try that hangs leaves time for another"
    );
    assert!(bench.passed() <= 5 * SECOND, "{:?}", bench.passed());

    let before = bench.passed();
    bench.fail(Op::Delete, Fault::Hang, 1);
    assert_eq!(
        bench.backend.delete(&session, fence).await.unwrap_err().kind(),
        Kind::Timeout
    );
    assert!(bench.passed() <= before + 5 * SECOND);

    let before = bench.passed();
    bench.fail(Op::Renew, Fault::Hang, 4);
    let Fence::Owner(token) = fence else {
        unreachable!("an owner was asked for")
    };
    let answers = bench
        .backend
        .renew(&renewals(&[(session, token)]), 3 * SECOND)
        .await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), Kind::Timeout);
    assert!(
        bench.passed() <= before + 3 * SECOND / 2,
        "before the lease is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_has_time_and_tries_of_its_own() {
    let bench = Bench::configured(&ResilienceSection {
        operation_timeout: 100,
        max_retries: 0,
        ..ResilienceSection::default()
    });
    let (session, fence) = bench.owned("s").await;
    let Fence::Owner(token) = fence else {
        unreachable!("an owner was asked for")
    };
    // One that hangs leaves time for another, and one that is refused for many more.
    bench.fail(Op::Renew, Fault::Hang, 1);
    bench.fail(Op::Renew, Fault::Refuse(Kind::Unavailable), 3);
    let before = bench.passed();
    let answers = bench
        .backend
        .renew(&contract::renewals(&[(session, token)]), 20 * SECOND)
        .await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(bench.memory.calls(Op::Renew), 5);
    assert!(bench.passed() > before + 5 * SECOND, "{:?}", bench.passed());
    assert!(bench.passed() <= before + 10 * SECOND, "{:?}", bench.passed());
    let stats = bench.breaker.stats();
    assert_eq!(
        stats.timeouts, 0,
        "a short limit says nothing of other calls: {stats:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_between_two_tries_hides_no_doubt() {
    // Refused by the storage's own breaker, as within hybrid mode, or by this one.
    for (fence, kind) in [
        ("owner", Kind::CircuitOpen),
        ("shared", Kind::CircuitOpen),
        ("owner", Kind::Unavailable),
        ("shared", Kind::Unavailable),
    ] {
        let bench = Bench::new();
        let (session, owner) = bench.owned("s").await;
        let fence = if fence == "owner" { owner } else { Fence::Shared };
        bench.fail(Op::Head, Fault::Refuse(Kind::Unavailable), 3);
        bench.fail(Op::Ping, Fault::Refuse(Kind::Unavailable), 1_000);
        bench.backend.head(&session).await.unwrap();
        // This one opens it.
        bench.memory.fail(Op::Commit, Fault::Lose(Kind::Timeout));
        bench.fail(Op::Commit, Fault::Refuse(Kind::Unavailable), 2);
        bench.fail(Op::Commit, Fault::Refuse(kind), 1);
        let commit = commit(&session, fence, 0, Vec::new());
        let error = commit_one(&*bench.backend, commit.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "it was applied: {error}");
        assert_eq!(bench.memory.version("s"), 1);
        if kind == Kind::Unavailable {
            let refused = commit_one(&*bench.backend, commit).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::CircuitOpen, "nothing of this one was sent");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_was_lost_is_found_in_our_own_name() {
    let bench = Bench::new();
    let request = acquire(&"s".into());
    bench.memory.fail(Op::Acquire, Fault::Lose(Kind::Timeout));
    match bench.backend.acquire(request.clone()).await.unwrap() {
        Acquired::Held(holder) => assert_eq!(holder.owner, request.owner),
        Acquired::Granted(_) => panic!("the first grant stands"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_refusal_does_not_hide_that_a_commit_may_have_been_applied() {
    let bench = Bench::new();
    let (session, fence) = bench.owned("s").await;
    bench.memory.fail(Op::Commit, Fault::Lose(Kind::Timeout));
    bench.memory.fail(Op::Commit, Fault::Refuse(Kind::StorageFull));
    let outcome = commit_one(&*bench.backend, commit(&session, fence, 0, Vec::new())).await;
    assert_eq!(outcome.unwrap_err().kind(), Kind::Timeout);
    assert_eq!(bench.memory.version("s"), 1);
    assert_eq!(bench.memory.commits().len(), 2);

    // An answer that does tell is given.
    bench.memory.fail(Op::Commit, Fault::Refuse(Kind::Timeout));
    bench.memory.fail(Op::Commit, Fault::Refuse(Kind::Fenced));
    let outcome = commit_one(&*bench.backend, commit(&session, fence, 1, Vec::new())).await;
    assert_eq!(outcome.unwrap_err().kind(), Kind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_sees_every_try_and_a_call_keeps_its_tries() {
    let bench = Bench::new();
    bench.fail(Op::Head, Fault::Refuse(Kind::Unavailable), 100);
    bench.fail(Op::Ping, Fault::Refuse(Kind::Unavailable), 1_000);
    let session: SessionId = "s".into();
    bench.backend.head(&session).await.unwrap_err();
    assert_eq!(bench.breaker.stats().failures, 4);
    let error = bench.backend.head(&session).await.unwrap_err();
    assert_eq!(
        error.kind(),
        Kind::Unavailable,
        "opened by its first try, and tried on"
    );
    assert_eq!(bench.memory.calls(Op::Head), 8);
    let error = bench.backend.head(&session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CircuitOpen);
    assert!(
        error.to_string().contains("injected"),
        "the last failure: {error}"
    );
    assert!(error.cause().is_some_and(|cause| cause.contains("injected")));
    let refused = commit_one(&*bench.backend, commit(&session, Fence::Shared, 0, Vec::new()))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.session()),
        (Kind::CircuitOpen, Some(&session))
    );
    assert_eq!(
        bench.memory.calls(Op::Head) + bench.memory.commits().len(),
        8,
        "the storage was not asked"
    );
    let last = "memory: injected or refused";
    assert_eq!(
        refused.message(),
        format!("the circuit breaker is open: the storage kept failing; last: {last}")
    );
    assert_eq!(refused.cause(), Some(last));

    // Leases are renewed all the same, and tell that the storage is back.
    let renewed = bench
        .backend
        .renew(&renewals(&[(session.clone(), 0)]), SECOND)
        .await;
    assert!(renewed[0].is_ok(), "{renewed:?}");
    assert_eq!(bench.breaker.stats().state, Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_asks_by_itself_with_growing_pauses() {
    let bench = Bench::new();
    let closed = Arc::new(Notify::new());
    let heard = closed.clone();
    bench.breaker.watch(Box::new(move |position, _| {
        if position == Position::Closed {
            heard.notify_one();
        }
    }));
    let session: SessionId = "s".into();
    bench.fail(Op::Head, Fault::Refuse(Kind::Unavailable), 8);
    bench.fail(Op::Ping, Fault::Refuse(Kind::Unavailable), 8);
    bench.backend.head(&session).await.unwrap_err();
    bench.backend.head(&session).await.unwrap_err();
    let before = bench.passed();
    closed.notified().await;
    assert_eq!(bench.memory.calls(Op::Ping), 9);
    let growing = 50 + 100 + 200 + 400 + 800 + 4 * 1_000;
    let passed = bench.passed().saturating_sub(before);
    assert!(passed <= Duration::from_millis(growing), "{passed:?}");
    bench.backend.head(&session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_its_backend_go() {
    let bench = Bench::new();
    bench.fail(Op::Head, Fault::Refuse(Kind::Unavailable), 8);
    bench.fail(Op::Ping, Fault::Refuse(Kind::Unavailable), usize::from(u16::MAX));
    for _ in 0..2 {
        bench.backend.head(&"s".into()).await.unwrap_err();
    }
    let (breaker, memory) = (bench.breaker.clone(), bench.memory.clone());
    drop(bench);
    while Arc::strong_count(&memory) > 1 {
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(breaker.stats().state, Position::Open);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_works() {
    let bench = Bench::new();
    bench.fail(Op::Head, Fault::Refuse(Kind::Corrupt), 50);
    for _ in 0..50 {
        bench.backend.head(&"s".into()).await.unwrap_err();
    }
    let stats = bench.breaker.stats();
    assert_eq!(
        (stats.state, stats.failures, stats.successes),
        (Position::Closed, 0, 50)
    );
}
