use std::collections::BTreeSet;

use super::server;
use crate::backend::redis::testing::{Server, redis_server_found};
use crate::backend::redis::tests::topologies::{cluster_url, start_cluster};
use crate::config::ForeignSection;
use crate::error::{Error, Kind, Result};
use crate::foreign::ForeignRedis;

async fn open(url: &str) -> ForeignRedis {
    ForeignRedis::open(&server(url)).await.unwrap()
}

async fn keys(redis: &ForeignRedis, pattern: &str) -> Result<BTreeSet<String>> {
    let list = redis.scan(pattern.into()).await?;
    let mut keys = BTreeSet::new();
    loop {
        let page = redis.next_keys(list).await?;
        keys.extend(page.items.into_iter().map(|key| String::from_utf8(key).unwrap()));
        if !page.more {
            return Ok(keys);
        }
    }
}

fn failed<T>(outcome: Result<T>) -> Error {
    outcome.err().expect("it fails")
}

#[tokio::test]
async fn keys_of_every_type_are_read() {
    if !redis_server_found("keys_of_every_type_are_read") {
        return;
    }
    let server = Server::start(&[]);
    server.run::<()>("SET text hello");
    server.run::<()>("SET mortal soon PX 60000");
    server.run::<()>("HSET hash one 1 two 2");
    server.run::<()>("SADD set a b");
    server.run::<()>("RPUSH list a");
    let redis = open(&server.url()).await;
    let names = ["text", "gone", "mortal"].map(|name| name.as_bytes().to_vec());
    assert_eq!(
        redis.get(&names).await.unwrap(),
        [Some(b"hello".to_vec()), None, Some(b"soon".to_vec())]
    );
    let mut hash = redis.hash(b"hash").await.unwrap();
    hash.sort();
    assert_eq!(
        hash,
        [("one", "1"), ("two", "2")].map(|(field, value)| (field.into(), value.into()))
    );
    assert_eq!(redis.hash(b"gone").await.unwrap(), []);
    let mut members = redis.members(b"set").await.unwrap();
    members.sort();
    assert_eq!(members, [b"a", b"b"]);
    assert_eq!(redis.type_of(b"list").await.unwrap(), "list");
    assert_eq!(redis.type_of(b"gone").await.unwrap(), "none");
    assert_eq!(redis.lifetime(b"text").await.unwrap(), None);
    let left = redis.lifetime(b"mortal").await.unwrap().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!(
        keys(&redis, "*t").await.unwrap(),
        ["set", "text", "list"].map(str::to_owned).into()
    );

    for error in [
        failed(redis.get(&[b"text".to_vec(), b"hash".to_vec()]).await),
        failed(redis.members(b"hash").await),
    ] {
        assert_eq!(error.kind(), Kind::Corrupt);
        assert_eq!(error.detail("key"), Some(&"hash".into()));
        assert!(error.message().contains("\"hash\""), "{error}");
    }
    assert_eq!(failed(redis.hash(b"text").await).kind(), Kind::Corrupt);
}

#[tokio::test]
async fn many_keys_and_a_huge_hash_are_read_whole() {
    if !redis_server_found("many_keys_and_a_huge_hash_are_read_whole") {
        return;
    }
    let server = Server::start(&[]);
    let fill =
        "for i = 1, 12000 do redis.call('SET', 'k:' .. i, i) redis.call('HSET', 'big', 'f' .. i, i) end";
    redis::cmd("EVAL")
        .arg(fill)
        .arg(0)
        .query::<()>(&mut server.connect())
        .unwrap();
    let redis = open(&server.url()).await;
    assert_eq!(keys(&redis, "k:*").await.unwrap().len(), 12_000);
    let hash: BTreeSet<_> = redis.hash(b"big").await.unwrap().into_iter().collect();
    assert_eq!(hash.len(), 12_000);
    assert!(hash.contains(&(b"f77".to_vec(), b"77".to_vec())));
}

/// Nothing but reading is sent, so that a user who may only read is enough.
#[tokio::test]
async fn a_user_who_may_only_read_is_enough() {
    if !redis_server_found("a_user_who_may_only_read_is_enough") {
        return;
    }
    let server = Server::start(&[]);
    server.run::<()>("SET a 1");
    server.run::<()>("HSET h f 1");
    server.run::<()>("ACL SETUSER reader on >secret ~* +@read +@connection");
    let url = server.url().replace("redis://", "redis://reader:secret@");
    let redis = open(&url).await;
    assert_eq!(keys(&redis, "*").await.unwrap().len(), 2);
    redis.get(&[b"a".to_vec()]).await.unwrap();
    redis.hash(b"h").await.unwrap();
    redis.members(b"gone").await.unwrap();
    redis.type_of(b"a").await.unwrap();
    redis.lifetime(b"a").await.unwrap();

    let wrong = server.url().replace("redis://", "redis://reader:wrong-word@");
    let error = failed(ForeignRedis::open(&super::server(&wrong)).await);
    assert_eq!(error.kind(), Kind::Config);
    assert!(!format!("{error:?}").contains("wrong-word"), "{error:?}");
}

#[tokio::test]
async fn a_list_that_failed_or_never_was_is_not_at_its_end() {
    if !redis_server_found("a_list_that_failed_or_never_was_is_not_at_its_end") {
        return;
    }
    let mut server = Server::start(&[]);
    let fill = "for i = 1, 5000 do redis.call('SET', 'k:' .. i, i) end";
    let filled = |server: &Server| {
        redis::cmd("EVAL")
            .arg(fill)
            .arg(0)
            .query::<()>(&mut server.connect())
    };
    filled(&server).unwrap();
    let redis = open(&server.url()).await;
    assert_eq!(failed(redis.next_keys(99).await).kind(), Kind::InvalidValue);

    let list = redis.scan(b"*".to_vec()).await.unwrap();
    assert!(redis.next_keys(list).await.unwrap().more);
    server.kill();
    assert_eq!(failed(redis.next_keys(list).await).kind(), Kind::Unavailable);
    assert_eq!(failed(redis.next_keys(list).await).kind(), Kind::InvalidValue);

    // Another server in its place has other cursors, so that keys would be left out.
    server.start_again();
    filled(&server).unwrap();
    let list = redis.scan(b"*".to_vec()).await.unwrap();
    let read = async || loop {
        if let Ok(page) = redis.next_keys(list).await {
            return page;
        }
        let list = redis.scan(b"*".to_vec()).await.unwrap();
        if let Ok(page) = redis.next_keys(list).await {
            return page;
        }
    };
    assert!(read().await.more);
    let list = redis.scan(b"*".to_vec()).await.unwrap();
    assert!(redis.next_keys(list).await.unwrap().more);
    server.run::<()>("CLIENT KILL TYPE normal SKIPME yes");
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.extend(redis.next_keys(list).await.err());
    }
    assert_eq!(errors.first().map(Error::kind), Some(Kind::Unavailable));
    assert_eq!(errors.len(), 5, "it is not read on");
}

#[tokio::test]
async fn a_server_that_is_away_or_none_is_an_error_in_time() {
    let away = ForeignSection {
        open_timeout: 300,
        operation_timeout: 1000,
        ..server("redis://127.0.0.1:1")
    };
    assert_eq!(failed(ForeignRedis::open(&away).await).kind(), Kind::Unavailable);
    let wrong = failed(ForeignRedis::open(&server("http://u:hunter2@host")).await);
    assert_eq!(wrong.kind(), Kind::Config);
    assert!(!format!("{wrong:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_cluster_is_read_on_every_node() {
    if !redis_server_found("a_cluster_is_read_on_every_node") {
        return;
    }
    let servers = start_cluster(&[]);
    let redis = open(&cluster_url(&servers[..1])).await;
    let mut wanted = BTreeSet::new();
    for index in 0..60 {
        let key = format!("k:{index}");
        // Whoever serves its slot takes it; the others say where that is.
        let taken = servers
            .iter()
            .filter(|server| server.try_run::<()>(&format!("SET {key} {index}")).is_ok());
        assert_eq!(taken.count(), 1);
        wanted.insert(key);
    }
    assert_eq!(keys(&redis, "k:*").await.unwrap(), wanted);
    let names: Vec<_> = wanted.iter().map(|key| key.as_bytes().to_vec()).collect();
    assert!(redis.get(&names).await.unwrap().iter().all(Option::is_some));
}
