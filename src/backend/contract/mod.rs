//! What every backend promises, as tests: each backend runs [`run`] over a store of its own.
//!
//! Sessions get names of their own in every run, so that a server may be shared and need not be empty. Whether
//! leases expire is asked of the backend: one whose lease is a lock of the operating system grants at once.

mod lifetime;
mod ownership;
mod records;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Acquire, Acquired, Backend, Commit, Fence, Grant, Head, Owner, Renewal, Seen, SessionId, Token};
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
    test.leases_that_stand_are_told_from_others().await;
    test.who_holds_a_session_is_told().await;
    test.a_key_is_as_old_as_it_was_first_seen().await;
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
    let read = backend
        .read(&session, &[key("session", "a")], Seen::NOTHING)
        .await;
    refused_as_closed(read);
    refused_as_closed(backend.head(&session).await);
    refused_as_closed(test.put(&session, grant.token, 1, &[("session", "a", "2")]).await);
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
        note: None,
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
        client_token: None,
        preempt: None,
        read: Vec::new(),
    }
}

/// Leases to be renewed for owners that do not say which version they know of.
pub fn renewals(leases: &[(SessionId, Token)]) -> Vec<Renewal> {
    let renewal = |(session, token): &(SessionId, Token)| Renewal {
        session: session.clone(),
        token: *token,
        version: 0,
    };
    leases.iter().map(renewal).collect()
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

/// Refused because the session is at `actual` and not at `expected`, which the error says.
#[track_caller]
fn at_another_version<T: std::fmt::Debug>(answer: Result<T>, expected: u64, actual: u64) -> Error {
    let error = refused(answer, Kind::VersionMismatch);
    let details = ["expectedVersion", "actualVersion"].map(|name| error.detail(name).cloned());
    assert_eq!(details, [Some(expected.into()), Some(actual.into())], "{error:?}");
    error
}

/// Refused because the owner with token `current` owns the session, which the error says.
#[track_caller]
fn fenced_by<T: std::fmt::Debug>(answer: Result<T>, current: Token) -> Error {
    let error = refused(answer, Kind::Fenced);
    assert_eq!(error.detail("currentToken"), Some(&current.into()), "{error:?}");
    error
}

/// Refused because `accepted` was accepted before the caller's own token `client_token`, which the error says.
#[track_caller]
fn client_token_refused<T: std::fmt::Debug>(
    answer: Result<T>,
    client_token: Token,
    accepted: Token,
) -> Error {
    let error = refused(answer, Kind::Fenced);
    let details = ["fencingToken", "acceptedToken"].map(|name| error.detail(name).cloned());
    assert_eq!(
        details,
        [Some(client_token.into()), Some(accepted.into())],
        "{error:?}"
    );
    error
}

/// Refused because the storage is at version `actual` of a session that had reached `expected`, which the error says.
#[track_caller]
pub fn session_lost<T: std::fmt::Debug>(answer: Result<T>, expected: u64, actual: u64) -> Error {
    let error = refused(answer, Kind::SessionLost);
    let details = ["expectedVersion", "actualVersion"].map(|name| error.detail(name).cloned());
    assert_eq!(details, [Some(expected.into()), Some(actual.into())], "{error:?}");
    error
}

#[track_caller]
fn refused_as_closed<T: std::fmt::Debug>(answer: Result<T>) {
    let error = refused(answer, Kind::Closed);
    assert_eq!(error.message(), "the store is closed");
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
            preempt: Some(token),
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
        let found = self
            .backend
            .read(session, &[key(kind, id)], Seen::NOTHING)
            .await
            .unwrap();
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
            let page = self
                .backend
                .scan(session, kind, cursor, limit, Seen::NOTHING)
                .await
                .unwrap();
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
}
