//! Answers that are lost on the way.

use super::*;
use crate::backend::redis::testing::Proxy;

#[tokio::test]
async fn a_lost_answer_of_redis_is_not_a_second_commit() {
    let name = "a_lost_answer_of_redis_is_not_a_second_commit";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "lost-answer".into();
    let proxy = Proxy::start(servers.redis.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let backend = servers.hybrid_by(&url, behind(), None).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    backend.reconcile().await.unwrap();
    proxy.swallow_next_answer();
    // It goes to MongoDB as well, and is the same commit there.
    let head = put(&backend, &session, token, 1, "a", "2").await.unwrap();
    assert_eq!((head.version, proxy.swallowed()), (2, 1));
    until("Redis is found again", async || backend.redis_is_reachable()).await;
    put(&backend, &session, token, 2, "b", "3").await.unwrap();
    backend.release(&session, token).await.unwrap();
    let next = servers.hybrid(behind()).await;
    let head = granted(&next, &session).await.head;
    assert_eq!(head.version, 3);
    assert_eq!(get(&next, &session, "a").await.as_deref(), Some("2"));
    assert!(next.dead_letters().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_in_doubt_is_brought_to_an_end_before_the_next() {
    let name = "a_commit_in_doubt_is_brought_to_an_end_before_the_next";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "doubt".into();
    let proxy = Proxy::start(servers.redis.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let backend = servers.hybrid_by(&url, behind(), None).await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    backend.reconcile().await.unwrap();
    servers.mongo.cut().await;
    proxy.swallow_next_answer();
    let error = put(&backend, &session, token, 1, "a", "2").await.unwrap_err();
    assert!(
        matches!(error.kind(), Kind::Timeout | Kind::Unavailable),
        "it is in doubt: {error:?}"
    );
    until("Redis is found again", async || backend.redis_is_reachable()).await;
    // Redis has it, so that nothing else may take its place.
    let refused = put(&backend, &session, token, 1, "a", "other").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::VersionMismatch);
    assert_eq!(backend.head(&session).await.unwrap().version, 2);
    put(&backend, &session, token, 2, "b", "3").await.unwrap();
    assert_eq!(get(&backend, &session, "a").await.as_deref(), Some("2"));
    servers.mongo.mend().await;
    until("MongoDB has everything", async || {
        backend.reconcile().await.is_ok()
    })
    .await;
    let truth = servers.truth().await;
    assert_eq!(truth.head(&session).await.unwrap().version, 3);
    assert_eq!(get(&truth, &session, "a").await.as_deref(), Some("2"));
    assert_eq!(backend.outbox_stats().dead_letters, 0);
}
