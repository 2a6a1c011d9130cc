//! The promises of every backend, on each topology.

use super::super::testing::{Server, redis_server_found};
use super::topologies::{cluster_url, start_cluster};
use super::*;
use crate::backend::contract;

#[tokio::test]
async fn one_server_keeps_the_promises() {
    if !redis_server_found("one_server_keeps_the_promises") {
        return;
    }
    let server = Server::start(&[]);
    contract::run(&backend(&server.url())).await;
    contract::closed(&backend(&server.url())).await;
}

#[tokio::test]
async fn a_cluster_keeps_the_promises() {
    if !redis_server_found("a_cluster_keeps_the_promises") {
        return;
    }
    let servers = start_cluster(&[]);
    contract::run(&backend(&cluster_url(&servers))).await;
    contract::closed(&backend(&cluster_url(&servers))).await;
}
