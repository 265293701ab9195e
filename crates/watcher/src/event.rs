use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{JobId, State};

/// What a watcher reports to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job is now in this state.
    State(Arc<State>),
    /// The server has no state of this job: it was not reported yet, or was forgotten. Reported after each connect, and when a job is
    /// forgotten before it ended: a program that waits for its end should give up a minute later. The job stays watched.
    Unknown(JobId),
    /// The server rejected the subscription to this job, which is no longer watched. Only where many jobs share a socket:
    /// elsewhere the event is [`Connection::Rejected`]. If the server cannot serve the job for the moment, the job stays watched and
    /// the watcher subscribes again.
    JobRejected {
        /// The job.
        job: JobId,
        /// The problem's name (`spec/README.md`, section 11), such as `too-many-subscriptions`.
        problem: String,
        /// What is wrong, for people.
        message: String,
    },
    /// The server cannot read this job now, so that states may be missing. The job stays watched, and its states follow when
    /// the server can read it.
    Unreadable {
        /// The job.
        job: JobId,
        /// What is wrong, for people.
        message: String,
    },
    /// The connection changed. This says nothing about the jobs.
    Connection(Connection),
}

impl Event {
    /// The job that the event is about, if it is about one.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::State(state) => Some(state.job()),
            Self::Unknown(job) | Self::JobRejected { job, .. } | Self::Unreadable { job, .. } => {
                Some(job)
            }
            Self::Connection(_) => None,
        }
    }
}

/// Whether states can arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The server has answered.
    Connected,
    /// The connection is lost, or could not be made. The next attempt is made after `retry_in`.
    Lost {
        /// Why.
        reason: ConnectionError,
        /// How long from now to the next attempt.
        retry_in: Duration,
    },
    /// Closed as requested: every job has ended, or the server closed with 1000. No event follows.
    Done,
    /// The server rejected the watcher and would again, so no further attempt is made. No event follows.
    Rejected(Rejection),
}

impl Connection {
    /// Whether no event follows.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Rejected(_))
    }
}

/// Why a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// No connection could be made; the text says why.
    Unreachable(String),
    /// The server, or a proxy, answered with this HTTP status instead of a WebSocket.
    HttpStatus {
        /// The HTTP status.
        status: u16,
        /// The text of the response, for people; may be empty.
        detail: String,
    },
    /// The server closed the connection with a code that allows reconnecting.
    Closed {
        /// The close code, if the close frame had one.
        code: Option<u16>,
        /// Why, for people; may be empty.
        reason: String,
    },
    /// The connection broke; the text says how.
    Broken(String),
    /// Nothing arrived for this long.
    Timeout(Duration),
    /// The function that supplies tokens failed; the text says how.
    NoToken(String),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(detail) => write!(f, "the server cannot be reached: {detail}"),
            Self::HttpStatus { status, detail } if detail.is_empty() => {
                write!(f, "the server answered with HTTP status {status}")
            }
            Self::HttpStatus { status, detail } => {
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
            Self::NoToken(detail) => write!(f, "there is no token: {detail}"),
            Self::Timeout(after) => write!(f, "nothing arrived for {after:?}"),
        }
    }
}

/// Why a server rejects this watcher for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It closed the connection with this code (`spec/README.md`, section 7).
    Closed {
        /// The close code.
        code: u16,
        /// The server's explanation.
        reason: String,
    },
    /// It answered the first connection attempt with this HTTP status.
    Http {
        /// The HTTP status.
        status: u16,
        /// The text of the response, for people; may be empty.
        detail: String,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } => {
                write!(f, "the server rejected the watcher with {code}: {reason}")
            }
            Self::Http { status, detail } if detail.is_empty() => {
                write!(f, "the server rejected the watcher with HTTP status {status}")
            }
            Self::Http { status, detail } => {
                write!(f, "the server rejected the watcher with HTTP status {status}: {detail}")
            }
        }
    }
}

impl std::error::Error for Rejection {}
