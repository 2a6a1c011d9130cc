use super::super::Topology;
use super::super::testing::{Server, redis_server_found, wait_until};
use super::replicas::Pair;
use super::*;
use crate::backend::Tls;

/// A cluster of three masters, ready to serve.
pub(crate) fn start_cluster(arguments: &[&str]) -> Vec<Server> {
    let arguments = [
        &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"],
        arguments,
    ]
    .concat();
    let servers: Vec<_> = (0..3).map(|_| Server::start(&arguments)).collect();
    for (server, slots) in servers.iter().zip([0..=5460, 5461..=10_922, 10_923..=16_383]) {
        // One by one: Redis 6.2 takes no ranges.
        let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
        server.run::<()>(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
        server.run::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", servers[0].port));
    }
    wait_until("the cluster is ready", || {
        servers.iter().all(|server| {
            let info: String = server.run("CLUSTER INFO");
            // With `cluster-require-full-coverage no` the state is `ok` before a node has heard of all slots.
            [
                "cluster_state:ok",
                "cluster_known_nodes:3",
                "cluster_slots_assigned:16384",
            ]
            .iter()
            .all(|line| info.contains(line))
        })
    });
    servers
}

pub(crate) fn cluster_url(servers: &[Server]) -> String {
    let hosts: Vec<_> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port))
        .collect();
    format!("redis+cluster://{}", hosts.join(","))
}

#[tokio::test]
async fn a_cluster_serves_sessions_on_every_node() {
    if !redis_server_found("a_cluster_serves_sessions_on_every_node") {
        return;
    }
    let servers = start_cluster(&[]);
    let backend = backend(&cluster_url(&servers[..1]));
    let mut commits = Vec::new();
    let mut leases = Vec::new();
    for index in 0..60 {
        let session = format!("s{index}");
        let token = grant(&backend, &session).await.token;
        leases.push((SessionId::from(session.as_str()), token));
        commits.push(commit(
            &session,
            token,
            0,
            vec![put("a", &session), drop_record("b")],
        ));
    }
    for result in backend.commit(commits.clone()).await {
        assert_eq!(result.unwrap().version, 1);
    }
    for server in &servers {
        assert!(server.run::<u32>("DBSIZE") > 0);
        server.run::<()>("SCRIPT FLUSH");
    }
    // Sent again, to nodes that have forgotten the script.
    for result in backend.commit(commits).await {
        assert_eq!(result.unwrap().version, 1);
    }
    assert!(
        backend
            .renew(&renewals(&leases), LEASE)
            .await
            .iter()
            .all(Result::is_ok)
    );
    let mut expected: Vec<_> = leases.iter().map(|(session, _)| session.clone()).collect();
    expected.sort();
    assert_eq!(all_sessions(&backend, 5).await.unwrap(), expected);
    for (session, token) in &leases {
        assert_eq!(
            read_one(&backend, session, "a").await.as_deref(),
            Some(&**session)
        );
        assert_eq!(
            kind(backend.delete(session, Fence::Owner(token - 1)).await),
            Kind::Fenced
        );
        assert!(backend.delete(session, Fence::Owner(*token)).await.unwrap());
        backend.release(session, *token).await.unwrap();
    }
    assert!(servers.iter().all(|server| server.run::<u32>("DBSIZE") == 0));
    backend.ping().await.unwrap();
    assert_eq!(backend.warnings().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_sessions_along() {
    if !redis_server_found("a_slot_that_moves_takes_its_sessions_along") {
        return;
    }
    let servers = start_cluster(&[]);
    let backend = backend(&cluster_url(&servers));
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    let slot: u16 = servers[0].run("CLUSTER KEYSLOT bv:{s}");
    let id = |server: &Server| server.run::<String>("CLUSTER MYID");
    let from = servers
        .iter()
        .find(|server| server.run::<u32>("DBSIZE") > 0)
        .unwrap();
    let to = servers
        .iter()
        .find(|server| server.run::<u32>("DBSIZE") == 0)
        .unwrap();
    to.run::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
    from.run::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
    commit_one(&backend, commit("s", token, 1, vec![put("a", "2")]))
        .await
        .unwrap();
    let migrate = format!(
        "MIGRATE 127.0.0.1 {}  0 5000 KEYS bv:{{s}} bv:{{s}}:lease",
        to.port
    );
    from.run::<()>(&migrate);
    // The slot's owner redirects with ASK now, then with MOVED.
    commit_one(&backend, commit("s", token, 2, vec![put("a", "3")]))
        .await
        .unwrap();
    for server in [to, from] {
        server.run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
    }
    commit_one(&backend, commit("s", token, 3, vec![put("a", "4")]))
        .await
        .unwrap();
    assert!(backend.renew(&renewals(&[("s".into(), token)]), LEASE).await[0].is_ok());
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("4"));
}

#[tokio::test]
async fn a_cluster_node_that_comes_back_serves_again() {
    if !redis_server_found("a_cluster_node_that_comes_back_serves_again") {
        return;
    }
    let mut servers = start_cluster(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--cluster-require-full-coverage",
        "no",
    ]);
    let limits = RedisConfig {
        operation_timeout: Duration::from_secs(2),
        ..config(&cluster_url(&servers))
    };
    let backend = RedisBackend::new(&limits).unwrap();
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    let node = servers
        .iter()
        .position(|server| server.run::<u32>("DBSIZE") > 0)
        .unwrap();
    servers[node].kill();
    let next = commit("s", token, 1, vec![put("a", "2")]);
    assert!(is_outage(&commit_one(&backend, next.clone()).await.unwrap_err()));
    servers[node].start_again();
    let head = persist(async || commit_one(&backend, next.clone()).await)
        .await
        .unwrap();
    assert_eq!(head.version, 2);
}

/// A sentinel that knows a master, `mymaster`, and its replica.
pub(super) fn watch(master: &Server) -> Server {
    let sentinel = Server::start_sentinel(&format!(
        "sentinel monitor mymaster 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds mymaster 500\n\
         sentinel failover-timeout mymaster 5000\n",
        master.port
    ));
    wait_until("the sentinel knows the replica", || {
        sentinel.run::<String>("INFO sentinel").contains("slaves=1")
    });
    sentinel
}

#[tokio::test]
async fn after_a_failover_the_sentinels_new_master_is_used() {
    if !redis_server_found("after_a_failover_the_sentinels_new_master_is_used") {
        return;
    }
    let Pair { mut master, replica } = Pair::start();
    let sentinel = watch(&master);
    // One sentinel that is not there does not matter.
    let absent = super::super::testing::free_port();
    let url = format!(
        "redis+sentinel://127.0.0.1:{absent},127.0.0.1:{}/mymaster",
        sentinel.port
    );
    let backend = backend(&url);
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    assert_eq!(master.run::<u32>("HLEN bv:{s}"), 3);
    wait_until("the commit is replicated", || {
        replica.run::<u32>("HLEN bv:{s}") == 3
    });

    wait_until("the failover begins", || {
        sentinel.try_run::<()>("SENTINEL FAILOVER mymaster").is_ok()
    });
    // What the old master accepts before it follows the new one is lost: Redis replicates asynchronously.
    wait_until("the old master follows", || {
        // A sentinel closes the connections of the servers whose part it changes, this one too.
        let is = |server: &Server, role| {
            let info = server.try_run::<String>("INFO replication");
            info.is_ok_and(|info| info.contains(role))
        };
        is(&master, "role:slave") && is(&replica, "role:master")
    });
    let next = commit("s", token, 1, vec![put("a", "2")]);
    let head = persist(async || commit_one(&backend, next.clone()).await)
        .await
        .unwrap();
    assert_eq!(head.version, 2);
    assert_eq!(
        replica.run::<String>("HGET bv:{s} @").split(':').nth(1),
        Some("2")
    );
    master.kill();
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("2"));

    let unknown = super::backend(&url.replace("mymaster", "nobody"));
    assert_eq!(kind(unknown.ping().await), Kind::Unavailable);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left() {
    if !redis_server_found("a_server_that_became_a_replica_is_left") {
        return;
    }
    let server = Server::start(&[]);
    let other = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    server.run::<()>(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    wait_until("the replica is in sync", || {
        server
            .run::<String>("INFO replication")
            .contains("master_link_status:up")
    });
    let connections = || server.run::<String>("INFO stats");
    let count = |info: String| -> u64 {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"))
            .unwrap();
        line.trim().parse().unwrap()
    };
    let error = commit_one(&backend, shared("t", vec![put("a", "1")]))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (Kind::Unavailable, true));
    let before = count(connections());
    let _ = backend.head(&"s".into()).await.unwrap();
    // The backend's new connection, and the test's own.
    assert_eq!(count(connections()), before + 2);
    assert!(token > 0);
}

#[tokio::test]
async fn tls_verifies_the_server() {
    if !redis_server_found("tls_verifies_the_server") {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let openssl = |arguments: &str| {
        let output = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    std::fs::write(
        folder.path().join("san"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n",
    )
    .unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
    openssl("req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=localhost");
    openssl(
        "x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tls.pem -days 2 -extfile san",
    );
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let tls_port = super::super::testing::free_port();
    let server = Server::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("tls.pem"),
        "--tls-key-file",
        &path("tls.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
    ]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let config = config(&format!("rediss://localhost:{tls_port}"));
    let trusting = |client| {
        let tls = Some(Tls {
            authority: Some(read("ca.pem")),
            client,
            insecure: false,
        });
        RedisBackend::new(&RedisConfig {
            tls,
            ..config.clone()
        })
        .unwrap()
    };
    let backend = trusting(Some((read("tls.pem"), read("tls.key").into())));
    let token = grant(&backend, "s").await.token;
    commit_one(&backend, commit("s", token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    assert_eq!(server.run::<u32>("HLEN bv:{s}"), 3);
    // The server wants a certificate, and public authorities do not know this one.
    assert!(trusting(None).ping().await.is_err());
    assert!(RedisBackend::new(&config).unwrap().ping().await.is_err());
    assert!(matches!(config.topology, Topology::Single(_)));
}
