use std::time::Duration;

use milepost_protocol::JobId;
#[cfg(not(feature = "redis"))]
use milepost_protocol::without_password;
use serde_json::Value;

use crate::http::Http;
use crate::invalid_url::InvalidUrl;
#[cfg(feature = "redis")]
use crate::redis::Redis;
use crate::transport::{Failure, Transport};

/// The server that a URL names. Creating it does not connect.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    Http(Http),
    #[cfg(feature = "redis")]
    Redis(Redis),
}

impl Server {
    /// The token is sent instead of the environment's. Redis takes none.
    ///
    /// # Errors
    /// If it is neither `http(s)://host[:port][/path]` nor a URL of Redis, or the token cannot be sent.
    pub(crate) fn at(url: &str, token: Option<&str>) -> Result<Self, InvalidUrl> {
        if !is_redis(url) {
            return Http::new(url, token).map(Self::Http);
        }
        #[cfg(feature = "redis")]
        return Redis::new(url).map(Self::Redis);
        #[cfg(not(feature = "redis"))]
        Err(InvalidUrl::WithoutRedis { given: without_password(url) })
    }

    /// A transport to the server with this `timeout` for each request.
    #[cfg_attr(
        not(feature = "redis"),
        expect(unused_variables, reason = "HTTP takes the timeout with each request")
    )]
    pub(crate) fn transport(self, timeout: Duration) -> Box<dyn Transport> {
        match self {
            Self::Http(http) => Box::new(http),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Box::new(redis.reporting(timeout)),
        }
    }

    /// The server, if it takes jobs' logs.
    pub(crate) fn http(&self) -> Option<Http> {
        match self {
            Self::Http(http) => Some(http.clone()),
            #[cfg(feature = "redis")]
            Self::Redis(_) => None,
        }
    }

    /// A job's state; `None` if the server does not know the job.
    ///
    /// # Errors
    /// If there is no answer within `timeout`, or it is not a state.
    pub(crate) fn state(&self, job: &JobId, timeout: Duration) -> Result<Option<Value>, Failure> {
        match self {
            Self::Http(http) => http.state(job, timeout),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.state(job, timeout),
        }
    }
}

/// Whether a URL names a Redis or Valkey: with or without TLS, alone, under Sentinel or in a Cluster.
fn is_redis(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.starts_with("redis") || scheme.starts_with("valkey")
}
