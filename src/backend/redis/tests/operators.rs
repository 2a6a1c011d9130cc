use super::super::testing::{Server, redis_server_found};
use super::super::{Login, Topology};
use super::*;

/// The commands that `docs/guides/redis.md` tells operators to allow.
const ALLOWED: &str = "+@connection +evalsha +eval +hget +hmget +hset +hdel +hscan +scan +get +mget +set +del +unlink +exists +pexpire +persist +pttl +time";

#[tokio::test]
async fn a_user_with_the_documented_permissions_can_do_everything() {
    if !redis_server_found("a_user_with_the_documented_permissions_can_do_everything") {
        return;
    }
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides/redis.md")).unwrap();
    assert!(docs.contains(ALLOWED), "the documentation names other commands");
    let server = Server::start(&[]);
    server.run::<()>(&format!("ACL SETUSER bot on >p@ss ~bv:* {ALLOWED}"));
    let backend = backend(&format!("redis://bot:p%40ss@127.0.0.1:{}", server.port));
    let session: SessionId = "s".into();
    let client_token = Acquire {
        client_token: Some(1),
        read: vec![key("a")],
        ..request("s", "first")
    };
    let token = granted(backend.acquire(client_token).await.unwrap()).token;
    let day = Some(Duration::from_secs(86_400));
    let changes = vec![put("a", "1"), drop_record("b")];
    commit_one(
        &backend,
        Commit {
            ttl: day,
            ..commit("s", token, 0, changes)
        },
    )
    .await
    .unwrap();
    commit_one(&backend, shared("t", vec![put("a", "1")]))
        .await
        .unwrap();
    commit_one(&backend, commit("s", token, 1, vec![])).await.unwrap();
    assert!(backend.touch(&session, Fence::Owner(token), day).await.unwrap());
    assert!(backend.touch(&session, Fence::Owner(token), None).await.unwrap());
    assert_eq!(
        backend
            .scan(&session, None, None, 10, Seen::NOTHING)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(all_sessions(&backend, 10).await.unwrap().len(), 2);
    assert!(backend.renew(&renewals(&[(session.clone(), token)]), LEASE).await[0].is_ok());
    assert_eq!(backend.head(&session).await.unwrap().version, 2);
    assert!(backend.delete(&session, Fence::Owner(token)).await.unwrap());
    backend.release(&session, token).await.unwrap();
    backend.ping().await.unwrap();

    let warnings = backend.warnings().await.unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .all(|warning| warning.contains("could not be checked")),
        "{warnings:?}"
    );

    // Outside of its keys it may do nothing, and is told what to change.
    let elsewhere = RedisConfig {
        prefix: "other".to_owned(),
        ..config(&format!("redis://bot:p%40ss@127.0.0.1:{}", server.port))
    };
    let elsewhere = RedisBackend::new(&elsewhere).unwrap();
    assert_eq!(kind(elsewhere.head(&session).await), Kind::Config);
    assert_eq!(kind(elsewhere.acquire(request("s", "first")).await), Kind::Config);
    assert_eq!(
        kind(commit_one(&elsewhere, shared("s", vec![])).await),
        Kind::Config
    );
}

#[tokio::test]
async fn a_wrong_password_is_named_but_not_shown() {
    if !redis_server_found("a_wrong_password_is_named_but_not_shown") {
        return;
    }
    let server = Server::start(&["--requirepass", "right"]);
    let address = format!("127.0.0.1:{}", server.port);
    for url in [
        format!("redis://:hunter2@{address}"),
        format!("redis://bot:hunter2@{address}"),
    ] {
        let error = backend(&url).ping().await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (Kind::Config, false));
        let shown = format!("{error} {error:?} {:?}", error.cause());
        assert!(
            shown.contains("password") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
    assert_eq!(
        kind(backend(&format!("redis://{address}")).ping().await),
        Kind::Config
    );
    backend(&format!("redis://:right@{address}"))
        .ping()
        .await
        .unwrap();
    let login = Login {
        username: None,
        password: Some("right".to_owned().into()),
    };
    let topology = Topology::Single(("127.0.0.1".to_owned(), server.port));
    RedisBackend::new(&RedisConfig {
        login,
        ..RedisConfig::new(topology)
    })
    .unwrap()
    .ping()
    .await
    .unwrap();
}

#[tokio::test]
async fn a_server_that_may_lose_the_only_copy_is_warned_about() {
    if !redis_server_found("a_server_that_may_lose_the_only_copy_is_warned_about") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let warnings = backend.warnings().await.unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("persistence is off"), "{warnings:?}");

    for setting in ["save 60", "maxmemory 1000000000", "maxmemory-policy allkeys-lru"] {
        let command = if setting == "save 60" {
            redis::cmd("CONFIG").arg(&["SET", "save", "60 1"]).take()
        } else {
            let (name, value) = setting.split_once(' ').unwrap();
            redis::cmd("CONFIG").arg(&["SET", name, value]).take()
        };
        command.query::<()>(&mut server.connect()).unwrap();
    }
    let warnings = backend.warnings().await.unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("allkeys-lru") && warnings[1].contains("appendonly is off"),
        "{warnings:?}"
    );

    server.run::<()>("CONFIG SET appendonly yes");
    server.run::<()>("CONFIG SET maxmemory-policy noeviction");
    assert_eq!(backend.warnings().await.unwrap(), Vec::<String>::new());

    // Managed services forbid CONFIG, but not INFO.
    server.run::<()>("CONFIG SET appendonly no");
    server.run::<()>("ACL SETUSER managed on nopass ~* +@all -config");
    let managed = super::backend(&format!("redis://managed:x@127.0.0.1:{}", server.port));
    let warnings = managed.warnings().await.unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("appendonly is off"), "{warnings:?}");
}
