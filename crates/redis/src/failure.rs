use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does not answer, or cannot do it now: what it said last. Whether it was done is not known.
    Unavailable(String),
    /// It is there, and answered with an error, such as `NOPERM`, `MISCONF`, or `WRONGTYPE` for a job whose keys somebody
    /// else has written. Another job's may be done.
    Refused(String),
    /// What lies under this job's keys is not what Milepost keeps there: a value of another type, bytes that are not
    /// UTF-8, or no state. Somebody else has written it. Other jobs are not concerned.
    Unreadable(String),
    /// It has no memory left (`maxmemory` with `noeviction`). Nothing was done.
    Full(String),
}

impl Failure {
    /// Without a connection nothing is done, whatever the reason.
    pub(crate) fn to_connect(error: &RedisError) -> Self {
        match Self::from(error) {
            Self::Refused(detail) | Self::Full(detail) | Self::Unreadable(detail) => {
                Self::Unavailable(detail)
            }
            unavailable @ Self::Unavailable(_) => unavailable,
        }
    }

    /// Redis answered with something else than `what`.
    pub fn nonsense(what: &str) -> Self {
        Self::Unavailable(format!("Redis answered with something else than {what}"))
    }

    pub(crate) fn unreadable(what: &str) -> Self {
        Self::Unreadable(format!("the job's keys in Redis hold something else than {what}"))
    }

    /// The same, where a script that concerns one job answered it: an error of the script itself comes from what lies
    /// under the job's keys.
    pub(crate) fn of_script(error: &RedisError) -> Self {
        let is_jobs = matches!(error.code(), Some("WRONGTYPE" | "ERR"));
        match Self::from(error) {
            Self::Refused(detail) if is_jobs => Self::Unreadable(detail),
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
        let said = format!("Redis: {error}");
        let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        if is_answer && !spoils_connection(error) {
            Self::Refused(said)
        } else {
            Self::Unavailable(said)
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

/// Whether another connection, perhaps to another server, may do better than the one that said this.
pub(crate) fn spoils_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown
        ),
        // A timeout too: the connection may be half-open. Late answers cannot harm, see the scripts' deadline.
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound | ErrorKind::AuthenticationFailed => {
            true
        }
        _ => error.is_unrecoverable_error() || matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
    }
}

/// Whether the server has refused it untouched, and another may take it.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
