//! Taking a session, losing it, and giving it back.

use std::sync::Arc;

use bytes::Bytes;

use super::super::bulk;
use super::super::renewal;
use super::super::session::Lookup;
use super::super::vault::OpenOptions;
use super::{Bench, ID, LEASE, kind, options, others_run, patch, ring};
use crate::backend::contract::{change, commit, commit_one, key};
use crate::backend::memory::{Fault, Op};
use crate::backend::{Backend, Fence};
use crate::error::Kind;
use crate::record::{Algorithm, RecordKey, SealOptions, Sealer};
use crate::time::testing::sleep;

#[tokio::test]
async fn a_fenced_owner_is_told_once_and_refuses_everything() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    let other = bench.another_owner().await;
    bench.memory.hold(Op::Commit);
    let outcomes = [
        bench.set(&session, &[("a", "2")]),
        bench.set(&session, &[("a", "3")]),
    ];
    bench.memory.let_go(Op::Commit);
    for outcome in outcomes {
        assert_eq!(kind(outcome.await), Kind::Fenced);
    }
    renewal::renew(&bench.vault, vec![session.clone()], Vec::new()).await;
    assert_eq!(kind(bench.set(&session, &[("a", "4")]).await), Kind::Fenced);
    assert_eq!(
        kind(bench.vault.read(&session, &[key("session", "a")]).await),
        Kind::Fenced
    );
    assert_eq!(
        kind(session.lookup(&[key("session", "a")]).map(|_| ())),
        Kind::Fenced
    );
    assert_eq!(bench.losses(), [Kind::Fenced]);
    assert_eq!(bench.stored("a").as_deref(), Some("1"));

    // A new start is possible once the other owner lets go, and the old handle stays refused.
    let Fence::Owner(token) = other else {
        unreachable!("an owner was asked for")
    };
    bench.memory.release(&ID.into(), token).await.unwrap();
    let anew = bench.open().await;
    assert_eq!(bench.set(&anew, &[("a", "5")]).await.unwrap().version, 2);
    assert_eq!(kind(bench.set(&session, &[("a", "6")]).await), Kind::Fenced);
    bench.vault.close_session(&session).await;
    assert_eq!(
        bench.set(&anew, &[("a", "7")]).await.unwrap().version,
        3,
        "the old handle closes nothing"
    );
}

#[tokio::test]
async fn a_loss_during_a_commit_is_told_once() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    bench.another_owner().await;
    bench.memory.hold(Op::Commit);
    let outcome = bench.set(&session, &[("a", "2")]);
    bench.memory.called(Op::Commit, 2).await;
    renewal::renew(&bench.vault, vec![session.clone()], Vec::new()).await;
    bench.memory.let_go(Op::Commit);
    assert_eq!(kind(outcome.await), Kind::Fenced);
    assert_eq!(bench.losses(), [Kind::Fenced]);
}

#[tokio::test]
async fn the_last_handle_waits_for_what_is_queued_and_gives_the_lease_back() {
    let bench = Bench::new();
    let (one, two) = (bench.open().await, bench.open().await);
    assert!(Arc::ptr_eq(&one, &two));
    bench.vault.close_session(&one).await;
    bench.memory.hold(Op::Commit);
    let outcomes = [bench.set(&two, &[("a", "1")]), bench.set(&two, &[("b", "2")])];
    let (vault, session) = (bench.vault.clone(), two.clone());
    let closing = tokio::spawn(async move { vault.close_session(&session).await });
    others_run().await;
    assert!(!closing.is_finished() && bench.memory.is_held(ID));
    bench.memory.let_go(Op::Commit);
    closing.await.unwrap();
    for (version, outcome) in (1..).zip(outcomes) {
        assert_eq!(outcome.await.unwrap().version, version);
    }
    assert!(!bench.memory.is_held(ID));
    assert_eq!(kind(bench.set(&two, &[("c", "3")]).await), Kind::Closed);
    assert_eq!(bench.vault.open_sessions(), 0);
    assert!(bench.losses().is_empty());
}

#[tokio::test]
async fn a_wrong_key_shows_at_open_and_gives_the_lease_back() {
    for with_creds in [true, false] {
        let bench = Bench::new();
        let session = bench.open().await;
        let mut first = patch(&[("a", "1")]);
        if with_creds {
            first.set(RecordKey::creds(), Some(Bytes::from_static(b"me")));
        }
        bench.vault.committed(&session, first, None).await.unwrap();
        bench.vault.close_session(&session).await;
        let wrong = OpenOptions {
            ring: ring(&[9]),
            ..options()
        };
        let error = bench.vault.open(&ID.into(), &wrong).await.err().unwrap();
        assert_eq!(
            (error.kind(), error.session().map(|id| &**id)),
            (Kind::Encryption, Some(ID))
        );
        assert!(!bench.memory.is_held(ID));
        let session = bench.open().await;
        assert_eq!(bench.get(&session, "a").await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn two_ways_of_sealing_do_not_share_a_session() {
    let bench = Bench::new();
    let _session = bench.open().await;
    let other = OpenOptions {
        ring: ring(&[8, 7]),
        ..options()
    };
    assert_eq!(
        bench.vault.open(&ID.into(), &other).await.err().unwrap().kind(),
        Kind::Config
    );
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_taken_over_at_once() {
    let bench = Bench::new();
    bench.memory.fail(Op::Acquire, Fault::Lose(Kind::Timeout));
    assert_eq!(
        bench
            .vault
            .open(&ID.into(), &options())
            .await
            .err()
            .unwrap()
            .kind(),
        Kind::Timeout
    );
    assert!(bench.memory.is_held(ID));
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
}

#[tokio::test]
async fn memory_counts_only_as_long_as_the_lease_does() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    assert!(matches!(
        session.lookup(&[key("session", "a")]),
        Ok(Lookup::Found(_))
    ));
    session.trust_until(0);
    assert!(matches!(
        session.lookup(&[key("session", "a")]),
        Ok(Lookup::Unknown)
    ));

    // The lease stands: it is renewed, and memory counts again.
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("1"));
    assert_eq!(
        (bench.memory.calls(Op::Renew), bench.memory.calls(Op::Read)),
        (1, 0)
    );
    assert!(session.is_trusted());

    // It cannot be renewed, and another owner has written: the storage's word counts.
    session.trust_until(0);
    let other = bench.another_owner().await;
    let sealer = Sealer::new(options().ring, options().seal, &ID.into()).unwrap();
    let mut theirs = commit(&ID.into(), other, 1, vec![change("session", "a", "x")]);
    theirs.changes[0].value = Some(sealer.seal(&key("session", "a"), b"theirs").unwrap());
    commit_one(&*bench.memory, theirs).await.unwrap();
    bench.memory.fail(Op::Renew, Fault::Refuse(Kind::Unavailable));
    assert_eq!(bench.get(&session, "a").await.as_deref(), Some("theirs"));

    // Once it can be asked again, the owner learns that it is none.
    assert_eq!(
        kind(bench.vault.read(&session, &[key("session", "a")]).await),
        Kind::Fenced
    );
    assert_eq!(bench.losses(), [Kind::Fenced]);
}

/// A laptop's lid is closed: its timers stand still, and the lease does not.
#[tokio::test]
async fn memory_counts_no_longer_than_nine_tenths_of_the_lease_also_while_the_machine_sleeps() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.set(&session, &[("a", "1")]).await.unwrap();
    sleep(LEASE / 10 * 8);
    assert!(session.is_trusted());
    sleep(LEASE / 10);
    assert!(matches!(
        session.lookup(&[key("session", "a")]),
        Ok(Lookup::Unknown)
    ));
}

/// An answer that was long on its way says what was so when it was given.
#[tokio::test]
async fn a_lease_is_counted_from_when_it_was_asked_for() {
    let bench = Bench::new();
    bench.memory.hold(Op::Acquire);
    let vault = bench.vault.clone();
    let opening = tokio::spawn(async move { vault.open(&ID.into(), &options()).await });
    bench.memory.called(Op::Acquire, 1).await;
    sleep(LEASE);
    bench.memory.let_go(Op::Acquire);
    let session = opening.await.unwrap().unwrap();
    assert!(!session.is_trusted(), "granted a lease ago");

    bench.memory.hold(Op::Renew);
    let (vault, renewed) = (bench.vault.clone(), session.clone());
    let renewal = tokio::spawn(async move { renewal::renew(&vault, vec![renewed], Vec::new()).await });
    bench.memory.called(Op::Renew, 1).await;
    sleep(LEASE);
    bench.memory.let_go(Op::Renew);
    renewal.await.unwrap();
    assert!(!session.is_trusted(), "renewed a lease ago");
    renewal::renew(&bench.vault, vec![session.clone()], Vec::new()).await;
    assert!(session.is_trusted());
}

#[tokio::test]
async fn closing_the_store_waits_for_who_is_opening() {
    let bench = Bench::new();
    bench.memory.hold(Op::Acquire);
    let vault = bench.vault.clone();
    let opening = tokio::spawn(async move { vault.open(&ID.into(), &options()).await.map(|_| ()) });
    bench.memory.called(Op::Acquire, 1).await;
    let vault = bench.vault.clone();
    let closing = tokio::spawn(async move { vault.close().await });
    others_run().await;
    assert!(!closing.is_finished());
    bench.memory.let_go(Op::Acquire);
    assert_eq!(kind(opening.await.unwrap()), Kind::Closed);
    closing.await.unwrap().unwrap();
    assert!(!bench.memory.is_held(ID));
    assert_eq!(
        bench
            .vault
            .open(&ID.into(), &options())
            .await
            .err()
            .unwrap()
            .kind(),
        Kind::Closed
    );
}

#[tokio::test]
async fn a_session_in_use_is_not_shown_to_or_shared_with_another_ring() {
    let mut first = patch(&[("a", "1")]);
    first.set(RecordKey::creds(), Some(Bytes::from_static(b"me")));
    for (open, wanted) in [(true, true), (true, false), (false, true)] {
        for stored in [true, false] {
            let bench = Bench::new();
            let id = ID.into();
            let used = |exclusive, keys: &[u8]| OpenOptions {
                exclusive,
                ring: ring(keys),
                ..options()
            };
            let session = bench.vault.open(&id, &used(open, &[7])).await.unwrap();
            if stored {
                bench
                    .vault
                    .committed(&session, first.clone(), None)
                    .await
                    .unwrap();
            }
            let calls = bench.memory.commits().len();
            for keys in [&[8][..], &[8, 7], &[]] {
                let other = OpenOptions {
                    seal: SealOptions {
                        encryption: (!keys.is_empty()).then_some(Algorithm::SecretBox),
                        ..options().seal
                    },
                    ..used(wanted, keys)
                };
                let opened = bench.vault.open(&id, &other).await.map(|_| ());
                assert_eq!(kind(opened), Kind::Config, "{open} {wanted} {stored} {keys:?}");
                let named = bench.vault.open_unless_lost(&id, &other).await.map(|_| ());
                assert_eq!(kind(named), Kind::Config);
                let snapshot = bulk::snapshot(&bench.vault, &id, &other).await;
                if open {
                    assert_eq!(kind(snapshot), Kind::Config, "{keys:?}");
                } else if stored && keys != [8, 7] {
                    assert_eq!(kind(snapshot), Kind::Encryption, "{keys:?}");
                }
            }
            assert_eq!(bench.memory.commits().len(), calls);
            let same = bulk::snapshot(&bench.vault, &id, &used(true, &[7]))
                .await
                .unwrap();
            assert_eq!(same.is_some(), stored);
        }
    }
}
