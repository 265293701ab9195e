use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{JobId, State};

/// What a watcher learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job is now in this state.
    State(Arc<State>),
    /// The server has no state of this job: nobody has reported it yet, or it was forgotten. Said after each
    /// connection; the job stays watched.
    Unknown(JobId),
    /// The server refuses to let this job be watched; it is not watched any more. Only where many jobs share
    /// a socket: elsewhere [`Connection::Refused`] says so.
    JobRefused {
        /// The job.
        job: JobId,
        /// The problem's name (`spec/README.md`, section 11), such as `too-many-subscriptions`.
        problem: String,
        /// What is wrong, for people.
        message: String,
    },
    /// The connection changed. It says nothing about the jobs.
    Connection(Connection),
}

impl Event {
    /// The job that it is about, if it is about one.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::State(state) => Some(state.job()),
            Self::Unknown(job) | Self::JobRefused { job, .. } => Some(job),
            Self::Connection(_) => None,
        }
    }
}

/// Whether news can arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The server has answered.
    Connected,
    /// The connection is lost, or could not be made. The next attempt is made after `retry_in`.
    Lost {
        /// Why.
        reason: Lost,
        /// How long from now to the next attempt.
        retry_in: Duration,
    },
    /// It is over as asked for: every job has ended, or the server closed with 1000. No event follows.
    Done,
    /// The server refuses and would refuse again, so no further attempt is made. No event follows.
    Refused(Refused),
}

impl Connection {
    /// Whether no event follows.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Refused(_))
    }
}

/// Why a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It could not be made; the text says why.
    Unreachable(String),
    /// The server, or what stands before it, answered with this HTTP status instead of a WebSocket.
    NotNow {
        /// The HTTP status.
        status: u16,
        /// What the answer says, for people; may be empty.
        detail: String,
    },
    /// The server closed it with a code that allows to come back.
    Closed {
        /// The close code; none if it named none.
        code: Option<u16>,
        /// Why, for people; may be empty.
        reason: String,
    },
    /// It broke off; the text says how.
    Broken(String),
    /// Nothing was heard for so long.
    Silent(Duration),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(detail) => write!(f, "the server cannot be reached: {detail}"),
            Self::NotNow { status, detail } if detail.is_empty() => {
                write!(f, "the server answered with HTTP status {status}")
            }
            Self::NotNow { status, detail } => {
                write!(f, "the server answered with HTTP status {status}: {detail}")
            }
            Self::Closed { code: Some(code), reason } if reason.is_empty() => {
                write!(f, "the server closed the connection with {code}")
            }
            Self::Closed { code: Some(code), reason } => {
                write!(f, "the server closed the connection with {code}: {reason}")
            }
            Self::Closed { code: None, .. } => f.write_str("the server closed the connection"),
            Self::Broken(detail) => write!(f, "the connection broke: {detail}"),
            Self::Silent(after) => write!(f, "nothing was heard for {after:?}"),
        }
    }
}

/// Why a server will not have this watcher, now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It closed with this code (`spec/README.md`, section 7).
    Closed {
        /// The close code.
        code: u16,
        /// What the server said is wrong.
        reason: String,
    },
    /// It answered the first connection with this HTTP status.
    Http {
        /// The HTTP status.
        status: u16,
        /// What the answer says, for people; may be empty.
        detail: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } => write!(f, "the server refused with {code}: {reason}"),
            Self::Http { status, detail } if detail.is_empty() => {
                write!(f, "the server refused with HTTP status {status}")
            }
            Self::Http { status, detail } => {
                write!(f, "the server refused with HTTP status {status}: {detail}")
            }
        }
    }
}

impl std::error::Error for Refused {}
