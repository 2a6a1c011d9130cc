//! A script that fails in the middle, and one session whose keys are foreign among many.

use super::super::testing::{Server, redis_server_found};
use super::*;

/// As the documentation says, without one command.
const NEEDED: &str = "+@connection +evalsha +eval +hget +hmget +hset +hdel +hscan +scan +get +mget +set +del +unlink \
                      +exists +pexpire +persist +pttl +time";
pub(crate) const BESIDE_A_PRIMARY: &str = "+hkeys +hexists +hlen +xadd +xrange +xlen";

/// A server with a user who may run what is documented but `without`, and its URL for that user.
pub(crate) fn restricted(without: &str) -> (Server, String) {
    let server = Server::start(&[]);
    allow(&server, without);
    let url = format!("redis://bot:secret@127.0.0.1:{}", server.port);
    (server, url)
}

pub(crate) fn allow(server: &Server, without: &str) {
    let rules = format!("{NEEDED} {BESIDE_A_PRIMARY}");
    let rules = rules.split(' ').filter(|rule| rule[1..] != *without);
    let rules: Vec<_> = rules.collect();
    server.run::<()>(&format!(
        "ACL SETUSER bot reset on >secret ~bv:* {}",
        rules.join(" ")
    ));
}

#[tokio::test]
async fn what_a_user_may_not_run_is_named_when_the_store_is_opened() {
    if !redis_server_found("what_a_user_may_not_run_is_named_when_the_store_is_opened") {
        return;
    }
    let (server, url) = restricted("nothing");
    backend(&url).warnings().await.unwrap();
    for command in [
        "hget", "hmget", "hset", "hdel", "hscan", "get", "set", "del", "unlink", "exists", "pexpire",
        "persist", "pttl", "time",
    ] {
        allow(&server, command);
        let error = backend(&url).warnings().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        let named = error.detail("commands").and_then(|named| named.as_str()).unwrap();
        assert_eq!(named, command.to_uppercase(), "{error}");
    }
    for command in BESIDE_A_PRIMARY.split(' ') {
        allow(&server, &command[1..]);
        backend(&url).warnings().await.unwrap();
    }
    assert_eq!(server.run::<u32>("DBSIZE"), 0, "nothing is left of it");
}

#[tokio::test]
async fn a_commit_that_failed_midway_is_never_acknowledged() {
    if !redis_server_found("a_commit_that_failed_midway_is_never_acknowledged") {
        return;
    }
    // Taken from the user while the store is open: what is proved when it is opened does not help.
    let (server, url) = restricted("nothing");
    let backend = backend(&url);
    let token = grant(&backend, "s").await.token;
    commit_one(
        &backend,
        commit("s", token, 0, vec![put("a", "1"), put("b", "1")]),
    )
    .await
    .unwrap();
    commit_one(&backend, shared("t", vec![put("a", "1"), put("b", "1")]))
        .await
        .unwrap();
    let day = Some(Duration::from_secs(86_400));
    let mixed = vec![put("a", "2"), drop_record("b")];
    let timed = |commit: Commit| Commit { ttl: day, ..commit };
    for (without, commit, session) in [
        ("hdel", commit("s", token, 1, mixed.clone()), "s"),
        ("hdel", commit("s", token, 1, vec![drop_record("b")]), "s"),
        ("pexpire", timed(commit("s", token, 1, vec![put("a", "2")])), "s"),
        ("hdel", shared("t", mixed), "t"),
        ("hdel", shared("t", vec![drop_record("b")]), "t"),
        ("pexpire", timed(shared("t", vec![put("a", "2")])), "t"),
    ] {
        allow(&server, without);
        for _ in 0..2 {
            let error = commit_one(&backend, commit.clone()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{without}: {error}");
        }
        allow(&server, "nothing");
        assert_eq!(
            backend.head(&session.into()).await.unwrap().version,
            1,
            "{without}"
        );
        assert_eq!(read_one(&backend, session, "b").await.as_deref(), Some("1"));
        if without == "hdel" {
            assert_eq!(
                read_one(&backend, session, "a").await.as_deref(),
                Some("1"),
                "half a patch"
            );
        }
    }
    let head = commit_one(
        &backend,
        commit("s", token, 1, vec![put("a", "3"), drop_record("b")]),
    )
    .await;
    assert_eq!(head.unwrap().version, 2);
    assert_eq!(read_one(&backend, "s", "b").await, None);
}

#[tokio::test]
async fn a_foreign_key_fails_its_own_session_among_many() {
    if !redis_server_found("a_foreign_key_fails_its_own_session_among_many") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let sessions: Vec<String> = (0..200).map(|index| format!("s{index}")).collect();
    let mut leases = Vec::new();
    for session in &sessions {
        leases.push((
            SessionId::from(session.as_str()),
            grant(&backend, session).await.token,
        ));
    }
    // Each key of a session in turn.
    let foreign = ["bv:{s50}", "bv:{s51}:lease"];
    for key in foreign {
        server.run::<u32>(&format!("DEL {key}"));
        server.run::<u32>(&format!("RPUSH {key} x"));
    }
    for (at, answer) in backend
        .renew(&renewals(&leases), LEASE)
        .await
        .into_iter()
        .enumerate()
    {
        match at {
            50 | 51 => {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt, "s{at}: {error}");
                assert!(error.message().contains(foreign[at - 50]), "{error}");
            }
            _ => answer.unwrap_or_else(|error| panic!("s{at}: {error}")),
        }
    }
    let commits = leases
        .iter()
        .map(|(session, token)| commit(session, *token, 0, vec![put("a", "1")]));
    for (at, answer) in backend.commit(commits.collect()).await.into_iter().enumerate() {
        if at == 50 {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            assert!(error.message().contains(foreign[0]), "{error}");
        } else {
            assert_eq!(answer.unwrap().version, 1, "s{at}");
        }
    }
}
