//! What servers of other kinds, or in other states, say: by their own words, not by ours.

use super::super::testing::{Server, free_port, redis_server_found, wait_until};
use super::*;

/// The error of a first command, which must be the same when it is asked again.
async fn answer(url: &str) -> Error {
    let backend = backend(url);
    let first = backend.acquire(request("s", "first")).await.unwrap_err();
    let again = backend.warnings().await.err().unwrap_or_else(|| first.clone());
    assert_eq!(first.kind(), again.kind(), "{first} then {again}");
    first
}

async fn misconfigured(url: &str, says: &str) {
    let error = answer(url).await;
    let text = format!("{error} {error:?}");
    assert_eq!((error.kind(), error.retryable()), (Kind::Config, false), "{text}");
    assert!(text.contains(says), "{text}");
    assert!(text.contains("127.0.0.1:"), "the server is named: {text}");
    assert!(!text.contains("hunter2"), "{text}");
}

async fn unavailable(url: &str, says: &str) {
    let error = answer(url).await;
    assert_eq!(
        (error.kind(), error.retryable()),
        (Kind::Unavailable, true),
        "{error}"
    );
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().contains("127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_password_that_is_missing_or_misplaced_is_named() {
    if !redis_server_found("a_password_that_is_missing_or_misplaced_is_named") {
        return;
    }
    let server = Server::start(&["--requirepass", "hunter2"]);
    let at = format!("127.0.0.1:{}", server.port);
    misconfigured(&format!("redis://{at}"), "asks for a password").await;
    misconfigured(&format!("redis://{at}/1"), "asks for a password").await;
    misconfigured(&format!("redis://hunter2@{at}"), "only a user name").await;
    misconfigured(&format!("redis://hunter2@{at}/1"), "only a user name").await;
    misconfigured(&format!("redis+cluster://{at}"), "asks for a password").await;
    misconfigured(&format!("redis://:wrong@{at}"), "user name or password").await;
}

#[tokio::test]
async fn a_server_of_another_kind_is_named() {
    if !redis_server_found("a_server_of_another_kind_is_named") {
        return;
    }
    let single = Server::start(&[]);
    let at = format!("127.0.0.1:{}", single.port);
    misconfigured(&format!("redis://{at}/99"), "no database of that number").await;
    misconfigured(&format!("redis+cluster://{at}"), "write redis://").await;
    misconfigured(&format!("redis+sentinel://{at}/mymaster"), "no Sentinel").await;

    let sentinel = Server::start_sentinel("");
    let at = format!("127.0.0.1:{}", sentinel.port);
    misconfigured(&format!("redis://{at}"), "redis+sentinel://").await;
    misconfigured(&format!("redis+cluster://{at}"), "no clusters").await;
    unavailable(
        &format!("redis+sentinel://{at}/mymaster"),
        "no sentinel knows the master",
    )
    .await;

    let cluster = Server::start(&["--cluster-enabled", "yes"]);
    let at = format!("127.0.0.1:{}", cluster.port);
    misconfigured(&format!("redis://{at}"), "redis+cluster://").await;
    misconfigured(&format!("redis://{at}/1"), "redis+cluster://").await;
}

#[tokio::test]
async fn disabled_scripts_are_named() {
    if !redis_server_found("disabled_scripts_are_named") {
        return;
    }
    for disabled in [&["EVAL"][..], &["EVAL", "EVALSHA"]] {
        let options: Vec<_> = disabled
            .iter()
            .flat_map(|name| ["--rename-command", name, ""])
            .collect();
        let server = Server::start(&options);
        let error = backend(&server.url())
            .acquire(request("s", "first"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let text = error.to_string();
        assert!(text.contains("scripts are disabled"), "{text}");
        assert!(!text.contains("bv:{s}"), "what was sent is not repeated: {text}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_more_clients_says_so() {
    if !redis_server_found("a_server_that_takes_no_more_clients_says_so") {
        return;
    }
    let server = Server::start(&["--maxclients", "1"]);
    let mut held = None;
    // The server may not have noticed yet that the connection which found it ready is gone.
    wait_until("the only place is free", || {
        held = server.client().get_connection().ok();
        held.as_mut()
            .is_some_and(|held| redis::cmd("PING").query::<()>(held).is_ok())
    });
    for url in [
        format!("redis://127.0.0.1:{}", server.port),
        format!("redis://127.0.0.1:{}/1", server.port),
        format!("redis+cluster://127.0.0.1:{}", server.port),
    ] {
        unavailable(&url, "maxclients").await;
    }
    let backend = backend(&server.url());
    assert!(is_outage(&backend.ping().await.unwrap_err()));
    drop(held);
    persist(async || backend.ping().await).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let port = free_port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis+cluster://127.0.0.1:{port}"),
        format!("redis+sentinel://127.0.0.1:{port}/mymaster"),
    ] {
        unavailable(&url, &port.to_string()).await;
    }
}

#[tokio::test]
async fn a_foreign_key_is_named_and_harms_no_other_session() {
    if !redis_server_found("a_foreign_key_is_named_and_harms_no_other_session") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let good = grant(&backend, "good").await.token;
    server.run::<()>("SET bv:{s} x");
    let session: SessionId = "s".into();
    let errors = [
        backend.head(&session).await.unwrap_err(),
        backend
            .read(&session, &[key("a")], Seen::NOTHING)
            .await
            .unwrap_err(),
        backend
            .scan(&session, None, None, 10, Seen::NOTHING)
            .await
            .unwrap_err(),
        backend.acquire(request("s", "first")).await.unwrap_err(),
        backend.delete(&session, Fence::Shared).await.unwrap_err(),
        backend.touch(&session, Fence::Shared, None).await.unwrap_err(),
        commit_one(&backend, shared("s", vec![put("a", "1")]))
            .await
            .unwrap_err(),
        commit_one(&backend, commit("s", 1, 0, vec![put("a", "1")]))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.message().contains("bv:{s}"), "{error}");
        assert_eq!(error.session(), Some(&session));
    }
    server.run::<()>("HSET bv:{s}:lease a 1");
    let renewed = backend
        .renew(&renewals(&[(session, 1), ("good".into(), good)]), LEASE)
        .await;
    let error = renewed[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.message().contains("bv:{s}:lease"), "{error}");
    assert!(renewed[1].is_ok(), "{renewed:?}");
}

#[tokio::test]
async fn a_server_out_of_memory_lets_deletions_through() {
    if !redis_server_found("a_server_out_of_memory_lets_deletions_through") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    let records = vec![put("a", "1"), put("b", "1"), put("c", "1")];
    commit_one(&backend, commit("s", token, 0, records))
        .await
        .unwrap();
    commit_one(&backend, shared("t", vec![put("a", "1"), put("b", "1")]))
        .await
        .unwrap();
    commit_one(&backend, shared("u", vec![put("a", "1")]))
        .await
        .unwrap();
    server.run::<()>("CONFIG SET maxmemory 1");

    // Together with others that need memory, and alone.
    let mixed = vec![
        shared("u", vec![put("a", "2")]),
        commit("s", token, 1, vec![drop_record("a")]),
        shared("t", vec![drop_record("a")]),
    ];
    let answers = backend.commit(mixed).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), Kind::StorageFull);
    assert_eq!(answers[1].as_ref().unwrap().version, 2);
    assert_eq!(answers[2].as_ref().unwrap().version, 2);
    let both = commit("s", token, 2, vec![drop_record("b"), put("d", "1")]);
    assert_eq!(kind(commit_one(&backend, both).await), Kind::StorageFull);
    assert_eq!(read_one(&backend, "s", "a").await, None);
    assert_eq!(read_one(&backend, "s", "b").await.as_deref(), Some("1"));

    // A deletion begins with a lease, and ends with giving it back.
    let session: SessionId = "u".into();
    let token = grant(&backend, "u").await.token;
    assert!(backend.renew(&renewals(&[(session.clone(), token)]), LEASE).await[0].is_ok());
    assert!(
        backend
            .touch(&session, Fence::Owner(token), Some(LEASE))
            .await
            .unwrap()
    );
    assert!(backend.delete(&session, Fence::Owner(token)).await.unwrap());
    backend.release(&session, token).await.unwrap();
    assert_eq!(backend.head(&session).await.unwrap(), Head::default());
}

#[tokio::test]
async fn a_read_that_the_server_cuts_off_is_asked_in_halves() {
    if !redis_server_found("a_read_that_the_server_cuts_off_is_asked_in_halves") {
        return;
    }
    let server = Server::start(&["--client-output-buffer-limit", "normal", "1mb", "0", "0"]);
    let backend = backend(&server.url());
    let value = "x".repeat(30_000);
    let ids: Vec<_> = (0..200).map(|id| format!("id{id}")).collect();
    let changes = ids.iter().map(|id| put(id, &value)).collect();
    commit_one(&backend, shared("s", changes)).await.unwrap();
    let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
    let connections = || server.run::<String>("INFO stats");
    let count = |stats: &str| -> u64 {
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse().unwrap()
    };
    let found = backend.read(&"s".into(), &keys, Seen::NOTHING).await.unwrap();
    assert!(found.iter().all(|value| value.as_ref().unwrap().len() == 30_000));
    // What was learnt is kept: nobody's connection is cut again. The test asks with a connection of its own.
    let before = count(&connections());
    for _ in 0..3 {
        backend.read(&"s".into(), &keys, Seen::NOTHING).await.unwrap();
    }
    let (mut all, mut cursor) = (0, None);
    loop {
        let page = backend
            .scan(&"s".into(), None, cursor.clone(), 1_000, Seen::NOTHING)
            .await
            .unwrap();
        all += page.items.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(all >= 200, "{all}");
    assert_eq!(count(&connections()), before + 1);
    let warnings = backend.warnings().await.unwrap().join("\n");
    assert!(warnings.contains("client-output-buffer-limit"), "{warnings}");

    // A single record that is too large names the setting.
    let huge = "x".repeat(3_000_000);
    commit_one(&backend, shared("t", vec![put("a", &huge)]))
        .await
        .unwrap();
    let error = backend
        .read(&"t".into(), &[key("a")], Seen::NOTHING)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.message().contains("client-output-buffer-limit"), "{error}");
}
