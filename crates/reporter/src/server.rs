use std::fmt;

/// Why a URL is not that of a Milepost server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It is no URL.
    Malformed {
        /// What was given.
        given: String,
    },
    /// It begins with something else than `http://`, `https://` or `redis://`.
    Scheme {
        /// What was given.
        given: String,
    },
    /// It names no host.
    NoHost {
        /// What was given.
        given: String,
    },
    /// It has a query, which an address to which paths are added cannot have.
    Query {
        /// What was given.
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
        }
    }
}

impl std::error::Error for InvalidUrl {}

/// For people to read: what comes before the host is nobody's business.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}
