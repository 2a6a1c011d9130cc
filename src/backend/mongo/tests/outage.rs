//! The server away, and the wrong password.

use std::time::Instant;

use super::*;
use crate::backend::tcp_proxy::TcpProxy;
use crate::error::Kind;

#[tokio::test]
async fn an_outage_is_an_error_in_bounded_time_and_loses_nothing() {
    let name = "an_outage_is_an_error_in_bounded_time_and_loses_nothing";
    let Some(url) = mongo_for(name) else { return };
    let mut proxy = TcpProxy::to(&url).await;
    let config = MongoConfig {
        operation_timeout: seconds(3),
        ..config(&format!("mongodb://{}", proxy.address))
    };
    let backend = connect(&config).await;
    let session: SessionId = "outage".into();
    let token = granted(&backend, &session).await.token;
    let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
    commit_one(&backend, first).await.unwrap();
    settled(&backend, &session).await;

    proxy.cut().await;
    let second = owned(&session, token, 1, vec![change("session", "a", "2")]);
    let started = Instant::now();
    let away = [Kind::Unavailable, Kind::Timeout];
    let error = commit_one(&backend, second.clone()).await.unwrap_err();
    assert!(away.contains(&error.kind()), "{error:?}");
    let error = backend
        .read(&session, &[key("session", "a")], Seen::NOTHING)
        .await
        .unwrap_err();
    assert!(away.contains(&error.kind()), "{error:?}");
    let error = backend.head(&session).await.unwrap_err();
    assert!(away.contains(&error.kind()), "{error:?}");
    let error = backend.acquire(acquire(&session)).await.unwrap_err();
    assert!(away.contains(&error.kind()), "{error:?}");
    assert!(
        started.elapsed() < seconds(20),
        "four waits of at most 3 s, and slack"
    );

    proxy.mend().await;
    let recovered = Instant::now();
    while backend.ping().await.is_err() {
        assert!(
            recovered.elapsed() < seconds(60),
            "the client finds the server again"
        );
    }
    let head = commit_one(&backend, second).await.unwrap();
    assert_eq!(head.version, 2);
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("2"));
    drop_database(&backend).await;
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let config = MongoConfig {
        operation_timeout: seconds(1),
        ..MongoConfig::new("mongodb://bot:s3cr3t@127.0.0.1:1/?connectTimeoutMS=500")
    };
    let Err(error) = MongoBackend::connect(&config).await else {
        panic!("nobody listens on port 1");
    };
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!format!("{error:?} {error}").contains("s3cr3t"));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let Some(url) = mongo_for("a_wrong_password_is_refused_and_not_shown") else {
        return;
    };
    let url = url.replace("mongodb://", "mongodb://bot:s3cr3t@");
    let Err(error) = MongoBackend::connect(&config(&url)).await else {
        panic!("the server has no such user");
    };
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("s3cr3t"));
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_shown() {
    for url in [
        "mongodb://bot:s3cr3t@host:port",
        "mongodb://bot:s3cr3t@/?w=majority",
        "mongodb://bot:s3cr3t@host/?w=0",
        "mongodb://bot:s3cr3t@@host",
    ] {
        let Err(error) = MongoBackend::connect(&MongoConfig::new(url)).await else {
            panic!("{url} is refused");
        };
        assert_eq!(error.kind(), Kind::Config, "{error:?}");
        assert!(!format!("{error:?} {error}").contains("s3cr3t"), "{error:?}");
    }
}

/// A majority read of a primary that was just elected may show less than was acknowledged before.
#[tokio::test]
async fn the_first_read_of_another_primary_waits_for_a_write_that_a_majority_has() {
    let name = "the_first_read_of_another_primary_waits_for_a_write_that_a_majority_has";
    let Some(url) = mongo_for(name) else { return };
    let mut proxy = TcpProxy::to(&url).await;
    let config = MongoConfig {
        operation_timeout: seconds(10),
        ..config(&format!("mongodb://{}", proxy.address))
    };
    let backend = connect(&config).await;
    let session: SessionId = "read".into();
    granted(&backend, &session).await;
    let read = async || {
        backend
            .read(&session, &[key("session", "a")], Seen::NOTHING)
            .await
    };
    let confirms = |commands: Vec<String>| {
        let last = |name: &str| commands.iter().rposition(|sent| sent == name);
        last("findAndModify").is_some_and(|write| last("find").is_some_and(|read| write < read))
    };
    backend.0.slots.get_or_make(&session).forget();
    proxy.take_commands();
    read().await.unwrap();
    assert!(!confirms(proxy.take_commands()), "it is the same as ever");
    proxy.cut().await;
    assert!(read().await.is_err());
    proxy.mend().await;
    proxy.take_commands();
    let start = Instant::now();
    while read().await.is_err() {
        assert!(start.elapsed() < seconds(60));
    }
    assert!(confirms(proxy.take_commands()));
    read().await.unwrap();
    assert!(!confirms(proxy.take_commands()), "once");
}
