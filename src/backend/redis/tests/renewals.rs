//! Nothing delays the renewal of leases.

use super::super::testing::{Server, redis_server_found};
use super::*;
use crate::backend::tcp_proxy::TcpProxy;

async fn soon<T>(work: impl Future<Output = T>) -> T {
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, work)
        .await
        .expect("it waits for nothing else")
}

fn patient(proxy: &TcpProxy) -> RedisBackend {
    let config = RedisConfig {
        operation_timeout: Duration::from_secs(120),
        ..config(&format!("redis://{}", proxy.address))
    };
    RedisBackend::new(&config).unwrap()
}

/// A large patch is as good as a connection on which nothing goes on.
#[tokio::test]
async fn a_renewal_does_not_stand_behind_other_commands() {
    if !redis_server_found("a_renewal_does_not_stand_behind_other_commands") {
        return;
    }
    let server = Server::start(&[]);
    let proxy = TcpProxy::to(&server.url()).await;
    let owner = patient(&proxy);
    let token = grant(&owner, "s").await.token;
    let leases = [("s".into(), token)];
    proxy.freeze();
    let renewed = soon(owner.renew(&renewals(&leases), LEASE)).await;
    assert!(renewed[0].is_ok(), "{renewed:?}");
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_is_replaced_before_the_lease_is_over() {
    if !redis_server_found("a_connection_that_died_without_a_word_is_replaced_before_the_lease_is_over") {
        return;
    }
    let server = Server::start(&[]);
    let proxy = TcpProxy::to(&server.url()).await;
    let owner = patient(&proxy);
    let token = grant(&owner, "s").await.token;
    let leases = [("s".into(), token)];
    let lease = Duration::from_secs(8);
    assert!(owner.renew(&renewals(&leases), lease).await[0].is_ok());
    proxy.freeze();
    let late = soon(owner.renew(&renewals(&leases), lease)).await.remove(0);
    assert_eq!(late.unwrap_err().kind(), Kind::Timeout);
    assert!(soon(owner.renew(&renewals(&leases), lease)).await[0].is_ok());
}

#[tokio::test]
async fn a_server_without_place_for_a_second_connection_renews_by_the_first() {
    if !redis_server_found("a_server_without_place_for_a_second_connection_renews_by_the_first") {
        return;
    }
    let server = Server::start(&["--maxclients", "1"]);
    // The test's own connections have ended by now, or will soon.
    let owner = backend(&server.url());
    persist(async || owner.ping().await).await.unwrap();
    let token = grant(&owner, "s").await.token;
    let renewed = soon(owner.renew(&renewals(&[("s".into(), token)]), LEASE)).await;
    assert!(renewed[0].is_ok(), "{renewed:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_second_connection_renews_by_the_first() {
    if !redis_server_found("a_server_that_does_not_answer_a_second_connection_renews_by_the_first") {
        return;
    }
    let server = Server::start(&[]);
    let proxy = TcpProxy::to(&server.url()).await;
    let patient = RedisConfig {
        operation_timeout: Duration::from_secs(120),
        connect_timeout: Duration::from_secs(120),
        ..config(&format!("redis://{}", proxy.address))
    };
    let owner = RedisBackend::new(&patient).unwrap();
    let token = grant(&owner, "s").await.token;
    // What a connection begins with.
    proxy.leave_unanswered("CLIENT");
    let renewed = soon(owner.renew(&renewals(&[("s".into(), token)]), LEASE)).await;
    assert!(renewed[0].is_ok(), "{renewed:?}");
}
