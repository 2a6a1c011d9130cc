//! What every backend promises, as tests: each backend runs [`run`] over a store of its own.
//!
//! Sessions get names of their own in every run, so that a server may be shared and need not be empty. Whether
//! leases expire is asked of the backend: one whose lease is a lock of the operating system grants at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Acquire, Acquired, Backend, Commit, Fence, Grant, Head, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::{Change, RecordKey};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);
/// How long something that must come to pass is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks every promise of the trait but [`Backend::close`], for which see [`closed`].
pub async fn run(backend: &dyn Backend) {
    backend.ping().await.expect("the storage answers");
    let test = Test::new(backend);
    test.a_session_that_was_never_written_is_absent().await;
    test.records_come_back().await;
    test.records_asked_for_come_with_the_lease().await;
    test.a_commit_is_all_or_nothing().await;
    test.an_older_owner_is_fenced().await;
    test.a_token_never_granted_is_fenced().await;
    test.a_held_session_is_held().await;
    test.an_expired_lease_is_free().await;
    test.the_callers_own_token_only_grows().await;
    test.a_commit_sent_again_is_the_same_commit().await;
    test.commits_are_answered_one_by_one().await;
    test.merged_patches_count_one_by_one().await;
    test.shared_commits_merge().await;
    test.a_deleted_session_stays_deleted().await;
    test.every_record_is_scanned().await;
    test.scans_keep_to_the_type().await;
    test.existing_sessions_are_listed().await;
    test.an_expired_session_is_absent().await;
    test.touching_moves_the_end().await;
    test.any_name_is_a_name().await;
}

/// Closes the backend and checks that it then refuses to work.
pub async fn closed(backend: &dyn Backend) {
    let test = Test::new(backend);
    let session = test.session("closed");
    let grant = test.granted(&session).await;
    test.put(&session, grant.token, 0, &[("session", "a", "1")])
        .await
        .unwrap();
    backend.close().await.expect("closing works");
    backend.close().await.expect("closing again is no error");
    let read = backend.read(&session, &[key("session", "a")]).await;
    assert_eq!(read.unwrap_err().kind(), Kind::Closed);
    assert_eq!(backend.head(&session).await.unwrap_err().kind(), Kind::Closed);
    let commit = test.put(&session, grant.token, 1, &[("session", "a", "2")]).await;
    assert_eq!(commit.unwrap_err().kind(), Kind::Closed);
}

/// A record key.
pub fn key(kind: &str, id: &str) -> RecordKey {
    RecordKey::new(kind, id).unwrap()
}

/// What a record becomes; an empty value deletes it.
pub fn change(kind: &str, id: &str, value: &str) -> Change {
    Change {
        key: key(kind, id),
        value: (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes())),
    }
}

/// A commit of one patch without a time limit.
pub fn commit(session: &SessionId, fence: Fence, base: u64, changes: Vec<Change>) -> Commit {
    Commit {
        session: session.clone(),
        fence,
        base,
        patches: 1,
        expected: false,
        id: getrandom::u64().unwrap(),
        changes,
        ttl: None,
    }
}

/// A request for a session by an owner of this process.
pub fn acquire(session: &SessionId) -> Acquire {
    Acquire {
        session: session.clone(),
        owner: Owner {
            instance: format!("{:016x}", getrandom::u64().unwrap()),
            ..Owner::current().clone()
        },
        lease: LONG,
        claim: None,
        displace: None,
        read: Vec::new(),
    }
}

/// Commits one commit.
pub async fn commit_one(backend: &dyn Backend, commit: Commit) -> Result<Head> {
    let mut answers = backend.commit(vec![commit]).await;
    assert_eq!(answers.len(), 1, "one answer for one commit");
    answers.remove(0)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T>, kind: Kind) -> Error {
    let error = answer.expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}

struct Test<'a> {
    backend: &'a dyn Backend,
    run: u64,
}

impl<'a> Test<'a> {
    fn new(backend: &'a dyn Backend) -> Self {
        Self {
            backend,
            run: getrandom::u64().unwrap(),
        }
    }

    fn session(&self, name: &str) -> SessionId {
        format!("contract-{:016x}-{name}", self.run).into()
    }

    async fn granted(&self, session: &SessionId) -> Grant {
        self.granted_to(acquire(session)).await
    }

    async fn granted_to(&self, request: Acquire) -> Grant {
        match self.backend.acquire(request).await.unwrap() {
            Acquired::Granted(grant) => grant,
            Acquired::Held(holder) => panic!("held by {holder:?}"),
        }
    }

    /// The next owner of a session whose owner has not given it back.
    async fn successor(&self, session: &SessionId, token: Token) -> Grant {
        self.granted_to(Acquire {
            displace: Some(token),
            ..acquire(session)
        })
        .await
    }

    async fn put(
        &self,
        session: &SessionId,
        token: Token,
        base: u64,
        records: &[(&str, &str, &str)],
    ) -> Result<Head> {
        let changes = records
            .iter()
            .map(|(kind, id, value)| change(kind, id, value))
            .collect();
        commit_one(self.backend, commit(session, Fence::Owner(token), base, changes)).await
    }

    async fn get(&self, session: &SessionId, kind: &str, id: &str) -> Option<String> {
        let found = self.backend.read(session, &[key(kind, id)]).await.unwrap();
        assert_eq!(found.len(), 1);
        found[0]
            .as_ref()
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    async fn version(&self, session: &SessionId) -> u64 {
        self.backend.head(session).await.unwrap().version
    }

    async fn scan_all(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        limit: usize,
    ) -> BTreeMap<RecordKey, Bytes> {
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = self.backend.scan(session, kind, cursor, limit).await.unwrap();
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    }

    async fn list_all(&self, limit: usize) -> Vec<SessionId> {
        let prefix = self.session("");
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.backend.list(cursor, limit).await.unwrap();
            found.extend(page.items.into_iter().filter(|name| name.starts_with(&*prefix)));
            cursor = page.next;
            if cursor.is_none() {
                found.sort();
                found.dedup();
                return found;
            }
        }
    }

    async fn a_session_that_was_never_written_is_absent(&self) {
        let session = self.session("absent");
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.backend.delete(&session, Fence::Shared).await.unwrap());
        assert!(
            !self
                .backend
                .touch(&session, Fence::Shared, Some(LONG))
                .await
                .unwrap()
        );

        let grant = self.granted(&session).await;
        assert!(grant.token > 0 && grant.token < 1 << 53);
        assert_eq!(grant.head, Head::default());
        let fence = Fence::Owner(grant.token);
        assert!(!self.backend.touch(&session, fence, Some(LONG)).await.unwrap());
        assert!(!self.backend.delete(&session, fence).await.unwrap());
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.list_all(100).await, Vec::<SessionId>::new());
    }

    async fn records_come_back(&self) {
        let session = self.session("records");
        let token = self.granted(&session).await.token;
        let big = "x".repeat(300_000);
        let all: Vec<u8> = (0..=255).collect();
        let mut first = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1"), change("pre-key", "7", &big)],
        );
        first.changes.push(Change {
            key: RecordKey::creds(),
            value: Some(all.clone().into()),
        });
        first.changes.push(Change {
            key: key("bridge-x", ""),
            value: Some(Bytes::new()),
        });
        let head = commit_one(self.backend, first).await.unwrap();
        assert_eq!(head.version, 1);
        assert!(
            head.updated_at > 1_600_000_000_000,
            "milliseconds since the epoch"
        );
        assert_eq!(self.backend.head(&session).await.unwrap(), head);

        let asked = [
            key("pre-key", "7"),
            key("pre-key", "8"),
            RecordKey::creds(),
            key("session", "a"),
            key("bridge-x", ""),
            key("session", "a"),
        ];
        let found = self.backend.read(&session, &asked).await.unwrap();
        let one = Some(Bytes::from_static(b"1"));
        assert_eq!(
            found,
            [
                Some(Bytes::from(big)),
                None,
                Some(Bytes::from(all)),
                one.clone(),
                Some(Bytes::new()),
                one
            ],
            "in the order asked, an empty record is not an absent one"
        );
        assert!(self.backend.read(&session, &[]).await.unwrap().is_empty());

        let changed = [("session", "a", "2"), ("pre-key", "7", ""), ("pre-key", "8", "")];
        let head = self.put(&session, token, 1, &changed).await.unwrap();
        assert_eq!(head.version, 2);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("2"));
        assert_eq!(self.get(&session, "pre-key", "7").await, None);
        assert_eq!(
            self.put(&session, token, 2, &[]).await.unwrap().version,
            3,
            "an empty patch counts"
        );
    }

    async fn records_asked_for_come_with_the_lease(&self) {
        let session = self.session("with-lease");
        let first = self.granted(&session).await;
        let head = self
            .put(&session, first.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        self.backend.release(&session, first.token).await.unwrap();
        let grant = self
            .granted_to(Acquire {
                read: vec![key("session", "b"), key("session", "a")],
                ..acquire(&session)
            })
            .await;
        assert!(grant.token > first.token);
        assert_eq!(grant.head, head);
        assert_eq!(grant.records, [None, Some(Bytes::from_static(b"1"))]);
    }

    async fn a_commit_is_all_or_nothing(&self) {
        let session = self.session("atomic");
        let token = self.granted(&session).await.token;
        let records = [("session", "a", "1"), ("session", "b", "1")];
        self.put(&session, token, 0, &records).await.unwrap();
        for base in [0, 2, 7] {
            let records = [("session", "a", "2"), ("session", "b", ""), ("session", "c", "2")];
            let error = refused(
                self.put(&session, token, base, &records).await,
                Kind::VersionMismatch,
            );
            assert_eq!(error.session(), Some(&session));
        }
        assert_eq!(self.version(&session).await, 1);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("1"));
        assert_eq!(self.get(&session, "session", "b").await.as_deref(), Some("1"));
        assert_eq!(self.get(&session, "session", "c").await, None);
    }

    async fn an_older_owner_is_fenced(&self) {
        let session = self.session("fence");
        let old = self.granted(&session).await.token;
        self.put(&session, old, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        let new = self.successor(&session, old).await.token;
        assert!(new > old);

        let error = refused(
            self.put(&session, old, 1, &[("session", "a", "old")]).await,
            Kind::Fenced,
        );
        assert_eq!(error.session(), Some(&session));
        let fence = Fence::Owner(old);
        refused(
            self.backend.touch(&session, fence, Some(LONG)).await,
            Kind::Fenced,
        );
        refused(self.backend.delete(&session, fence).await, Kind::Fenced);
        let renewed = self
            .backend
            .renew(&[(session.clone(), old), (session.clone(), new)], LONG)
            .await;
        assert_eq!(renewed.len(), 2);
        assert_eq!(renewed[0].as_ref().unwrap_err().kind(), Kind::Fenced);
        renewed[1].as_ref().expect("the new owner's lease is renewed");
        // Giving back what one has no more changes nothing.
        self.backend.release(&session, old).await.unwrap();

        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("1"));
        let head = self
            .put(&session, new, 1, &[("session", "a", "2")])
            .await
            .unwrap();
        assert_eq!(head.version, 2);
    }

    async fn a_token_never_granted_is_fenced(&self) {
        let session = self.session("no-token");
        refused(
            self.put(&session, 1, 0, &[("session", "a", "1")]).await,
            Kind::Fenced,
        );
        let token = self.granted(&session).await.token;
        for wrong in [token - 1, token + 1] {
            let put = self.put(&session, wrong, 0, &[("session", "a", "1")]).await;
            refused(put, Kind::Fenced);
        }
        assert_eq!(self.version(&session).await, 0);
        assert_eq!(self.get(&session, "session", "a").await, None);
    }

    async fn a_held_session_is_held(&self) {
        let session = self.session("held");
        let request = acquire(&session);
        let owner = request.owner.clone();
        let first = self.granted_to(request).await;
        if !first.expires {
            return;
        }
        for displace in [None, Some(first.token - 1), Some(first.token + 1)] {
            let request = Acquire {
                displace,
                ..acquire(&session)
            };
            match self.backend.acquire(request).await.unwrap() {
                Acquired::Granted(grant) => panic!("granted {} with {displace:?}", grant.token),
                Acquired::Held(holder) => {
                    assert_eq!((&holder.owner, holder.token), (&owner, first.token));
                    let left = holder.expires_in.expect("this lease runs out");
                    assert!(left <= LONG && left > LONG / 2, "{left:?}");
                }
            }
        }
        let second = self.successor(&session, first.token).await;
        assert!(second.token > first.token);
        self.backend.release(&session, second.token).await.unwrap();
        let third = self.granted(&session).await;
        assert!(third.token > second.token);
    }

    async fn an_expired_lease_is_free(&self) {
        let session = self.session("lease-end");
        let first = self
            .granted_to(Acquire {
                lease: Duration::from_millis(50),
                ..acquire(&session)
            })
            .await;
        self.put(&session, first.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let second = loop {
            match self.backend.acquire(acquire(&session)).await.unwrap() {
                Acquired::Granted(grant) => break grant,
                Acquired::Held(holder) => assert!(Instant::now() < deadline, "still {holder:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(second.token > first.token);
        assert_eq!(second.head.version, 1);
        let late = self
            .put(&session, first.token, 1, &[("session", "a", "late")])
            .await;
        refused(late, Kind::Fenced);
        // A renewed lease is held again.
        let renewed = self.backend.renew(&[(session.clone(), second.token)], LONG).await;
        renewed.into_iter().for_each(|renewed| renewed.unwrap());
        self.put(&session, second.token, 1, &[("session", "a", "2")])
            .await
            .unwrap();
    }

    async fn the_callers_own_token_only_grows(&self) {
        let session = self.session("claim");
        let with = |claim: Option<Token>| Acquire {
            claim,
            ..acquire(&session)
        };
        let first = self.granted_to(with(Some(5))).await;
        self.backend.release(&session, first.token).await.unwrap();
        refused(self.backend.acquire(with(Some(4))).await, Kind::Fenced);
        let second = self.granted_to(with(Some(5))).await;
        assert!(second.token > first.token);
        self.backend.release(&session, second.token).await.unwrap();
        let third = self.granted_to(with(None)).await;
        self.backend.release(&session, third.token).await.unwrap();
        refused(self.backend.acquire(with(Some(4))).await, Kind::Fenced);
        let fourth = self.granted_to(with(Some(6))).await;
        self.put(&session, fourth.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        assert!(
            self.backend
                .delete(&session, Fence::Owner(fourth.token))
                .await
                .unwrap()
        );
        self.backend.release(&session, fourth.token).await.unwrap();
        // The deletion does not forget it either.
        refused(self.backend.acquire(with(Some(5))).await, Kind::Fenced);
    }

    async fn a_commit_sent_again_is_the_same_commit(&self) {
        let session = self.session("again");
        let token = self.granted(&session).await.token;
        let first = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1")],
        );
        let head = commit_one(self.backend, first.clone()).await.unwrap();
        let again = commit_one(self.backend, first.clone()).await.unwrap();
        assert_eq!(again, head, "the answer that was lost");

        let other = Commit {
            id: first.id ^ 1,
            changes: vec![change("session", "a", "other")],
            ..first.clone()
        };
        refused(commit_one(self.backend, other).await, Kind::VersionMismatch);
        self.put(&session, token, 1, &[("session", "a", "2")])
            .await
            .unwrap();
        refused(commit_one(self.backend, first).await, Kind::VersionMismatch);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("2"));
        assert_eq!(self.version(&session).await, 2);

        let shared = commit(&session, Fence::Shared, 0, vec![change("session", "b", "1")]);
        let head = commit_one(self.backend, shared.clone()).await.unwrap();
        assert_eq!(commit_one(self.backend, shared).await.unwrap(), head);
        assert_eq!(self.version(&session).await, 3);
    }

    async fn commits_are_answered_one_by_one(&self) {
        let names = ["one", "two", "three", "four"].map(|name| self.session(name));
        let mut commits = Vec::new();
        for name in &names {
            let token = self.granted(name).await.token;
            commits.push(commit(
                name,
                Fence::Owner(token),
                0,
                vec![change("session", "a", name)],
            ));
        }
        commits[1].base = 9;
        commits[2].fence = Fence::Owner(1);
        let answers = self.backend.commit(commits).await;
        let kinds: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().map(|head| head.version).map_err(Error::kind))
            .collect();
        assert_eq!(
            kinds,
            [Ok(1), Err(Kind::VersionMismatch), Err(Kind::Fenced), Ok(1)]
        );
        for (name, stored) in names.iter().zip([true, false, false, true]) {
            let found = self.get(name, "session", "a").await;
            assert_eq!(found.as_deref(), stored.then_some(&**name));
        }
        assert!(self.backend.commit(Vec::new()).await.is_empty());
    }

    async fn merged_patches_count_one_by_one(&self) {
        let session = self.session("merged");
        let token = self.granted(&session).await.token;
        let merged = Commit {
            patches: 5,
            ..commit(
                &session,
                Fence::Owner(token),
                0,
                vec![change("session", "a", "5")],
            )
        };
        assert_eq!(commit_one(self.backend, merged.clone()).await.unwrap().version, 5);
        assert_eq!(commit_one(self.backend, merged).await.unwrap().version, 5);
        let next = self.put(&session, token, 5, &[("session", "a", "6")]).await;
        assert_eq!(next.unwrap().version, 6);
    }

    async fn shared_commits_merge(&self) {
        let session = self.session("shared");
        let shared = |base, changes| commit(&session, Fence::Shared, base, changes);
        let first = shared(0, vec![change("session", "a", "1"), change("session", "b", "1")]);
        assert_eq!(commit_one(self.backend, first).await.unwrap().version, 1);
        // Built on an older version: what it does not name stays.
        let second = Commit {
            patches: 2,
            ..shared(0, vec![change("session", "b", "2"), change("session", "c", "2")])
        };
        assert_eq!(commit_one(self.backend, second).await.unwrap().version, 3);
        let expecting = |base, value| Commit {
            expected: true,
            ..shared(base, vec![change("session", "a", value)])
        };
        refused(
            commit_one(self.backend, expecting(2, "no")).await,
            Kind::VersionMismatch,
        );
        let head = commit_one(self.backend, expecting(3, "4")).await.unwrap();
        assert_eq!(head.version, 4);
        for (id, value) in [("a", "4"), ("b", "2"), ("c", "2")] {
            assert_eq!(self.get(&session, "session", id).await.as_deref(), Some(value));
        }
        assert!(
            self.backend
                .touch(&session, Fence::Shared, Some(LONG))
                .await
                .unwrap()
        );
        assert!(self.backend.delete(&session, Fence::Shared).await.unwrap());
        assert_eq!(self.get(&session, "session", "a").await, None);
    }

    async fn a_deleted_session_stays_deleted(&self) {
        let session = self.session("deleted");
        let old = self.granted(&session).await.token;
        let records = [("session", "a", "1"), ("creds", "", "me")];
        self.put(&session, old, 0, &records).await.unwrap();
        let token = self.successor(&session, old).await.token;
        let fence = Fence::Owner(token);
        assert!(self.backend.delete(&session, fence).await.unwrap());
        assert!(
            !self.backend.delete(&session, fence).await.unwrap(),
            "there is none now"
        );

        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "creds", "").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.list_all(100).await.contains(&session));
        for base in [0, 1] {
            refused(self.put(&session, old, base, &records).await, Kind::Fenced);
        }
        refused(
            self.put(&session, token, 1, &records).await,
            Kind::VersionMismatch,
        );
        assert!(!self.backend.touch(&session, fence, Some(LONG)).await.unwrap());
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());

        // The lease is held still; the next owner's token is larger, and the session begins anew.
        let renewed = self.backend.renew(&[(session.clone(), token)], LONG).await;
        renewed.into_iter().for_each(|renewed| renewed.unwrap());
        self.backend.release(&session, token).await.unwrap();
        let next = self.granted(&session).await;
        assert!(next.token > token);
        assert_eq!(next.head, Head::default());
        refused(self.put(&session, token, 0, &records).await, Kind::Fenced);
        let put = self.put(&session, next.token, 0, &[("session", "b", "1")]).await;
        assert_eq!(put.unwrap().version, 1);
        assert_eq!(
            self.get(&session, "session", "a").await,
            None,
            "nothing came back to life"
        );
    }

    async fn every_record_is_scanned(&self) {
        let session = self.session("scan");
        let token = self.granted(&session).await.token;
        let ids: Vec<String> = (0..250).map(|id| id.to_string()).collect();
        let mut expected = BTreeMap::new();
        let mut changes = vec![change("creds", "", "me")];
        for id in &ids {
            changes.push(change("pre-key", id, id));
            changes.push(change("session", &format!("{id}@s.whatsapp.net"), "s"));
        }
        for change in &changes {
            expected.insert(change.key.clone(), change.value.clone().unwrap());
        }
        commit_one(self.backend, commit(&session, Fence::Owner(token), 0, changes))
            .await
            .unwrap();
        for limit in [1000, 100, 7] {
            assert_eq!(
                self.scan_all(&session, None, limit).await,
                expected,
                "pages of {limit}"
            );
        }

        // Records that stay are found though others come and go between the pages.
        let mut found = BTreeMap::new();
        let mut cursor = None;
        let mut base = 1;
        loop {
            let page = self.backend.scan(&session, None, cursor, 50).await.unwrap();
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            let (coming, going) = (
                format!("new-{base}"),
                ids[usize::try_from(base).unwrap()].as_str(),
            );
            let changes = [("pre-key", coming.as_str(), "new"), ("pre-key", going, "")];
            self.put(&session, token, base, &changes).await.unwrap();
            base += 1;
        }
        assert!(base > 2, "it took several pages");
        for id in &ids[usize::try_from(base).unwrap()..] {
            assert!(found.contains_key(&key("pre-key", id)), "pre-key {id}");
        }
        for id in &ids {
            assert!(found.contains_key(&key("session", &format!("{id}@s.whatsapp.net"))));
        }
    }

    async fn scans_keep_to_the_type(&self) {
        let session = self.session("scan-type");
        let token = self.granted(&session).await.token;
        let records = [
            ("creds", "", "0"),
            ("a", "bc", "1"),
            ("ab", "c", "2"),
            ("abc", "", "3"),
            ("abd", "x", "4"),
            ("é", "x", "5"),
        ];
        self.put(&session, token, 0, &records).await.unwrap();
        for (kind, id, value) in records {
            for limit in [1, 10] {
                let found = self.scan_all(&session, Some(kind), limit).await;
                let expected = BTreeMap::from([(key(kind, id), Bytes::copy_from_slice(value.as_bytes()))]);
                assert_eq!(found, expected, "type {kind}");
            }
        }
        assert!(self.scan_all(&session, Some("none"), 10).await.is_empty());
        assert_eq!(self.scan_all(&session, None, 2).await.len(), records.len());
    }

    async fn existing_sessions_are_listed(&self) {
        let names: Vec<_> = (0..12).map(|at| self.session(&format!("list-{at:02}"))).collect();
        for name in &names {
            let token = self.granted(name).await.token;
            self.put(name, token, 0, &[("session", "a", "1")]).await.unwrap();
        }
        let opened_only = self.session("list-opened");
        self.granted(&opened_only).await;
        for limit in [1000, 5, 1] {
            let mut found = self.list_all(limit).await;
            found.retain(|name| name.contains("-list-"));
            assert_eq!(found, names, "pages of {limit}");
        }
    }

    async fn an_expired_session_is_absent(&self) {
        let session = self.session("ttl");
        let token = self.granted(&session).await.token;
        let short = Commit {
            ttl: Some(Duration::from_millis(100)),
            ..commit(
                &session,
                Fence::Owner(token),
                0,
                vec![change("session", "a", "1")],
            )
        };
        commit_one(self.backend, short).await.unwrap();
        self.until_absent(&session).await;
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.list_all(100).await.contains(&session));
        let grant = self.successor(&session, token).await;
        assert!(grant.token > token);
        assert_eq!(grant.head, Head::default());
        let head = self
            .put(&session, grant.token, 0, &[("session", "b", "1")])
            .await
            .unwrap();
        assert_eq!(head.version, 1);
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert_eq!(self.get(&session, "session", "b").await.as_deref(), Some("1"));
    }

    async fn until_absent(&self, session: &SessionId) {
        let deadline = Instant::now() + PATIENCE;
        while self.version(session).await != 0 {
            assert!(Instant::now() < deadline, "the session does not expire");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn touching_moves_the_end(&self) {
        let [forever, longer, shorter] =
            ["forever", "longer", "shorter"].map(|name| self.session(&format!("touch-{name}")));
        let first_end = Duration::from_secs(3);
        let mut tokens = Vec::new();
        for session in [&forever, &longer, &shorter] {
            let token = self.granted(session).await.token;
            let limited = Commit {
                ttl: Some(if session == &shorter { LONG } else { first_end }),
                ..commit(session, Fence::Owner(token), 0, vec![change("session", "a", "1")])
            };
            commit_one(self.backend, limited).await.unwrap();
            tokens.push(token);
        }
        let touch = |session, token, ttl| self.backend.touch(session, Fence::Owner(token), ttl);
        assert!(touch(&forever, tokens[0], None).await.unwrap());
        assert!(touch(&longer, tokens[1], Some(LONG)).await.unwrap());
        assert!(touch(&shorter, tokens[2], Some(first_end)).await.unwrap());
        // The last of the three ends is over when the one that was moved forward is.
        self.until_absent(&shorter).await;
        for session in [&forever, &longer] {
            assert_eq!(self.get(session, "session", "a").await.as_deref(), Some("1"));
            assert!(self.list_all(100).await.contains(session));
        }
    }

    async fn any_name_is_a_name(&self) {
        let names = [
            "it's {me}: *?[a]\\ \"%_$.",
            "ünïcödé 日本 🦀",
            "a/b:c",
            "A",
            "a",
            " a ",
        ]
        .map(|name| self.session(&format!("name-{name}")));
        for (at, name) in names.iter().enumerate() {
            let token = self.granted(name).await.token;
            let id = format!("{name}\u{0}\n");
            self.put(name, token, 0, &[("session", &id, &at.to_string())])
                .await
                .unwrap();
        }
        for (at, name) in names.iter().enumerate() {
            let id = format!("{name}\u{0}\n");
            assert_eq!(
                self.get(name, "session", &id).await,
                Some(at.to_string()),
                "{name}"
            );
            assert_eq!(self.scan_all(name, Some("session"), 10).await.len(), 1);
        }
        let mut listed = self.list_all(100).await;
        listed.retain(|name| name.contains("-name-"));
        assert_eq!(listed.len(), names.len());
    }
}
