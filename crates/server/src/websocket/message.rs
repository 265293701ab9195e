//! The server's messages to a watcher besides states: `spec/README.md`, sections 5 and 6. `described.rs` compares them
//! with `spec/asyncapi.yaml`.

use milepost_protocol::{JobId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A message to a watcher. Its name on the wire is in the field `type`, which is the first.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message<'a> {
    Connected {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<&'a JobId>,
        message: &'static str,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        known: Option<bool>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        #[schema(value_type = Option<Vec<String>>)]
        ignored: &'a [String],
    },
    Ping {
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<&'a JobId>,
        timestamp: String,
    },
    Pong {
        timestamp: String,
    },
    Subscribed {
        job_id: &'a JobId,
        known: bool,
        timestamp: String,
    },
    Unsubscribed {
        job_id: &'a JobId,
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<bool>,
        timestamp: String,
    },
    TokenExpiring {
        r#in: u64,
        timestamp: String,
    },
    Authenticated {
        #[schema(required = true)]
        expires_in: Option<u64>,
        timestamp: String,
    },
    Error {
        problem: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<bool>,
        timestamp: String,
    },
}

impl Message<'_> {
    fn json(&self) -> String {
        // Strings and numbers: only I/O can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The first message; `job` and whether it is known, on a connection of one job. `ignored` are the parameters that the
/// server does not know.
pub(crate) fn connected(job: Option<(&JobId, bool)>, ignored: &[String], now: Timestamp) -> String {
    Message::Connected {
        job_id: job.map(|(job, _)| job),
        message: "Connected to job progress stream",
        timestamp: now.to_string(),
        known: job.map(|(_, known)| known),
        ignored,
    }
    .json()
}

/// The keepalive.
pub(crate) fn ping(job: Option<&JobId>, now: Timestamp) -> String {
    Message::Ping { message: "keepalive", job_id: job, timestamp: now.to_string() }.json()
}

/// The answer to a client's ping message.
pub(crate) fn pong(now: Timestamp) -> String {
    Message::Pong { timestamp: now.to_string() }.json()
}

/// The answer to `subscribe`.
pub(crate) fn subscribed(job: &JobId, known: bool, now: Timestamp) -> String {
    Message::Subscribed { job_id: job, known, timestamp: now.to_string() }.json()
}

/// The answer to `unsubscribe`. `log`: from the job's log.
pub(crate) fn unsubscribed(job: &JobId, log: bool, now: Timestamp) -> String {
    let log = log.then_some(true);
    Message::Unsubscribed { job_id: job, log, timestamp: now.to_string() }.json()
}

/// The credential expires in this many seconds.
pub(crate) fn token_expiring(seconds: u64, now: Timestamp) -> String {
    Message::TokenExpiring { r#in: seconds, timestamp: now.to_string() }.json()
}

/// The answer to `auth`: the credential holds for this many seconds, or until the key is revoked.
pub(crate) fn authenticated(seconds: Option<u64>, now: Timestamp) -> String {
    Message::Authenticated { expires_in: seconds, timestamp: now.to_string() }.json()
}

/// What went wrong; `job` as the client named it. `log`: with the job's log.
pub(crate) fn error(
    problem: &str,
    message: &str,
    job: Option<&str>,
    log: bool,
    now: Timestamp,
) -> String {
    let log = log.then_some(true);
    Message::Error { problem, message, job_id: job, log, timestamp: now.to_string() }.json()
}
