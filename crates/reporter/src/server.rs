use std::fmt;
use std::time::Duration;

use milepost_protocol::JobId;
use serde_json::Value;

use crate::http::Http;
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

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It is not a URL.
    Malformed {
        /// The given text.
        given: String,
    },
    /// It does not begin with `http://`, `https://`, `redis://` or another form of the latter.
    Scheme {
        /// The given URL.
        given: String,
    },
    /// It names no host.
    NoHost {
        /// The given URL.
        given: String,
    },
    /// It has a query, but paths are appended to the address.
    Query {
        /// The given URL.
        given: String,
    },
    /// It is a URL of Redis that is not valid.
    Redis {
        /// What is wrong.
        reason: String,
    },
    /// It is a URL of Redis, and the program was built without the feature `redis` of this crate.
    WithoutRedis {
        /// The given URL.
        given: String,
    },
}

impl Server {
    /// # Errors
    /// If it is neither `http(s)://host[:port][/path]` nor a URL of Redis.
    pub(crate) fn at(url: &str) -> Result<Self, InvalidUrl> {
        if !is_redis(url) {
            return Http::new(url).map(Self::Http);
        }
        #[cfg(feature = "redis")]
        return Redis::new(url).map(Self::Redis);
        #[cfg(not(feature = "redis"))]
        Err(InvalidUrl::WithoutRedis { given: without_password(url) })
    }

    /// Sends this token instead of the environment's. Redis takes none.
    pub(crate) fn with_token(self, token: Option<String>) -> Self {
        match (self, token) {
            (Self::Http(http), Some(token)) => Self::Http(http.with_token(token)),
            (server, _) => server,
        }
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

/// For messages: without the part before the host, which may be a password.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { given } => write!(f, "{given:?} is not a URL"),
            Self::Scheme { given } => {
                write!(f, "{given:?} does not begin with http://, https:// or redis://")
            }
            Self::NoHost { given } => write!(f, "{given:?} names no host"),
            Self::Query { given } => {
                write!(f, "{given:?} has a query; a server's address has none")
            }
            Self::Redis { reason } => f.write_str(reason),
            Self::WithoutRedis { given } => {
                write!(
                    f,
                    "{given:?} is a Redis server, and this program was built without the feature \
                     \"redis\" of milepost-reporter"
                )
            }
        }
    }
}

impl std::error::Error for InvalidUrl {}
