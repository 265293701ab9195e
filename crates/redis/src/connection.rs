use std::time::Duration;

use milepost_protocol::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client as NodeClient, ConnectionInfo, RedisError, RedisResult};

use crate::Address;
use crate::address::Topology;

/// How long connecting, and each reply, may take by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that any number of callers can share.
#[derive(Clone)]
pub(crate) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Connects. Returns the connection, and by how many milliseconds the server's clock is ahead of this machine's.
pub(crate) async fn connect(
    address: &Address,
    patience: Duration,
) -> RedisResult<(Connection, i64)> {
    if address.tls {
        choose_cryptography();
    }
    let mut connection = if address.is_cluster() {
        let client = ClusterClientBuilder::new(address.nodes()?)
            .connection_timeout(patience)
            .response_timeout(patience)
            .overall_response_timeout(Some(patience))
            .retries(3)
            .build()?;
        Connection::Cluster(client.get_async_connection().await?)
    } else {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let client = NodeClient::open(primary(address).await?)?;
        let node = client.get_multiplexed_async_connection_with_config(&config).await?;
        Connection::Node(node)
    };
    let time = redis::cmd("TIME");
    let (seconds, micros): (i64, i64) = match &mut connection {
        Connection::Node(node) => time.query_async(node).await?,
        Connection::Cluster(cluster) => time.query_async(cluster).await?,
    };
    // Computed as if the reply had taken no time. The result is rather too small, so a deadline never lies after the caller's.
    let ahead = seconds * 1_000 + micros / 1_000 - wall_clock();
    Ok((connection, ahead))
}

/// The server that accepts writes.
pub(crate) async fn primary(address: &Address) -> RedisResult<ConnectionInfo> {
    match &address.topology {
        Topology::Sentinel { service } => {
            let mut sentinel = sentinel(address, service)?;
            let client = sentinel.async_get_client().await?;
            Ok(client.get_connection_info().clone())
        }
        _ => address.nodes()?.into_iter().next().ok_or_else(not_connected),
    }
}

fn sentinel(address: &Address, service: &str) -> RedisResult<SentinelClient> {
    let Address { hosts, login, sentinel_login, tls, db, .. } = address;
    let sentinels = hosts.iter().map(|(host, port)| address.address(host, *port));
    let mut builder = SentinelClientBuilder::new(sentinels, service, SentinelServerType::Master)?
        .set_client_to_redis_db(*db);
    if *tls {
        builder = builder
            .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(redis::TlsMode::Secure);
    }
    if let Some(username) = &login.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &login.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(username) = &sentinel_login.username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &sentinel_login.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder.build()
}

pub(crate) fn not_connected() -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "there is no connection"))
}

/// This machine's clock, in milliseconds since 1970.
pub(crate) fn wall_clock() -> i64 {
    Timestamp::now().as_millis()
}

/// Chooses the cryptography provider for TLS. The redis crate leaves the choice to rustls, which panics in a program that links
/// more than one provider. If the program has chosen one already, that choice stays.
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
