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
    let primary = servers.primary().await;
    assert_eq!(primary.head(&session).await.unwrap().version, 3);
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("2"));
    assert_eq!(backend.outbox_stats().dead_letters, 0);
}

/// MongoDB has the first of them, and is given both as one.
#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_known_when_more_came_since() {
    let name = "a_batch_whose_answer_was_lost_is_known_when_more_came_since";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "grown".into();
    let backend = servers.hybrid(behind()).await;
    let token = granted(&backend, &session).await.token;
    let primary = servers.primary().await;
    servers.mongo.lose_answers_to_updates(true);
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    until("it has arrived", async || {
        primary.head(&session).await.unwrap().version == 1
    })
    .await;
    put(&backend, &session, token, 1, "a", "2").await.unwrap();
    servers.mongo.lose_answers_to_updates(false);
    until("MongoDB has everything", async || {
        backend.reconcile().await.is_ok() && backend.outbox_stats().pending == 0
    })
    .await;
    assert_eq!(backend.outbox_stats().dead_letters, 0);
    assert_eq!(primary.head(&session).await.unwrap().version, 2);
    put(&backend, &session, token, 2, "a", "3").await.unwrap();
}

/// What its owner acknowledged is on its way to MongoDB when the session is given back.
#[tokio::test]
async fn an_outbox_is_not_closed_before_mongodb_has_its_entries() {
    let name = "an_outbox_is_not_closed_before_mongodb_has_its_entries";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "not-yet".into();
    let backend = servers.hybrid(behind()).await;
    let token = granted(&backend, &session).await.token;
    // What commits: nothing else that is sent from here on has it.
    servers.mongo.hold_back("commitId");
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    let error = backend.release(&session, token).await.unwrap_err();
    assert!(is_away(&error), "{error:?}");
    let primary = servers.primary().await;
    let metadata = primary.metadata(&session).await.unwrap().unwrap();
    assert_eq!((metadata.outbox, metadata.version), (Some(token), 0));
    servers.mongo.let_through();
    until("it is handed over", async || {
        let metadata = primary.metadata(&session).await.unwrap().unwrap();
        metadata.outbox.is_none()
    })
    .await;
    assert_eq!(get(&primary, &session, "a").await.as_deref(), Some("1"));
}

/// The breaker is open, so MongoDB was not asked; Redis was, and has the commit.
#[tokio::test]
async fn a_commit_that_may_have_arrived_is_never_called_not_applied() {
    let name = "a_commit_that_may_have_arrived_is_never_called_not_applied";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let (session, other): (SessionId, SessionId) = ("hidden".into(), "opens-the-breaker".into());
    let proxy = Proxy::start(servers.redis.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let backend = servers
        .connect(&url, through_with_outbox(), breaker(seconds(600)), None)
        .await;
    let token = granted(&backend, &session).await.token;
    let others = granted(&backend, &other).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    servers.mongo.cut().await;
    for base in 0..4 {
        put(&backend, &other, others, base, "a", "1").await.unwrap();
    }
    until("the breaker is open", async || {
        let away = backend.touch(&"nobody".into(), Fence::Shared, None).await;
        away.is_err_and(|error| error.kind() == Kind::CircuitOpen)
    })
    .await;
    proxy.swallow_next_answer();
    let sent = commit(
        &session,
        Fence::Owner(token),
        1,
        vec![change("session", "a", "2")],
    );
    let error = commit_one(&backend, sent.clone()).await.unwrap_err();
    assert_eq!(proxy.swallowed(), 1);
    assert!(
        matches!(error.kind(), Kind::Timeout | Kind::Unavailable),
        "it is in doubt: {error:?}"
    );
    // Nor when it is sent again and reaches neither.
    servers.redis.kill();
    let again = commit_one(&backend, sent).await.unwrap_err();
    assert!(
        matches!(again.kind(), Kind::Timeout | Kind::Unavailable),
        "it still is: {again:?}"
    );
    servers.redis.start_again();
    let next = servers.hybrid_with_mongo(&servers.mongo_url, behind()).await;
    let taken = succeed(&next, &session, token).await;
    assert_eq!(taken.head.version, 2);
    assert_eq!(get(&next, &session, "a").await.as_deref(), Some("2"));
}

/// The owner of a session too large to be copied whole: of `HALVES`, the first is in Redis and the second is not.
async fn half_copied(servers: &Servers, session: &SessionId) -> (HybridBackend, Token) {
    let first = servers.hybrid(through()).await;
    let token = granted(&first, session).await.token;
    let records = (0..1100).map(|at| change("session", &format!("r{at:04}"), "old"));
    commit_one(&first, commit(session, Fence::Owner(token), 0, records.collect()))
        .await
        .unwrap();
    first.release(session, token).await.unwrap();
    servers.redis.run::<String>("FLUSHALL");
    let owner = servers.hybrid(through()).await;
    let token = granted(&owner, session).await.token;
    let copied = servers.copy_key(session).await;
    until("what fits is copied", async || {
        servers.redis.run::<i64>(&format!("HLEN {copied}")) > 1000
    })
    .await;
    assert_eq!(get(&owner, session, "r0000").await.as_deref(), Some("old"));
    (owner, token)
}

const HALVES: [&str; 2] = ["r0000", "r1099"];

async fn read_both(owner: &HybridBackend, session: &SessionId) -> Result<Vec<String>> {
    let keys = HALVES.map(|id| key("session", id));
    let found = owner.read(session, &keys, Seen::NOTHING).await?;
    let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    Ok(found.into_iter().map(text).collect())
}

#[tokio::test]
async fn a_commit_that_comes_during_a_read_is_read_whole_or_not_at_all() {
    let name = "a_commit_that_comes_during_a_read_is_read_whole_or_not_at_all";
    let Some(servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "between".into();
    let (owner, token) = half_copied(&servers, &session).await;
    // Redis has answered when MongoDB is asked.
    servers.mongo.hold_back("filter");
    let (reader, read) = (owner.clone(), session.clone());
    let reading = tokio::spawn(async move { read_both(&reader, &read).await });
    servers.mongo.holds_back().await;
    let both = HALVES.map(|id| change("session", id, "new")).to_vec();
    let head = commit_one(&owner, commit(&session, Fence::Owner(token), 1, both)).await;
    assert_eq!(head.unwrap().version, 2);
    let client = mongodb::Client::with_uri_str(&servers.mongo_url).await.unwrap();
    let records = client
        .database(&servers.database)
        .collection::<mongodb::bson::Document>("vault_records");
    until("MongoDB's records follow", async || {
        let new = mongodb::bson::doc! { "r.v": 2_i64 };
        let mut found = records.find(new).await.unwrap();
        found.advance().await.unwrap() && found.advance().await.unwrap()
    })
    .await;
    servers.mongo.let_through();
    assert_eq!(reading.await.unwrap().unwrap(), ["new", "new"]);
}

#[tokio::test]
async fn a_commit_in_doubt_is_read_whole_or_not_at_all() {
    let name = "a_commit_in_doubt_is_read_whole_or_not_at_all";
    let Some(mut servers) = Servers::start(name).await else {
        return;
    };
    let session: SessionId = "torn".into();
    let (owner, token) = half_copied(&servers, &session).await;
    let read = async || read_both(&owner, &session).await;

    servers.mongo.lose_answers_to_updates(true);
    let both = HALVES.map(|id| change("session", id, "new")).to_vec();
    let in_doubt = commit(&session, Fence::Owner(token), 1, both);
    let error = commit_one(&owner, in_doubt).await.unwrap_err();
    assert!(servers.mongo.lost() > 0 && is_away(&error), "{error:?}");
    // It cannot be brought to an end yet.
    match read().await {
        Ok(found) => assert_eq!(found[0], found[1]),
        Err(error) => assert!(is_away(&error), "{error:?}"),
    }
    // What Redis has alone is as it was before: no record is seen in two states.
    let alone = try_get(&owner, &session, "r0000").await;
    assert_eq!(alone.unwrap().as_deref(), Some("old"));
    servers.mongo.lose_answers_to_updates(false);
    assert_eq!(read().await.unwrap(), ["new", "new"]);
    put(&owner, &session, token, 2, "r0000", "newer").await.unwrap();
    assert_eq!(read().await.unwrap(), ["newer", "new"]);
    servers.mongo.cut().await;
}
