//! What a session costs in round trips.

use super::super::testing::{Monitor, Server, redis_server_found};
use super::*;

/// A session that is opened, written, read, kept and given back: one command each, however many it holds.
#[tokio::test]
async fn each_step_of_a_session_is_one_command() {
    if !redis_server_found("each_step_of_a_session_is_one_command") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    // The connection, and the scripts.
    let mut monitor = Monitor::of(&server);
    one_life(&mut monitor, &backend, "first").await;
    for (step, sent) in one_life(&mut monitor, &backend, "second").await {
        assert_eq!(sent.len(), 1, "{step}: {sent:?}");
    }
}

async fn one_life(
    monitor: &mut Monitor,
    backend: &RedisBackend,
    name: &str,
) -> Vec<(&'static str, Vec<String>)> {
    let session: SessionId = name.into();
    let mut steps = Vec::new();
    let mut step = |what| steps.push((what, monitor.commands()));
    let read = vec![RecordKey::creds()];
    let wanted = Acquire {
        read: read.clone(),
        ..request(name, "first")
    };
    let token = granted(backend.acquire(wanted).await.unwrap()).token;
    step("open");
    commit_one(
        backend,
        commit(name, token, 0, vec![put("a", "1"), put("b", "1")]),
    )
    .await
    .unwrap();
    step("commit");
    let seen = Seen {
        fence: Fence::Owner(token),
        version: 1,
    };
    backend.read(&session, &read, seen).await.unwrap();
    step("read");
    backend.renew(&renewals(&[(session.clone(), token)]), LEASE).await[0]
        .clone()
        .unwrap();
    step("renew");
    backend
        .touch(&session, Fence::Owner(token), Some(LEASE))
        .await
        .unwrap();
    step("touch");
    backend.head(&session).await.unwrap();
    step("head");
    backend.release(&session, token).await.unwrap();
    step("release");
    steps
}
