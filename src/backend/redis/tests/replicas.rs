//! Commits that replicas must have before they are acknowledged.

use std::time::Instant;

use super::super::WaitReplicas;
use super::super::testing::{Server, redis_server_found, wait_until};
use super::topologies::watch;
use super::*;

/// In which a replica that works confirms, on a busy machine.
const LONG: Duration = Duration::from_secs(8);
/// For one that does not.
const SHORT: Duration = Duration::from_millis(400);
/// Longer than some reads take on a busy machine.
pub(crate) const MEDIUM: Duration = Duration::from_secs(2);

pub(crate) struct Pair {
    pub master: Server,
    pub replica: Server,
}

impl Pair {
    pub fn start() -> Self {
        let master = Server::start(&["--repl-diskless-sync-delay", "0"]);
        let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let pair = Self { master, replica };
        pair.in_sync();
        pair
    }

    pub fn in_sync(&self) {
        wait_until("the replica is in sync", || {
            self.replica
                .run::<String>("INFO replication")
                .contains("master_link_status:up")
                && self.master.run::<u32>("WAIT 1 100") == 1
        });
    }

    pub fn config(&self, timeout: Duration) -> RedisConfig {
        waiting(config(&self.master.url()), timeout)
    }
}

fn waiting(config: RedisConfig, timeout: Duration) -> RedisConfig {
    RedisConfig {
        wait_replicas: Some(WaitReplicas { count: 1, timeout }),
        ..config
    }
}

pub(crate) fn unconfirmed<T: std::fmt::Debug>(answer: Result<T>) {
    let error = answer.unwrap_err();
    assert_eq!(
        (error.kind(), error.retryable()),
        (Kind::Unavailable, true),
        "{error}"
    );
    assert_eq!(error.detail("replicas"), Some(&0.into()), "{error}");
    assert_eq!(error.detail("waitReplicas"), Some(&1.into()), "{error}");
    assert!(error.is_of_part(), "the server works");
}

#[tokio::test]
async fn a_commit_is_acknowledged_when_a_replica_has_it() {
    if !redis_server_found("a_commit_is_acknowledged_when_a_replica_has_it") {
        return;
    }
    let pair = Pair::start();
    let backend = RedisBackend::new(&pair.config(LONG)).unwrap();
    let token = grant(&backend, "s").await.token;
    for base in 0..20 {
        commit_one(
            &backend,
            commit("s", token, base, vec![put("a", &base.to_string())]),
        )
        .await
        .unwrap();
        // At once, and not some time later.
        let head: String = pair.replica.run("HGET bv:{s} @");
        assert_eq!(head.split(':').nth(1), Some((base + 1).to_string().as_str()));
    }
    let shared = commit_one(&backend, shared("t", vec![put("a", "1")])).await;
    assert_eq!(shared.unwrap().version, 1);
    assert!(pair.replica.run::<bool>("EXISTS bv:{t}"));
    assert!(backend.delete(&"t".into(), Fence::Shared).await.unwrap());
    assert!(!pair.replica.run::<bool>("EXISTS bv:{t}"));
}

/// The master dies the moment that it acknowledged a commit; its replica takes over and has no replica itself.
#[tokio::test]
async fn what_a_replica_confirmed_is_there_after_a_failover() {
    if !redis_server_found("what_a_replica_confirmed_is_there_after_a_failover") {
        return;
    }
    let Pair { mut master, replica } = Pair::start();
    let sentinel = watch(&master);
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port);
    let backend = RedisBackend::new(&waiting(config(&url), MEDIUM)).unwrap();
    let token = grant(&backend, "s").await.token;
    for base in 0..20 {
        let next = commit("s", token, base, vec![put("a", &base.to_string())]);
        persist(async || commit_one(&backend, next.clone()).await)
            .await
            .unwrap();
    }
    master.kill();
    wait_until("the replica takes over", || {
        let info = replica.try_run::<String>("INFO replication");
        info.is_ok_and(|info| info.contains("role:master"))
    });
    let read = persist(async || {
        let keys = [key("a")];
        backend.read(&"s".into(), &keys, Seen::NOTHING).await
    });
    assert_eq!(read.await.unwrap(), [Some(Bytes::from_static(b"19"))]);
    let next = commit("s", token, 20, vec![put("a", "20")]);
    let alone = persist(async || match commit_one(&backend, next.clone()).await {
        Err(error) if error.detail("replicas").is_some() => Ok(error),
        Err(error) => Err(error),
        Ok(head) => panic!("nobody else has it: {head:?}"),
    });
    unconfirmed::<Head>(Err(alone.await.unwrap()));

    let successor = Pair {
        replica: Server::start(&["--replicaof", "127.0.0.1", &replica.port.to_string()]),
        master: replica,
    };
    successor.in_sync();
    let head = persist(async || commit_one(&backend, next.clone()).await)
        .await
        .unwrap();
    assert_eq!(head.version, 21);
    let copied: String = successor.replica.run("HGET bv:{s} @");
    assert_eq!(copied.split(':').nth(1), Some("21"));
}

#[tokio::test]
async fn what_no_replica_confirmed_is_in_doubt_and_confirmed_by_a_later_try() {
    if !redis_server_found("what_no_replica_confirmed_is_in_doubt_and_confirmed_by_a_later_try") {
        return;
    }
    let pair = Pair::start();
    let backend = RedisBackend::new(&pair.config(MEDIUM)).unwrap();
    let token = grant(&backend, "s").await.token;
    let first = commit("s", token, 0, vec![put("a", "1")]);
    persist(async || commit_one(&backend, first.clone()).await)
        .await
        .unwrap();
    pair.replica.freeze(true);
    let next = commit("s", token, 1, vec![put("a", "2")]);
    let merged = shared("t", vec![put("a", "1")]);
    // Also when it is sent again, and on another connection: the master has it, and that is not enough.
    for _ in 0..2 {
        unconfirmed(commit_one(&backend, next.clone()).await);
        unconfirmed(commit_one(&backend, merged.clone()).await);
        pair.master.run::<u32>("CLIENT KILL TYPE normal SKIPME yes");
        let again = persist(async || match commit_one(&backend, next.clone()).await {
            Err(error) if error.detail("replicas").is_some() => Ok(Err(error)),
            other => other.map(Ok),
        });
        unconfirmed(again.await.unwrap());
    }
    // What is refused is refused, whoever has what.
    let stale = commit("s", token - 1, 1, vec![]);
    assert_eq!(kind(commit_one(&backend, stale).await), Kind::Fenced);
    // A replica that hangs holds up what it must confirm, and nothing else.
    let held_up = commit("s", token, 2, vec![put("a", "3")]);
    let (held_up, ()) = tokio::join!(commit_one(&backend, held_up), async {
        let asked = Instant::now();
        for _ in 0..20 {
            assert!(read_one(&backend, "s", "a").await.is_some());
        }
        let renewed = backend.renew(&renewals(&[("s".into(), token)]), LEASE).await;
        assert!(renewed[0].is_ok());
        assert!(asked.elapsed() < MEDIUM, "{:?}", asked.elapsed());
    });
    unconfirmed(held_up);
    unconfirmed(backend.delete(&"t".into(), Fence::Shared).await);

    pair.replica.freeze(false);
    pair.in_sync();
    let last = commit("s", token, 3, vec![put("a", "4")]);
    let head = persist(async || commit_one(&backend, last.clone()).await).await;
    assert_eq!(head.unwrap().version, 4);
    assert_eq!(pair.replica.run::<String>("HGET bv:{s} \u{7}sessiona"), "4");
}

#[tokio::test]
async fn a_master_cut_off_from_its_replicas_acknowledges_nothing() {
    if !redis_server_found("a_master_cut_off_from_its_replicas_acknowledges_nothing") {
        return;
    }
    // As on the wrong side of a partition: the replica has become the master of the others.
    let pair = Pair::start();
    let old = RedisBackend::new(&pair.config(SHORT)).unwrap();
    let token = grant(&old, "s").await.token;
    let first = commit("s", token, 0, vec![put("a", "1")]);
    persist(async || commit_one(&old, first.clone()).await)
        .await
        .unwrap();
    pair.replica.run::<()>("REPLICAOF NO ONE");
    unconfirmed(commit_one(&old, commit("s", token, 1, vec![put("a", "lost")])).await);
    let new = backend(&pair.replica.url());
    assert_eq!(read_one(&new, "s", "a").await.as_deref(), Some("1"));
    // Without the option it acknowledges what is lost.
    let unaware = backend(&pair.master.url());
    let lost = commit_one(&unaware, commit("s", token, 2, vec![put("a", "lost")])).await;
    assert_eq!(lost.unwrap().version, 3);
}

#[tokio::test]
async fn a_cluster_confirms_by_the_replicas_of_each_node() {
    if !redis_server_found("a_cluster_confirms_by_the_replicas_of_each_node") {
        return;
    }
    let servers = super::topologies::start_cluster(&[]);
    let config = waiting(config(&super::topologies::cluster_url(&servers)), SHORT);
    let backend = RedisBackend::new(&config).unwrap();
    // None has any.
    for index in 0..6 {
        let session = format!("s{index}");
        let token = grant(&backend, &session).await.token;
        unconfirmed(commit_one(&backend, commit(&session, token, 0, vec![put("a", "1")])).await);
        assert_eq!(backend.head(&session.as_str().into()).await.unwrap().version, 1);
    }
}
