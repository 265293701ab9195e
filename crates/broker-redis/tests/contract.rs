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

/// A Cluster of three primaries, shared by all cases because it takes seconds to start.
async fn cluster(settings: Settings) -> Harness {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    within(&CLUSTER, settings).await
}

/// A Cluster of their own for the cases about children. Any instance rolls up any parent, with its own retention, and the
/// instances of the cases about expiry keep jobs for only a second.
async fn cluster_for_children(settings: Settings) -> Harness {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    within(&CLUSTER, settings).await
}

/// A Cluster of their own for the cases about health, so that instances with other settings end none of their jobs.
async fn cluster_for_health(settings: Settings) -> Harness {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    within(&CLUSTER, settings).await
}

async fn within(cluster: &OnceLock<Cluster>, settings: Settings) -> Harness {
    let cluster = tokio::task::block_in_place(|| cluster.get_or_init(|| Cluster::start(0)));
    let hosts: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    support::redis(&settings, &format!("redis+cluster://{}", hosts.join(",")), ()).await
}

// `cargo xtask test` runs these in a step of their own, by the names of these modules.
contract!(contract_of_one_server, crate::single);
contract!(contract_of_a_cluster, crate::cluster);
children_contract!(contract_of_one_server_children, crate::single);
children_contract!(contract_of_a_cluster_children, crate::cluster_for_children);
health_contract!(contract_of_one_server_health, crate::single);
health_contract!(contract_of_a_cluster_health, crate::cluster_for_health);
