//! Requests to a job's worker: `spec/README.md`, section 16.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{self, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{StatusCode, Version};
use milepost_broker::Reported;
use milepost_hub::{Mode, WatchError};
use milepost_protocol::{
    Action, Attribute, JobId, MAX_REQUEST_TEXT_BYTES, Position, ProblemType, Request, Requested,
    State as JobState, Status, Timestamp, Update,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::accepted::{Accepted, requested};
use crate::access::foreign_page::NotForeign;
use crate::access::{Ending, Grant};
use crate::instance::Instance;
use crate::limits::Meter;
use crate::openapi;
use crate::request::body;
use crate::request::headers::Unconditional;
use crate::request::parameter::{self, NamedJob, NoParameters};
use crate::response::json;
use crate::response::problem::{Outcome, Refused};

/// More than a request may have.
const MAX_BODY_BYTES: usize = 4_096;

/// How long a worker must have ignored a request to cancel, or must have been silent if it takes none, before an operator may end
/// its job.
const ABANDON_AFTER: Duration = Duration::from_secs(300);

/// A request to a job's worker.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"action": "cancel", "by": "alice", "reason": "wrong input"})))]
pub(crate) struct Requesting {
    /// `cancel`, `pause` or `resume`; or `abandon`, which ends a job that was requested to cancel at least five minutes
    /// ago, or that takes no requests and has not been reported for five minutes.
    action: String,
    /// Who requests it, for people.
    #[schema(max_length = 256, nullable = false)]
    by: Option<String>,
    /// Why, for people.
    #[schema(max_length = 256, nullable = false)]
    reason: Option<String>,
}

/// The response to a worker that waits for requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pending {
    status: Status,
    #[schema(minimum = 1)]
    attempt: u32,
    position: Position,
    /// The latest request in this attempt; `null` if there is none.
    #[schema(value_type = Option<Requested<'_>>, required = true)]
    requested: Option<Box<RawValue>>,
}

/// Request something of a job's worker
///
/// From the response's position on, the state has the request. The worker decides. A repeated request changes nothing.
#[utoipa::path(
    post, path = "/jobs/{job_id}/requests", operation_id = "request", tag = "Requesting",
    params(openapi::JobPath),
    request_body(content = Requesting),
    responses((status = 202, description = "The state has the request.", body = Accepted), openapi::RequestRefused),
)]
pub(crate) async fn request(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    NotForeign(grant): NotForeign,
    _: NoParameters,
    _: Unconditional,
    meter: Meter,
    request: extract::Request,
) -> Outcome<Response> {
    let (Parts { headers, .. }, body) = request.into_parts();
    meter.admit()?;
    meter.spend(1, MAX_BODY_BYTES);
    let job = JobId::parse(&job)?;
    let too_large = ProblemType::UpdateTooLarge;
    let body = body::read(&headers, body, MAX_BODY_BYTES, too_large, &instance).await?;
    let requesting: Requesting = serde_json::from_slice(&body.bytes).map_err(|error| {
        let (problem, what) = if error.is_data() {
            (ProblemType::InvalidParameter, "the body is not a request: ")
        } else {
            (ProblemType::InvalidJson, "")
        };
        Refused::new(problem, format!("{what}{error}"))
    })?;
    for (name, text) in [("by", &requesting.by), ("reason", &requesting.reason)] {
        let bytes = text.as_ref().map_or(0, String::len);
        if bytes > MAX_REQUEST_TEXT_BYTES {
            let detail = format!("has {bytes} bytes; at most {MAX_REQUEST_TEXT_BYTES} are allowed");
            return Err(Refused::parameter(name, detail));
        }
    }
    let (reported, requested) = if requesting.action == "abandon" {
        (abandon(&instance, &job, requesting).await?, "abandon")
    } else {
        let action = Action::from_name(&requesting.action).ok_or_else(|| {
            let detail = format!(
                "is {:?}; it must be one of cancel, pause, resume, abandon",
                requesting.action
            );
            Refused::parameter("action", detail)
        })?;
        let Requesting { by, reason, .. } = requesting;
        (instance.broker.request(&job, Request { action, by, reason }).await?, action.as_str())
    };
    instance.audit.record(&grant, requested, &job);
    Ok((StatusCode::ACCEPTED, json(&Accepted::from(&reported))).into_response())
}

/// Ends a job whose worker did not answer, or did not report, for five minutes. The worker's own end wins if it comes first.
async fn abandon(instance: &Instance, job: &JobId, by: Requesting) -> Outcome<Reported> {
    let state = instance.broker.state(job).await?.ok_or_else(|| Refused::unknown_job(job))?;
    check_patience(&state, instance.clock.now())?;
    let who = by.by.map(|by| format!(" by {by}")).unwrap_or_default();
    let why = by.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let update = json!({
        "status": "cancelled",
        "attempt": state.attempt(),
        "message": format!("Abandoned{who}, since its worker did not answer{why}"),
    });
    let update = Update::parse(Some(job), update.to_string().as_bytes())?;
    Ok(instance.broker.report(update).await?)
}

/// Refuses to abandon a job whose worker still has time to cancel, or to report. The broker refuses a job that has ended.
fn check_patience(state: &JobState, now: Timestamp) -> Outcome<()> {
    let takes_requests = state.attribute(Attribute::Cancellable) == Some("true");
    let since = if takes_requests {
        let requested = state.requested();
        let requested = requested.filter(|_| state.requested_action() == Some(Action::Cancel));
        requested.and_then(requested_at)
    } else {
        state.view().last_seen_at.and_then(|at| Timestamp::parse(&at))
    };
    let waited = since.map(|since| now.since(since));
    if state.status().is_end() || waited.is_some_and(|waited| waited >= ABANDON_AFTER) {
        return Ok(());
    }
    let left = ABANDON_AFTER.saturating_sub(waited.unwrap_or_default()).as_secs() + 1;
    let detail = match waited {
        Some(_) if takes_requests => {
            format!("its worker may still answer the request to cancel for {left} s")
        }
        None if takes_requests => "request to cancel the job before you abandon it".to_owned(),
        _ => format!(
            "its worker takes no requests; if it stays silent, the job can be abandoned in {left} s"
        ),
    };
    Err(Refused::new(ProblemType::NotCancellable, detail))
}

fn requested_at(requested: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Requested {
        at: String,
    }
    let requested: Requested = serde_json::from_str(requested).ok()?;
    Timestamp::parse(&requested.at)
}

/// The latest request to a job's worker
///
/// For workers. The response is held for `wait` seconds, until there is another request than the one at `after`, or the attempt
/// has ended. It ends with 404 if the job is forgotten.
#[utoipa::path(
    get, path = "/jobs/{job_id}/requests", operation_id = "requests", tag = "Requesting",
    params(openapi::JobPath, openapi::WaitParam, openapi::AfterRequestParam),
    responses((status = 200, description = "The latest request.", body = Pending), openapi::PollRefused),
)]
pub(crate) async fn pending(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    version: Version,
    grant: Grant,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    let (mut wait, mut after) = (Duration::ZERO, None);
    for (name, value) in parameter::pairs(query.as_deref(), &["wait", "after"])? {
        match name.as_str() {
            "wait" => wait = parameter::wait_seconds(&value)?,
            "after" => {
                let moment = Timestamp::parse(&value).ok_or_else(|| {
                    Refused::parameter(
                        "after",
                        format!("is {value:?}; it must be the at of a request"),
                    )
                })?;
                after = Some(moment);
            }
            _ => {}
        }
    }
    let is_newer = |state: &JobState| {
        state.status().is_end() || state.requested().and_then(requested_at) != after
    };
    let mut state = instance.broker.state(&job).await?.ok_or_else(|| Refused::unknown_job(&job))?;
    if !wait.is_zero() && !is_newer(&state) {
        let _counted = instance.count_stream(version)?;
        let mut ending = Ending::of(&grant, &instance);
        let mut watch = instance.hub.watch(&job, Some(state.position()), Mode::Latest).await?;
        // It was forgotten in between.
        if watch.topic().state().is_none() {
            return Err(Refused::unknown_job(&job));
        }
        let newer = async {
            loop {
                if let Some(newest) = watch.next().await?.pop()
                    && is_newer(&newest)
                {
                    return Ok::<_, WatchError>(newest);
                }
            }
        };
        tokio::select! {
            newest = newer => state = newest?,
            () = tokio::time::sleep(wait) => {}
            why = ending.wait() => return Err(Refused::new(ProblemType::Unauthenticated, why)),
            () = instance.drain.begun() => {}
        }
    }
    Ok(json(&Pending {
        status: state.status(),
        attempt: state.attempt(),
        position: state.position(),
        requested: requested(&state),
    }))
}

#[cfg(test)]
mod tests {
    use milepost_protocol::{Epoch, Fold, Origin};

    use super::*;

    #[test]
    fn a_job_may_be_abandoned_5_minutes_after_a_cancel_request() {
        let job = JobId::parse("a").unwrap();
        let begun = Timestamp::parse("2024-01-01T00:00:00Z").unwrap();
        let at = |seconds: i64| Timestamp::from_micros(begun.as_micros() + seconds * 1_000_000);
        let update = Update::parse(Some(&job), br#"{"cancellable":true}"#).unwrap();
        let reported = milepost_protocol::fold(None, &update, Origin::Report, Epoch(1), at(0));
        let Ok(Fold::New(state)) = reported else { panic!("{reported:?}") };
        let detail = |state: &JobState, now| check_patience(state, now).unwrap_err().json();
        assert!(detail(&state, at(1_000)).contains("request to cancel the job before"));

        let cancel = Request { action: Action::Cancel, by: None, reason: None };
        let requested = milepost_protocol::request(Some(&state), &cancel, Epoch(1), at(10));
        let Ok(Fold::New(state)) = requested else { panic!("{requested:?}") };
        assert!(detail(&state, at(309)).contains("for 2 s"), "{}", detail(&state, at(309)));
        assert!(check_patience(&state, at(310)).is_ok());
    }

    #[test]
    fn a_job_that_takes_no_requests_may_be_abandoned_once_silent() {
        let job = JobId::parse("a").unwrap();
        let begun = Timestamp::parse("2024-01-01T00:00:00Z").unwrap();
        let at = |seconds: i64| Timestamp::from_micros(begun.as_micros() + seconds * 1_000_000);
        let update = Update::parse(Some(&job), b"{}").unwrap();
        let reported = milepost_protocol::fold(None, &update, Origin::Report, Epoch(1), at(0));
        let Ok(Fold::New(state)) = reported else { panic!("{reported:?}") };
        let detail = check_patience(&state, at(299)).unwrap_err().json();
        assert!(detail.contains("takes no requests") && detail.contains("in 2 s"), "{detail}");
        assert!(check_patience(&state, at(300)).is_ok());
    }
}
