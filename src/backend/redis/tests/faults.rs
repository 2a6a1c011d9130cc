use std::time::Instant;

use super::super::testing::{Proxy, Server, redis_server_found};
use super::*;
use crate::backend::tcp_proxy::TcpProxy;

#[tokio::test]
async fn a_flushed_script_is_loaded_again() {
    if !redis_server_found("a_flushed_script_is_loaded_again") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    for base in 0..3 {
        server.run::<()>("SCRIPT FLUSH");
        commit_one(&backend, commit("s", token, base, vec![put("a", "1")]))
            .await
            .unwrap();
    }
    assert_eq!(backend.head(&"s".into()).await.unwrap().version, 3);
}

/// Whoever deletes has gone away, and something was written since: by a network that mends, a command can arrive long
/// after its sender gave it up.
#[tokio::test]
async fn a_delete_that_arrives_late_takes_nothing_that_was_written_since() {
    if !redis_server_found("a_delete_that_arrives_late_takes_nothing_that_was_written_since") {
        return;
    }
    let server = Server::start(&[]);
    let proxy = TcpProxy::to(&server.url()).await;
    let owner = backend(&server.url());
    let token = grant(&owner, "s").await.token;
    let write = async |base| {
        let commit = commit("s", token, base, vec![put("a", &base.to_string())]);
        commit_one(&owner, commit).await.unwrap()
    };
    write(0).await;
    let other = backend(&format!("redis://{}", proxy.address));
    other.ping().await.unwrap();
    // What loads the script is let through; what runs it is not.
    assert!(!other.delete(&"absent".into(), Fence::Shared).await.unwrap());
    proxy.hold_back("EVALSHA");
    let deleting = tokio::spawn(async move { other.delete(&"s".into(), Fence::Owner(token)).await });
    proxy.holds_back().await;
    deleting.abort();
    write(1).await;
    let scripts = async || {
        let statistics: String = server.run("INFO commandstats");
        let evalsha = statistics
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"));
        evalsha.map(str::to_owned)
    };
    let before = scripts().await;
    proxy.let_through();
    let arrives = async {
        while scripts().await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LEASE, arrives).await.expect("it arrives");
    assert_eq!(owner.head(&"s".into()).await.unwrap().version, 2);
    write(2).await;
}

#[tokio::test]
async fn a_restarted_server_has_every_acknowledged_commit() {
    if !redis_server_found("a_restarted_server_has_every_acknowledged_commit") {
        return;
    }
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    for base in 0..5 {
        commit_one(
            &backend,
            commit("s", token, base, vec![put(&base.to_string(), "x")]),
        )
        .await
        .unwrap();
    }
    server.kill();
    assert!(is_outage(&backend.head(&"s".into()).await.unwrap_err()));
    assert!(is_outage(
        &backend
            .read(&"s".into(), &[key("0")], Seen::NOTHING)
            .await
            .unwrap_err()
    ));
    server.start_again();
    let next = commit("s", token, 5, vec![put("5", "x")]);
    let head = persist(async || commit_one(&backend, next.clone()).await)
        .await
        .unwrap();
    assert_eq!(head.version, 6);
    let keys: Vec<_> = (0..6).map(|id| key(&id.to_string())).collect();
    assert!(
        backend
            .read(&"s".into(), &keys, Seen::NOTHING)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
}

#[tokio::test]
async fn a_server_that_came_back_empty_has_lost_the_session() {
    if !redis_server_found("a_server_that_came_back_empty_has_lost_the_session") {
        return;
    }
    let mut server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    let unwritten = grant(&backend, "new").await.token;
    server.kill();
    server.start_again();
    let next = commit("s", token, 1, vec![put("a", "2")]);
    let lost = persist(async || commit_one(&backend, next.clone()).await).await;
    assert_eq!(kind(lost), Kind::SessionLost);
    assert_eq!(
        kind(
            backend
                .renew(&renewals(&[("s".into(), token)]), LEASE)
                .await
                .remove(0)
        ),
        Kind::SessionLost
    );
    // Nothing of a session that was never written is lost; but its lease is.
    assert_eq!(
        kind(commit_one(&backend, commit("new", unwritten, 0, vec![])).await),
        Kind::Fenced
    );
    assert_eq!(server.run::<u32>("DBSIZE"), 0, "nothing was created again");

    let second = granted(backend.acquire(request("s", "second")).await.unwrap());
    assert!(
        second.token > token,
        "tokens grow although the server has forgotten the last one"
    );
    assert_eq!(kind(commit_one(&backend, next).await), Kind::Fenced);
}

#[tokio::test]
async fn a_restored_old_copy_is_no_session_of_ours() {
    if !redis_server_found("a_restored_old_copy_is_no_session_of_ours") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let old = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", old, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    let copy: Vec<u8> = server.run("DUMP bv:{s}");
    let preempt = Acquire {
        preempt: Some(old),
        ..request("s", "second")
    };
    let token = granted(backend.acquire(preempt).await.unwrap()).token;
    commit_one(&backend, commit("s", token, 1, vec![put("a", "2")]))
        .await
        .unwrap();
    let restore = redis::cmd("RESTORE")
        .arg("bv:{s}")
        .arg(0)
        .arg(copy)
        .arg("REPLACE")
        .take();
    restore.query::<()>(&mut server.connect()).unwrap();
    let next = commit("s", token, 2, vec![put("a", "3")]);
    crate::backend::contract::session_lost(commit_one(&backend, next).await, 2, 1);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_the_commit_applied_once() {
    if !redis_server_found("a_lost_answer_is_given_again_and_the_commit_applied_once") {
        return;
    }
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let backend = backend(&format!("redis://127.0.0.1:{}", proxy.port));
    let token = grant(&backend, "s").await.token;
    for base in 0..10 {
        let next = commit("s", token, base, vec![put("a", &base.to_string())]);
        proxy.swallow_next_answer();
        let error = commit_one(&backend, next.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.retryable());
        let head = persist(async || commit_one(&backend, next.clone()).await)
            .await
            .unwrap();
        assert_eq!(head.version, base + 1);
    }
    assert_eq!(proxy.swallowed(), 10);
    assert_eq!(backend.head(&"s".into()).await.unwrap().version, 10);
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("9"));

    let merge = shared("t", vec![put("a", "1")]);
    commit_one(&backend, shared("t", vec![put("a", "0")]))
        .await
        .unwrap();
    proxy.swallow_next_answer();
    assert!(is_outage(&commit_one(&backend, merge.clone()).await.unwrap_err()));
    let head = persist(async || commit_one(&backend, merge.clone()).await)
        .await
        .unwrap();
    assert_eq!(head.version, 2);
}

#[tokio::test]
async fn a_killed_connection_is_replaced() {
    if !redis_server_found("a_killed_connection_is_replaced") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    for base in 0..5 {
        server.run::<u32>("CLIENT KILL TYPE normal SKIPME yes");
        let next = commit("s", token, base, vec![put("a", "1")]);
        let head = persist(async || commit_one(&backend, next.clone()).await)
            .await
            .unwrap();
        assert_eq!(head.version, base + 1);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout_in_bounded_time() {
    if !redis_server_found("a_server_that_hangs_is_a_timeout_in_bounded_time") {
        return;
    }
    let server = Server::start(&[]);
    let limits = RedisConfig {
        operation_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        ..config(&server.url())
    };
    let backend = RedisBackend::new(&limits).unwrap();
    let mut tokens = Vec::new();
    for index in 0..8 {
        tokens.push(grant(&backend, &format!("s{index}")).await.token);
    }
    server.freeze(true);
    let start = Instant::now();
    let next = |index: usize| commit(&format!("s{index}"), tokens[index], 0, vec![put("a", "1")]);
    let commits: Vec<_> = (0..8).map(next).collect();
    // More calls than may be in flight, so that some wait for their turn.
    let attempts = commits.iter().map(|commit| commit_one(&backend, commit.clone()));
    for result in futures_util::future::join_all(attempts).await {
        assert_eq!(kind(result), Kind::Timeout);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(is_outage(&backend.ping().await.unwrap_err()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    server.freeze(false);
    for commit in &commits {
        let head = persist(async || commit_one(&backend, commit.clone()).await)
            .await
            .unwrap();
        assert_eq!(head.version, 1);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_in_bounded_time() {
    let backend = backend(&format!(
        "redis://127.0.0.1:{}",
        super::super::testing::free_port()
    ));
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(kind(backend.ping().await), Kind::Unavailable);
        assert_eq!(
            kind(backend.acquire(request("s", "first")).await),
            Kind::Unavailable
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_full_server_refuses_and_tears_nothing() {
    if !redis_server_found("a_full_server_refuses_and_tears_nothing") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    server.run::<()>("CONFIG SET maxmemory 1");
    let next = commit("s", token, 1, vec![put("a", "2"), put("b", "2")]);
    let error = commit_one(&backend, next.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (Kind::StorageFull, true));
    assert_eq!(backend.head(&"s".into()).await.unwrap().version, 1);
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("1"));
    server.run::<()>("CONFIG SET maxmemory 0");
    assert_eq!(commit_one(&backend, next).await.unwrap().version, 2);
}

#[tokio::test]
async fn foreign_keys_are_corrupt_and_not_missing() {
    if !redis_server_found("foreign_keys_are_corrupt_and_not_missing") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let session: SessionId = "s".into();
    server.run::<()>("SET bv:{s} x");
    assert_eq!(kind(backend.head(&session).await), Kind::Corrupt);
    assert_eq!(
        kind(backend.read(&session, &[key("a")], Seen::NOTHING).await),
        Kind::Corrupt
    );
    assert_eq!(kind(backend.acquire(request("s", "first")).await), Kind::Corrupt);
    assert_eq!(
        kind(commit_one(&backend, shared("s", vec![])).await),
        Kind::Corrupt
    );
    server.run::<()>("DEL bv:{s}");
    for head in ["x", "1:2", "1:2:zz:t:3:"] {
        server.run::<()>(&format!("HSET bv:{{s}} @ {head}"));
        assert_eq!(kind(backend.head(&session).await), Kind::Corrupt, "{head}");
        assert_eq!(
            kind(backend.acquire(request("s", "first")).await),
            Kind::Corrupt,
            "{head}"
        );
        assert_eq!(
            kind(commit_one(&backend, commit("s", 1, 0, vec![])).await),
            Kind::Corrupt,
            "{head}"
        );
        assert_eq!(
            kind(commit_one(&backend, shared("s", vec![])).await),
            Kind::Corrupt,
            "{head}"
        );
        server.run::<()>("DEL bv:{s}:lease");
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    if !redis_server_found("a_closed_store_says_so") {
        return;
    }
    let server = Server::start(&[]);
    let (first, second) = (backend(&server.url()), backend(&server.url()));
    first.ping().await.unwrap();
    second.ping().await.unwrap();
    // The one that both stores share, and the test's own.
    let clients = || server.run::<String>("CLIENT LIST TYPE normal").lines().count();
    assert_eq!(clients(), 2);
    first.close().await.unwrap();
    assert_eq!(kind(first.ping().await), Kind::Closed);
    assert_eq!(kind(commit_one(&first, shared("s", vec![])).await), Kind::Closed);
    second.ping().await.unwrap();
    assert_eq!(clients(), 2);
    second.close().await.unwrap();
    while clients() > 1 {
        // The driver's task ends on this thread.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
