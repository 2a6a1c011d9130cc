//! Work on a whole session, beside its commits.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::vault::OpenOptions;
use super::super::{Session, bulk};
use super::{Bench, ID, kind, options, others_run, ring};
use crate::backend::contract::key;
use crate::backend::memory::{Fault, Op};
use crate::error::Kind;
use crate::record::{Patch, RecordKey, Sealer};

async fn filled(bench: &Bench, session: &Arc<Session>) {
    // More than two pages.
    let mut records = Patch::default();
    for id in 0..2500 {
        records.set(
            key("session", &format!("{id:04}")),
            Some(Bytes::from_static(b"0")),
        );
    }
    records.set(RecordKey::creds(), Some(Bytes::from_static(b"me")));
    bench.vault.committed(session, records, None).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_what_the_session_held_at_one_version() {
    let bench = Bench::new();
    let session = bench.open().await;
    filled(&bench, &session).await;
    bench.memory.hold(Op::Scan);
    let vault = bench.vault.clone();
    let snapshot = tokio::spawn(async move { bulk::snapshot(&vault, &ID.into(), &options()).await });
    for page in 1..=3 {
        bench.memory.called(Op::Scan, page).await;
        // One patch changes a record of a page that was read, and one of a page that was not.
        let value = page.to_string();
        let records = [
            ("0000", value.as_str()),
            ("2499", &value),
            ("1500", if page == 2 { "" } else { &value }),
        ];
        bench.set(&session, &records).await.unwrap();
        bench.memory.pass(Op::Scan);
    }
    let snapshot = snapshot.await.unwrap().unwrap().unwrap();
    let expected: HashMap<_, _> = ["0000", "1500", "2499"]
        .map(|id| (id, Bytes::from_static(b"3")))
        .into();
    for (id, value) in expected {
        assert_eq!(snapshot.records.get(&key("session", id)), Some(&value), "{id}");
    }
    assert_eq!((snapshot.head.version, snapshot.records.len()), (4, 2501));
    bench.memory.let_go(Op::Scan);
    assert!(
        bulk::snapshot(&bench.vault, &"none".into(), &options())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_snapshot_is_never_torn_by_a_commit_in_doubt() {
    let bench = Bench::new();
    let session = bench.open().await;
    filled(&bench, &session).await;
    bench.memory.hold(Op::Scan);
    let vault = bench.vault.clone();
    let snapshot = tokio::spawn(async move { bulk::snapshot(&vault, &ID.into(), &options()).await });
    bench.memory.called(Op::Scan, 1).await;
    bench.memory.fail(Op::Commit, Fault::Late(Kind::Timeout));
    assert_eq!(
        kind(bench.set(&session, &[("0000", "late"), ("2499", "late")]).await),
        Kind::Timeout
    );
    bench.memory.pass(Op::Scan);
    bench.memory.called(Op::Scan, 2).await;
    assert_eq!(bench.memory.deliver(), 1);
    // The doubt ends before the snapshot does.
    bench.set(&session, &[("other", "1")]).await.unwrap();
    bench.memory.let_go(Op::Scan);
    assert_eq!(kind(snapshot.await.unwrap()), Kind::Unavailable);

    // Asked again, it is whole.
    let snapshot = bulk::snapshot(&bench.vault, &ID.into(), &options())
        .await
        .unwrap()
        .unwrap();
    for id in ["0000", "2499"] {
        assert_eq!(
            snapshot.records.get(&key("session", id)),
            Some(&Bytes::from_static(b"late"))
        );
    }
}

#[tokio::test]
async fn a_doubt_that_nobody_ended_does_not_stand_in_the_way() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench.memory.fail(Op::Commit, Fault::Lose(Kind::Timeout));
    assert_eq!(kind(bench.set(&session, &[("a", "1")]).await), Kind::Timeout);
    let snapshot = bulk::snapshot(&bench.vault, &ID.into(), &options())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        snapshot.records.get(&key("session", "a")),
        Some(&Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn sealing_anew_never_brings_an_old_value_back() {
    let bench = Bench::new();
    let session = bench.open().await;
    bench
        .set(&session, &[("a", "old"), ("b", "old"), ("c", "old")])
        .await
        .unwrap();
    bench.vault.close_session(&session).await;
    let with_new_key = OpenOptions {
        ring: ring(&[8, 7]),
        ..options()
    };
    let session = bench.vault.open(&ID.into(), &with_new_key).await.unwrap();
    bench.memory.hold(Op::Scan);
    let (vault, rotated) = (bench.vault.clone(), session.clone());
    let rotation = tokio::spawn(async move { bulk::rotate(&vault, &rotated, None).await });
    bench
        .memory
        .called(Op::Scan, bench.memory.calls(Op::Scan) + 1)
        .await;
    bench.memory.hold(Op::Commit);
    let meanwhile = bench.set(&session, &[("a", "new"), ("b", "")]);
    bench.memory.let_go(Op::Scan);
    others_run().await;
    bench.memory.let_go(Op::Commit);
    meanwhile.await.unwrap();
    let rotation = rotation.await.unwrap().unwrap();
    assert_eq!((rotation.resealed, rotation.total), (1, 3));
    let new_key_only = Sealer::new(ring(&[8]), options().seal, &ID.into()).unwrap();
    for (id, value) in [("a", Some("new")), ("b", None), ("c", Some("old"))] {
        let sealed = bench.memory.stored(ID, &key("session", id));
        let plain = sealed.map(|sealed| new_key_only.open(&key("session", id), &sealed).unwrap());
        assert_eq!(plain.as_deref(), value.map(str::as_bytes), "{id}");
    }
    let again = bulk::rotate(&bench.vault, &session, None).await.unwrap();
    assert_eq!((again.resealed, again.total), (0, 2));
}

#[tokio::test]
async fn sealing_anew_goes_on_step_by_step() {
    let bench = Bench::new();
    let session = bench.open().await;
    filled(&bench, &session).await;
    bench.vault.close_session(&session).await;
    let with_new_key = OpenOptions {
        ring: ring(&[8, 7]),
        ..options()
    };
    let (old, new) = (ring(&[7]), ring(&[8]));
    let [old, new] = [&old, &new].map(|ring| ring.active().unwrap().id().to_string());
    let counted = async || {
        let seals = bulk::seals(&bench.vault, &ID.into(), &with_new_key)
            .await
            .unwrap();
        let of = |key: &str| seals.keys.get(key).copied().unwrap_or(0);
        assert_eq!((seals.records, seals.stale), (2501, of(&old)));
        (of(&old), of(&new))
    };
    assert_eq!(counted().await, (2501, 0));
    let session = bench.vault.open(&ID.into(), &with_new_key).await.unwrap();
    let mut cursor = None;
    for (resealed, left) in [(1000, 1501), (1000, 501), (501, 0)] {
        let step = bulk::rotate(&bench.vault, &session, cursor).await.unwrap();
        assert_eq!((step.resealed, step.total), (resealed, resealed));
        assert_eq!(counted().await, (left, 2501 - left));
        cursor = step.next;
    }
    assert!(cursor.is_none(), "that was the last");
}

#[tokio::test]
async fn clearing_keeps_the_creds_and_what_is_set_after_it() {
    let bench = Bench::new();
    let session = bench.open().await;
    filled(&bench, &session).await;
    bench.memory.hold(Op::Scan);
    let (vault, cleared) = (bench.vault.clone(), session.clone());
    let clearing = tokio::spawn(async move { bulk::clear(&vault, &cleared).await });
    bench.memory.called(Op::Scan, 1).await;
    bench.set(&session, &[("0000", "after")]).await.unwrap();
    bench.memory.let_go(Op::Scan);
    assert_eq!(clearing.await.unwrap().unwrap().version, 3);
    assert_eq!(bench.get(&session, "0000").await.as_deref(), Some("after"));
    assert_eq!(bench.get(&session, "0001").await, None);
    assert_eq!(
        bulk::list_ids(&bench.vault, &session, "session").await.unwrap(),
        ["0000"]
    );
    let creds = bench.vault.read(&session, &[RecordKey::creds()]).await.unwrap();
    assert_eq!(creds, [Some(Bytes::from_static(b"me"))]);
}
