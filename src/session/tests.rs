//! Sessions over a backend that fails on demand. Everything runs on one thread, so that "meanwhile" is exact.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::access::waiting;
use super::actor::Lookup;
use super::vault::{Event, Listener, OpenOptions, Settings, Vault};
use super::{Session, whole};
use crate::backend::contract::{acquire, change, commit, commit_one, key};
use crate::backend::memory::{Fault, Memory, Op};
use crate::backend::{Acquire, Acquired, Backend, Fence, Head, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::{Algorithm, KeyRing, MasterKey, Patch, RecordKey, SealOptions, Sealer};
use crate::runtime::Lane;

const ID: &str = "s";

struct Bench {
    memory: Arc<Memory>,
    vault: Arc<Vault>,
    ears: Arc<Ears>,
}

#[derive(Default)]
struct Ears(Mutex<Vec<Kind>>);

impl Listener for Ears {
    fn notice(&self, event: &Event) {
        if let Event::Lost(_, _, error) = event {
            self.0.lock().push(error.kind());
        }
    }
}

fn options() -> OpenOptions {
    OpenOptions {
        ring: ring(&[7]),
        seal: SealOptions {
            encryption: Some(Algorithm::SecretBox),
            compression: None,
            accept_plain: false,
        },
        exclusive: true,
        open_timeout: Duration::ZERO,
        claim: None,
        ttl: None,
    }
}

/// The first key is the active one.
fn ring(keys: &[u8]) -> Arc<KeyRing> {
    let mut keys = keys
        .iter()
        .map(|byte| MasterKey::from_bytes("masterKey", &[*byte; 32]).unwrap());
    Arc::new(KeyRing::new(keys.next(), keys.collect()))
}

fn patch(records: &[(&str, &str)]) -> Patch {
    let mut patch = Patch::default();
    for (id, value) in records {
        let value = (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()));
        patch.set(key("session", id), value);
    }
    patch
}

impl Bench {
    fn new() -> Self {
        Self::over(Arc::new(Memory::default()))
    }

    fn over(memory: Arc<Memory>) -> Self {
        // Long enough that nothing ever happens by the clock.
        let settings = Settings {
            lease: Duration::from_secs(600),
            operation_timeout: Duration::from_secs(600),
        };
        let vault = Vault::new(memory.clone(), Lane::current(), settings);
        let ears = Arc::new(Ears::default());
        let listener: Arc<dyn Listener> = ears.clone();
        vault.listen(Arc::downgrade(&listener));
        Self { memory, vault, ears }
    }

    async fn open(&self) -> Arc<Session> {
        self.vault.open(&ID.into(), &options()).await.unwrap()
    }

    /// Queues at once; the future is the outcome.
    fn set(
        &self,
        session: &Arc<Session>,
        records: &[(&str, &str)],
    ) -> impl Future<Output = Result<Head>> + use<> {
        self.set_expecting(session, records, None)
    }

    fn set_expecting(
        &self,
        session: &Arc<Session>,
        records: &[(&str, &str)],
        expected: Option<u64>,
    ) -> impl Future<Output = Result<Head>> + use<> {
        let (reply, outcome) = waiting();
        self.vault.commit(session, patch(records), expected, reply);
        outcome
    }

    async fn get(&self, session: &Arc<Session>, id: &str) -> Option<String> {
        let found = self.vault.read(session, &[key("session", id)]).await.unwrap();
        found[0]
            .as_ref()
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// What the storage holds, opened with the first ring that can.
    fn stored(&self, id: &str) -> Option<String> {
        let key = key("session", id);
        let sealed = self.memory.stored(ID, &key)?;
        let sealer = Sealer::new(ring(&[8, 7]), options().seal, &ID.into()).unwrap();
        Some(String::from_utf8(sealer.open(&key, &sealed).unwrap().to_vec()).unwrap())
    }

    async fn another_owner(&self) -> Fence {
        let mut request = acquire(&ID.into());
        loop {
            match self.memory.acquire(request.clone()).await.unwrap() {
                Acquired::Granted(grant) => return Fence::Owner(grant.token),
                Acquired::Held(holder) => {
                    request = Acquire {
                        displace: Some(holder.token),
                        ..request
                    }
                }
            }
        }
    }

    fn losses(&self) -> Vec<Kind> {
        self.ears.0.lock().clone()
    }
}

/// Lets every task that can run do so.
async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> Kind {
    outcome.unwrap_err().kind()
}

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
        (error.detail("version"), error.detail("found")),
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
    super::lease::renew(&bench.vault, vec![session.clone()]).await;
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
    super::lease::renew(&bench.vault, vec![session.clone()]).await;
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
    let snapshot = tokio::spawn(async move { whole::snapshot(&vault, &ID.into(), &options()).await });
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
        whole::snapshot(&bench.vault, &"none".into(), &options())
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
    let snapshot = tokio::spawn(async move { whole::snapshot(&vault, &ID.into(), &options()).await });
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
    let snapshot = whole::snapshot(&bench.vault, &ID.into(), &options())
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
    let snapshot = whole::snapshot(&bench.vault, &ID.into(), &options())
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
    let rotation = tokio::spawn(async move { whole::rotate(&vault, &rotated).await });
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
    let again = whole::rotate(&bench.vault, &session).await.unwrap();
    assert_eq!((again.resealed, again.total), (0, 2));
}

#[tokio::test]
async fn clearing_keeps_the_creds_and_what_is_set_after_it() {
    let bench = Bench::new();
    let session = bench.open().await;
    filled(&bench, &session).await;
    bench.memory.hold(Op::Scan);
    let (vault, cleared) = (bench.vault.clone(), session.clone());
    let clearing = tokio::spawn(async move { whole::clear(&vault, &cleared).await });
    bench.memory.called(Op::Scan, 1).await;
    bench.set(&session, &[("0000", "after")]).await.unwrap();
    bench.memory.let_go(Op::Scan);
    assert_eq!(clearing.await.unwrap().unwrap().version, 3);
    assert_eq!(bench.get(&session, "0000").await.as_deref(), Some("after"));
    assert_eq!(bench.get(&session, "0001").await, None);
    assert_eq!(
        whole::list_ids(&bench.vault, &session, "session").await.unwrap(),
        ["0000"]
    );
    let creds = bench.vault.read(&session, &[RecordKey::creds()]).await.unwrap();
    assert_eq!(creds, [Some(Bytes::from_static(b"me"))]);
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
    session.refuse(&Error::new(Kind::Closed, "session", "the test is over"));
    bench.memory.let_go(Op::Commit);
    small.await.unwrap();
}

fn with_ttl() -> OpenOptions {
    OpenOptions {
        ttl: Some(Duration::from_secs(3600)),
        ..options()
    }
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
