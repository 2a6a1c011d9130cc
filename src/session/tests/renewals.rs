//! Nothing delays the renewal of leases.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::backend::SessionId;
use crate::backend::memory::{Fault, Op};
use crate::time::testing::sleep;

const LEASE: Duration = Duration::from_millis(150);

fn bench() -> Bench {
    Bench::with_lease(LEASE)
}

/// Waits for some more renewals.
async fn renewals_go_on(bench: &Bench, meanwhile: &str) {
    let count = bench.memory.calls(Op::Renew) + 3;
    let more = tokio::time::timeout(Duration::from_secs(60), bench.memory.called(Op::Renew, count));
    assert!(more.await.is_ok(), "no renewal while {meanwhile}");
}

#[tokio::test]
async fn no_call_delays_a_renewal() {
    for op in [
        Op::Touch,
        Op::Commit,
        Op::Read,
        Op::Acquire,
        Op::Head,
        Op::Scan,
        Op::Delete,
    ] {
        let bench = bench();
        let with_ttl = OpenOptions {
            ttl: Some(Duration::from_millis(30)),
            ..options()
        };
        let session = match op {
            Op::Touch => bench.vault.open(&ID.into(), &with_ttl).await.unwrap(),
            _ => bench.open().await,
        };
        bench.set(&session, &[("a", "1")]).await.unwrap();
        bench.memory.hold(op);
        let (vault, other) = (bench.vault.clone(), session.clone());
        let call = tokio::spawn(async move {
            let unknown = [key("session", "unknown")];
            match op {
                Op::Touch => {}
                Op::Commit => drop(vault.committed(&other, patch(&[("b", "2")]), None).await),
                Op::Read => drop(vault.read(&other, &unknown).await),
                Op::Acquire => drop(vault.open(&"other".into(), &options()).await),
                Op::Head => drop(vault.exists(&ID.into()).await),
                Op::Delete => drop(vault.delete(&ID.into(), &options()).await),
                _ => drop(super::super::bulk::snapshot(&vault, &ID.into(), &options()).await),
            }
        });
        bench.memory.called(op, 1).await;
        renewals_go_on(&bench, &format!("{op:?} hangs")).await;
        call.abort();
    }
}

#[tokio::test]
async fn a_session_that_takes_long_to_open_keeps_its_lease() {
    let bench = bench();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.vault.close_session(&session).await;
    // Without creds, a record is looked for that shows whether the keys are right.
    bench.memory.hold(Op::Scan);
    let vault = bench.vault.clone();
    let opening = tokio::spawn(async move { vault.open(&ID.into(), &options()).await });
    bench.memory.called(Op::Scan, 1).await;
    renewals_go_on(&bench, "it is being opened").await;
    let leases = bench.vault.leases.opening().len();
    assert_eq!(leases, 1);
    bench.memory.let_go(Op::Scan);
    let session = opening.await.unwrap().unwrap();
    assert!(bench.vault.leases.opening().is_empty());
    bench.set(&session, &[("a", "2")]).await.unwrap();
}

#[tokio::test]
async fn a_session_that_takes_long_to_close_keeps_its_lease() {
    for deleted in [false, true] {
        let bench = bench();
        let session = bench.open().await;
        let outcome = bench.set(&session, &[("a", "1")]);
        bench.memory.hold(Op::Commit);
        let late = bench.set(&session, &[("a", "2")]);
        let (vault, closed) = (bench.vault.clone(), session.clone());
        let closing = tokio::spawn(async move {
            if deleted {
                vault.delete(&ID.into(), &options()).await.unwrap();
            } else {
                vault.close_session(&closed).await;
            }
        });
        bench.memory.called(Op::Commit, 1).await;
        renewals_go_on(&bench, "it is being closed").await;
        bench.memory.let_go(Op::Commit);
        closing.await.unwrap();
        outcome.await.unwrap();
        if !deleted {
            assert_eq!(late.await.unwrap().version, 2);
        }
        assert!(!bench.memory.is_held(ID));
    }
}

/// By connections of their own, a renewal may arrive after the release that was sent later.
#[tokio::test]
async fn a_lease_that_was_renewed_after_it_was_given_back_is_given_back_again() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.hold(Op::Renew);
    let (vault, renewed) = (bench.vault.clone(), session.clone());
    let renewal =
        tokio::spawn(async move { super::super::renewal::renew(&vault, vec![renewed], Vec::new()).await });
    bench.memory.called(Op::Renew, 1).await;
    bench.vault.close_session(&session).await;
    assert_eq!(bench.memory.calls(Op::Release), 1);
    bench.memory.let_go(Op::Renew);
    renewal.await.unwrap();
    let again = bench.memory.called(Op::Release, 2);
    assert!(tokio::time::timeout(Duration::from_secs(20), again).await.is_ok());
}

/// The same for a lease whose session could not be opened after all.
#[tokio::test]
async fn a_lease_that_was_renewed_after_the_opening_failed_is_given_back_again() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.vault.close_session(&session).await;
    bench.memory.hold(Op::Scan);
    let vault = bench.vault.clone();
    let wrong = OpenOptions {
        ring: ring(&[9]),
        ..options()
    };
    let opening = tokio::spawn(async move { vault.open(&ID.into(), &wrong).await.map(|_| ()) });
    bench.memory.called(Op::Scan, 1).await;
    bench.memory.hold(Op::Renew);
    let vault = bench.vault.clone();
    let renewal = tokio::spawn(async move {
        let leases = vault.leases.opening();
        super::super::renewal::renew(&vault, Vec::new(), leases).await
    });
    bench.memory.called(Op::Renew, 1).await;
    bench.memory.let_go(Op::Scan);
    assert_eq!(kind(opening.await.unwrap()), crate::error::Kind::Encryption);
    let released = bench.memory.calls(Op::Release);
    bench.memory.let_go(Op::Renew);
    assert_eq!(renewal.await.unwrap(), 0);
    let again = bench.memory.called(Op::Release, released + 1);
    assert!(tokio::time::timeout(Duration::from_secs(20), again).await.is_ok());
}

/// Whoever renews for all may give up, and takes nobody along.
#[tokio::test]
async fn who_was_renewed_for_by_one_that_gave_up_renews_by_itself() {
    let bench = Bench::new();
    let mut sessions = Vec::new();
    for name in ["under-way", "gives-up", "taken-along"] {
        let session = bench.vault.open(&name.into(), &options()).await.unwrap();
        session.trust_until(0);
        sessions.push(session);
    }
    bench.memory.hold(Op::Renew);
    let reads: Vec<_> = sessions
        .iter()
        .map(|session| {
            let (vault, session) = (bench.vault.clone(), session.clone());
            tokio::spawn(async move { vault.read(&session, &[key("session", "a")]).await })
        })
        .collect();
    bench.memory.called(Op::Renew, 1).await;
    others_run().await;
    bench.memory.pass(Op::Renew);
    bench.memory.called(Op::Renew, 2).await;
    reads[1].abort();
    bench.memory.let_go(Op::Renew);
    for (at, read) in reads.into_iter().enumerate() {
        assert_eq!(read.await.is_ok(), at != 1);
    }
    assert!(sessions[2].is_trusted());
}

#[tokio::test]
async fn many_who_read_after_an_outage_renew_together() {
    let bench = Bench::new();
    let names: Vec<SessionId> = (0..100).map(|at| format!("many-{at}").into()).collect();
    let mut sessions = Vec::new();
    for name in &names {
        sessions.push(bench.vault.open(name, &options()).await.unwrap());
    }
    for session in &sessions {
        session.trust_until(0);
    }
    let keys = [key("session", "a")];
    bench.memory.hold(Op::Renew);
    let reads = join_all(sessions.iter().map(|session| bench.vault.read(session, &keys)));
    let mut reads = std::pin::pin!(reads);
    assert!(futures_util::poll!(&mut reads).is_pending());
    bench.memory.let_go(Op::Renew);
    assert!(reads.await.iter().all(Result::is_ok));
    assert!(sessions.iter().all(|session| session.is_trusted()));
    let renewals = bench.memory.calls(Op::Renew);
    assert!(renewals <= 2, "{renewals} renewals for a hundred readers");

    // Who goes first and gives up takes nobody along.
    for session in &sessions {
        session.trust_until(0);
    }
    bench.memory.hold(Op::Renew);
    let (vault, first) = (bench.vault.clone(), sessions[0].clone());
    let given_up = tokio::spawn(async move { vault.read(&first, &[key("session", "a")]).await });
    bench.memory.called(Op::Renew, renewals + 1).await;
    let others = sessions[1..]
        .iter()
        .map(|session| bench.vault.read(session, &keys));
    let mut others = std::pin::pin!(join_all(others));
    assert!(futures_util::poll!(&mut others).is_pending());
    given_up.abort();
    bench.memory.let_go(Op::Renew);
    assert!(others.await.iter().all(Result::is_ok));
    assert!(sessions[1..].iter().all(|session| session.is_trusted()));
}

#[tokio::test]
async fn sessions_of_one_part_of_the_storage_wait_for_no_other_part() {
    let bench = Bench::new();
    let mut sessions = Vec::new();
    for name in [ID, "elsewhere/s"] {
        let session = bench.vault.open(&name.into(), &options()).await.unwrap();
        session.trust_until(0);
        sessions.push(session);
    }
    // Whichever part comes first.
    bench.memory.fail(Op::Renew, Fault::Hang);
    let (vault, both) = (bench.vault.clone(), sessions.clone());
    let renewal = tokio::spawn(async move { super::super::renewal::renew(&vault, both, Vec::new()).await });
    let asked = tokio::time::timeout(Duration::from_secs(20), bench.memory.called(Op::Renew, 2)).await;
    assert!(asked.is_ok(), "one part waits for the other");
    others_run().await;
    assert_eq!(sessions.iter().filter(|session| session.is_trusted()).count(), 1);
    renewal.abort();
}

/// An operator sees it coming that leases run out.
#[tokio::test]
async fn how_late_renewals_are_and_how_many_fail_is_counted() {
    let metrics = crate::observe::of("memory");
    let bench = bench();
    bench.open().await;
    let late = || metrics.renewal_lag.cumulative().1;
    let (before, failed) = (late(), metrics.renewal_failures.get());
    bench.memory.hold(Op::Renew);
    bench.memory.called(Op::Renew, 1).await;
    bench
        .memory
        .fail(Op::Renew, Fault::Refuse(crate::error::Kind::Unavailable));
    // Nobody else is so late.
    let hour = Duration::from_secs(3_600);
    sleep(hour);
    bench.memory.let_go(Op::Renew);
    renewals_go_on(&bench, "they are late").await;
    assert!(late() >= before + hour);
    assert!(metrics.renewal_failures.get() > failed);
}
