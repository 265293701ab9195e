//! The server's messages to a watcher besides states: `spec/README.md`, sections 5 and 6. Job ids, positions
//! and timestamps need no escaping.

use milepost_protocol::{JobId, Timestamp};

/// The first message; `job` and whether it is known, on a connection of one job. `ignored` are the parameters that the
/// server does not know.
pub(crate) fn connected(job: Option<(&JobId, bool)>, ignored: &[String], now: Timestamp) -> String {
    const MESSAGE: &str = "Connected to job progress stream";
    let ignored = match ignored {
        [] => String::new(),
        names => format!(r#","ignored":{}"#, serde_json::json!(names)),
    };
    match job {
        Some((job, known)) => format!(
            r#"{{"type":"connected","job_id":"{job}","message":"{MESSAGE}","timestamp":"{now}","known":{known}{ignored}}}"#
        ),
        None => format!(r#"{{"type":"connected","message":"{MESSAGE}","timestamp":"{now}"}}"#),
    }
}

/// The keepalive.
pub(crate) fn ping(job: Option<&JobId>, now: Timestamp) -> String {
    match job {
        Some(job) => format!(
            r#"{{"type":"ping","message":"keepalive","job_id":"{job}","timestamp":"{now}"}}"#
        ),
        None => format!(r#"{{"type":"ping","message":"keepalive","timestamp":"{now}"}}"#),
    }
}

/// The answer to a client's ping message.
pub(crate) fn pong(now: Timestamp) -> String {
    format!(r#"{{"type":"pong","timestamp":"{now}"}}"#)
}

/// The answer to `subscribe`.
pub(crate) fn subscribed(job: &JobId, known: bool, now: Timestamp) -> String {
    format!(r#"{{"type":"subscribed","job_id":"{job}","known":{known},"timestamp":"{now}"}}"#)
}

/// The answer to `unsubscribe`.
pub(crate) fn unsubscribed(job: &JobId, now: Timestamp) -> String {
    format!(r#"{{"type":"unsubscribed","job_id":"{job}","timestamp":"{now}"}}"#)
}

/// The credential ends in so many seconds.
pub(crate) fn token_expiring(seconds: f64, now: Timestamp) -> String {
    format!(r#"{{"type":"token_expiring","in":{seconds},"timestamp":"{now}"}}"#)
}

/// The answer to `auth`; for so many seconds, or until the key is revoked.
pub(crate) fn authenticated(seconds: Option<f64>, now: Timestamp) -> String {
    let seconds = seconds.map_or_else(|| "null".to_owned(), |seconds| seconds.floor().to_string());
    format!(r#"{{"type":"authenticated","expires_in":{seconds},"timestamp":"{now}"}}"#)
}

/// What went wrong; `job` as the client named it.
pub(crate) fn error(problem: &str, message: &str, job: Option<&str>, now: Timestamp) -> String {
    let mut error = serde_json::json!({
        "type": "error", "problem": problem, "message": message, "timestamp": now.to_string(),
    });
    if let Some(job) = job {
        error["job_id"] = job.into();
    }
    error.to_string()
}
