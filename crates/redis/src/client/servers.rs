use redis::{ConnectionInfo, Value};

use super::Client;
use crate::Failure;
use crate::answer::bytes;
use crate::call::Call;
use crate::connection::primary;
use crate::slots::Slots;

impl Client {
    /// The reply of each server to `INFO`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn info(&self) -> Result<Vec<String>, Failure> {
        let value: Value = self.connection.query(&redis::cmd("INFO")).await?;
        let answers = match value {
            // A Cluster answers for each of its servers.
            Value::Map(answers) => answers.into_iter().map(|(_, info)| info).collect(),
            value => vec![value],
        };
        Ok(answers
            .into_iter()
            .filter_map(bytes)
            .filter_map(|info| String::from_utf8(info).ok())
            .collect())
    }

    /// Writes to the server that has `channel`, reads jobs there, and publishes `token`.
    ///
    /// # Errors
    /// When the server accepts no writes, or does not answer.
    pub async fn probe(&self, channel: &str, token: &str) -> Result<(), Failure> {
        self.run(&Call::probe(self.names, channel, token)).await.map(|_| ())
    }

    /// Checks that a server answers. In a Cluster that is any primary; the one that has a certain job may still be down.
    ///
    /// # Errors
    /// When none answers.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.connection.ping().await
    }

    /// Which server has which slots.
    ///
    /// # Errors
    /// When none answers.
    pub async fn slots(&self) -> Result<Slots, Failure> {
        if self.address().is_cluster() {
            let value: Value = self.connection.query(redis::cmd("CLUSTER").arg("SLOTS")).await?;
            return Slots::parse(&value).ok_or_else(|| Failure::unexpected("CLUSTER SLOTS"));
        }
        let primary = primary(self.address()).await.map_err(|error| Failure::from(&error))?;
        Slots::one(primary.addr()).ok_or_else(|| Failure::unexpected("a host and a port"))
    }

    /// How to connect to one server of the Cluster, or to the only server.
    ///
    /// # Errors
    /// When `host` and `port` are no valid address.
    pub fn node(&self, host: &str, port: u16) -> Result<ConnectionInfo, Failure> {
        let nodes = self.address().nodes().map_err(|error| Failure::from(&error))?;
        let settings = nodes.into_iter().next().map(|node| node.redis_settings().clone());
        let info =
            redis::IntoConnectionInfo::into_connection_info(self.address().address(host, port))
                .map_err(|error| Failure::from(&error))?;
        Ok(info.set_redis_settings(settings.unwrap_or_default()))
    }
}
