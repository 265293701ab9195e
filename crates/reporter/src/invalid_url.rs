use std::fmt;

use milepost_protocol::InvalidCredential;

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
    /// It is one of TLS, and the authorities to check its certificate by cannot be read.
    Certificates {
        /// What is wrong.
        reason: String,
    },
    /// It is a URL of Redis that is not valid.
    Redis {
        /// What is wrong.
        reason: String,
    },
    /// The key or token that would be sent there has a character that no header may have.
    Token {
        /// Where it comes from: `MILEPOST_TOKEN`, or `token`.
        name: &'static str,
    },
    /// It is a URL of Redis, and the program was built without the feature `redis` of this crate.
    WithoutRedis {
        /// The given URL.
        given: String,
    },
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
            Self::Token { name } => write!(f, "{name} has {InvalidCredential}"),
            Self::Redis { reason } | Self::Certificates { reason } => f.write_str(reason),
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
