//! Where errors become responses.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderValue, StatusCode};
use milepost_broker::{LogError, ReportError, RequestError, Unavailable};
use milepost_hub::{Notice, WatchError};
use milepost_protocol::{InvalidJobId, InvalidUpdate, JobId, Problem, ProblemType};

use crate::log_throttle::LogThrottle;
use crate::request::id;

/// A problem that becomes a response.
#[derive(Clone)]
pub(crate) struct Refused(pub(crate) Box<Problem>, pub(crate) Option<NonZeroU32>);

pub(crate) type Outcome<T> = Result<T, Refused>;

impl Refused {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Problem::parameter(name, detail).into()
    }

    pub(crate) fn unknown_job(job: &JobId) -> Self {
        Self::new(
            ProblemType::UnknownJob,
            format!("{job} was never reported here, or was forgotten"),
        )
    }

    /// Tells the client when to retry, in whole seconds: after an hour at most.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).min(3_600);
        self.1 = u32::try_from(seconds).ok().and_then(NonZeroU32::new);
        self
    }

    pub(crate) fn json(&self) -> String {
        // A struct of strings and numbers: only I/O can fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// The detail of `unreadable-job`. The reason is for the operator, not for clients.
const UNREADABLE: &str = "states may be missing; the server's log says why";

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem), None)
    }
}

impl From<InvalidJobId> for Refused {
    fn from(invalid: InvalidJobId) -> Self {
        Problem::from(invalid).into()
    }
}

impl From<InvalidUpdate> for Refused {
    fn from(invalid: InvalidUpdate) -> Self {
        Problem::from(invalid).into()
    }
}

impl From<Unavailable> for Refused {
    fn from(unavailable: Unavailable) -> Self {
        warn_once_a_minute(&unavailable);
        // The text may name hosts and scripts, which are for the operator, not for clients.
        match unavailable {
            Unavailable::Backend(_) => {
                Self::new(ProblemType::BrokerUnavailable, "try again; the server's log says why")
            }
            Unavailable::Unreadable(_) => Self::new(ProblemType::UnreadableJob, UNREADABLE),
        }
    }
}

/// While the broker is down, every request fails. That is logged once a minute.
pub(crate) fn warn_once_a_minute(unavailable: &Unavailable) {
    static THROTTLE: LogThrottle = LogThrottle::new();
    if THROTTLE.admits(Instant::now()) {
        let request_id = id::current_text();
        tracing::warn!(%unavailable, request_id, "requests fail; this is logged once a minute");
    }
}

/// The problem that watchers are sent for a notice about their job, and its detail.
pub(crate) fn notice_problem(notice: Notice) -> (ProblemType, &'static str) {
    match notice {
        Notice::Unreadable => (ProblemType::UnreadableJob, UNREADABLE),
        Notice::Forgotten => (ProblemType::UnknownJob, "the job was deleted, or its ttl is over"),
    }
}

impl From<WatchError> for Refused {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Unavailable(unavailable) => unavailable.into(),
            WatchError::Full(max) => {
                let detail = format!("this instance watches as many jobs as it may: {max}");
                Self::new(ProblemType::ServerFull, detail)
            }
            WatchError::Notice(notice) => {
                let (problem, detail) = notice_problem(notice);
                Self::new(problem, detail)
            }
            WatchError::LogsFull(max) => {
                let detail =
                    format!("the memory for the logs of watched jobs is used up: {max} bytes");
                Self::new(ProblemType::ServerFull, detail)
            }
        }
    }
}

impl From<ReportError> for Refused {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Refused(refusal) => Problem::from(refusal).into(),
            ReportError::Parent(invalid) => InvalidUpdate::from(invalid).into(),
            ReportError::Full(_) => Self::new(ProblemType::BrokerFull, error.to_string()),
            ReportError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Problem::from(refusal).into(),
            RequestError::Full(_) => Self::new(ProblemType::BrokerFull, error.to_string()),
            RequestError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<LogError> for Refused {
    fn from(error: LogError) -> Self {
        match error {
            LogError::UnknownJob => Self::new(ProblemType::UnknownJob, error.to_string()),
            LogError::Full(_) => Self::new(ProblemType::BrokerFull, error.to_string()),
            LogError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(mut self) -> Response {
        self.0.instance = id::current_uri();
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let unknown_job = self.0.uri == ProblemType::UnknownJob.uri();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            || unknown_job
        {
            let seconds = self.1.map_or(1, NonZeroU32::get);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"milepost\""));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110, section 15.5.22; RFC 6455, section 4.2.2.
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}
