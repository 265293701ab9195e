use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does not answer, or cannot do it now; the text is the last error. The request may have taken effect.
    Unavailable(String),
    /// It answered with an error, such as `NOPERM` or `MISCONF`, or `WRONGTYPE` for a job whose keys another program has
    /// written. The same request for another job may succeed.
    Refused(String),
    /// Another program has written this job's keys: they hold a value of another type, bytes that are not UTF-8, or no state.
    /// Other jobs are not affected.
    Unreadable(String),
    /// It has no memory left (`maxmemory` with `noeviction`). The request had no effect.
    Full(String),
}

impl Failure {
    /// A failure to connect. Whatever the reason, the request had no effect.
    pub(crate) fn to_connect(error: &RedisError) -> Self {
        match Self::from(error) {
            Self::Refused(detail) | Self::Full(detail) | Self::Unreadable(detail) => {
                Self::Unavailable(detail)
            }
            unavailable @ Self::Unavailable(_) => unavailable,
        }
    }

    /// An unexpected reply: Redis sent something other than `what`.
    pub fn unexpected(what: &str) -> Self {
        Self::Unavailable(format!("Redis answered with something other than {what}"))
    }

    pub(crate) fn unreadable(what: &str) -> Self {
        Self::Unreadable(format!("the job's keys in Redis hold something other than {what}"))
    }

    /// An error from a script that works on one job. An error of the script itself is caused by the values of the job's keys.
    pub(crate) fn of_script(error: &RedisError) -> Self {
        let is_of_job = matches!(error.code(), Some("WRONGTYPE" | "ERR"));
        match Self::from(error) {
            Self::Refused(detail) if is_of_job => Self::Unreadable(detail),
            failure => failure,
        }
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        if error.code() == Some("OOM") {
            return Self::Full("Redis has reached its maxmemory".to_owned());
        }
        if error.is_timeout() {
            return Self::Unavailable("Redis did not answer in time".to_owned());
        }
        let detail = format!("Redis: {error}");
        let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        if is_answer && !spoils_connection(error) {
            Self::Refused(detail)
        } else {
            Self::Unavailable(detail)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(detail)
            | Self::Refused(detail)
            | Self::Unreadable(detail)
            | Self::Full(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for Failure {}

/// Whether a new connection, perhaps to another server, may succeed where this one failed.
pub(crate) fn spoils_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown
        ),
        // After a timeout the connection may be half-open. The scripts' deadline makes late replies harmless.
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound | ErrorKind::AuthenticationFailed => {
            true
        }
        _ => error.is_unrecoverable_error() || matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
    }
}

/// Whether the server refused a write without any effect, so that another server may accept it.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
