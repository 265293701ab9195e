//! The contract of [`Broker`](milepost_broker::Broker), run by the Redis broker at one server and in a Cluster.

mod support;

use std::sync::OnceLock;

use milepost_broker_contract::{Harness, Settings, children_contract, contract, health_contract};
use milepost_redis_servers::{Cluster, Server};

/// A server for each case.
async fn single(settings: Settings) -> Harness {
    let server = Server::start();
    support::redis(&settings, &server.url(), server).await
}

/// A Cluster of three primaries, shared by all cases: it takes some seconds to make.
async fn cluster(settings: Settings) -> Harness {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = tokio::task::block_in_place(|| CLUSTER.get_or_init(|| Cluster::start(0)));
    let hosts: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    support::redis(&settings, &format!("redis+cluster://{}", hosts.join(",")), ()).await
}

// `cargo xtask test` runs these, by the names of these modules, in a step of their own.
contract!(contract_of_one_server, crate::single);
contract!(contract_of_a_cluster, crate::cluster);
children_contract!(contract_of_one_server_children, crate::single);
children_contract!(contract_of_a_cluster_children, crate::cluster);
// In a Cluster, health does not change by time.
health_contract!(contract_of_one_server_health, crate::single);
