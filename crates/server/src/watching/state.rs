//! Polling: `spec/README.md`, section 9.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use milepost_hub::{Mode, WatchError};
use milepost_protocol::{
    AttemptSpan, JobId, Position, ProblemType, StageSpan, State as JobState, View,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Ending, Grant};
use crate::instance::Instance;
use crate::openapi;
use crate::request::parameter::{self, NamedJob, NoParameters};
use crate::response::body::{in_pieces, state_bytes, text_bytes};
use crate::response::json_text;
use crate::response::problem::{Outcome, Refused};

/// A job's present state
#[utoipa::path(
    get, path = "/jobs/{job_id}", operation_id = "state", tag = "Watching",
    params(openapi::JobPath, openapi::IfNoneMatch, openapi::WaitParam),
    responses(
        (status = 200, description = "The state.", body = JobState,
            headers(("ETag" = String, description = "The position, in quotes."))),
        (status = 304, description = "There is nothing newer than `If-None-Match`, or there was nothing within the wait.",
            headers(("ETag" = String, description = "The position, in quotes."))),
        openapi::PollRefused,
    ),
)]
pub(crate) async fn state(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    version: Version,
    grant: Grant,
    headers: HeaderMap,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    let wait = parameter::wait(query.as_deref())?;
    let seen = parameter::if_none_match(&headers);

    let mut state = instance.broker.state(&job).await?.map(|state| grant.show(state));
    if !wait.is_zero() && !is_newer(state.as_deref(), &seen) {
        let _counted = instance.count_stream(version)?;
        let mut ending = Ending::of(&grant, &instance);
        let present = state.as_ref().map(|state| state.position());
        let watch = instance.hub.watch(&job, present, Mode::Latest).await?;
        let mut watch = watch.with_view(grant.view());
        // It was forgotten in between.
        if present.is_some() && watch.topic().state().is_none() {
            return Err(Refused::unknown_job(&job));
        }
        let newer = async {
            loop {
                let newest = watch.next().await?.pop();
                if is_newer(newest.as_deref(), &seen) {
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
    match state {
        Some(state) if is_newer(Some(&state), &seen) => respond(&instance, state),
        // RFC 9110, section 15.4.5: with the headers that a 200 would have.
        Some(state) => Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), state.position())),
        None => Err(Refused::unknown_job(&job)),
    }
}

/// Whether there is something newer to send: `spec/README.md`, section 4.
pub(super) fn is_newer(state: Option<&JobState>, seen: &[Position]) -> bool {
    let Some(position) = state.map(JobState::position) else { return false };
    seen.iter().all(|seen| position.is_newer_than(*seen, None))
}

/// A job's present state, without conditions
///
/// For clients of the Python service. `/jobs/{job_id}` has the same state and more options.
#[utoipa::path(
    get, path = "/jobs/{job_id}/status", operation_id = "status", tag = "Watching",
    params(openapi::JobPath),
    responses(
        (status = 200, description = "The state.", body = JobState,
            headers(("ETag" = String, description = "The position, in quotes."))),
        openapi::JobRefused,
    ),
)]
pub(crate) async fn status(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    grant: Grant,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    let state = instance.broker.state(&job).await?;
    let state = state.ok_or_else(|| Refused::unknown_job(&job))?;
    respond(&instance, grant.show(state))
}

/// More than the JSON of a timeline.
const TIMELINE_BYTES: usize = 32 << 10;

/// What is kept of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct History<'a> {
    job_id: &'a JobId,
    /// Oldest first, the present one last; at most 32 (configurable).
    #[schema(min_items = 1)]
    states: Vec<&'a JobState>,
    /// The progress over the whole present attempt, oldest first: seconds since `started_at`, and the progress then.
    #[schema(max_items = 128)]
    samples: Vec<(f64, f64)>,
    /// The stages of the present attempt, oldest first; the latest 64.
    #[schema(max_items = 64)]
    stages: Vec<StageSpan<'a>>,
    /// The latest 8 attempts, oldest first, the present one last.
    #[schema(min_items = 1, max_items = 8)]
    attempts: Vec<AttemptSpan<'a>>,
    /// Whether the client may delete the job, and request something of its worker.
    may_control: bool,
}

/// A job's latest states, and the course of its present attempt
#[utoipa::path(
    get, path = "/jobs/{job_id}/history", operation_id = "history", tag = "Watching",
    params(openapi::JobPath),
    responses((status = 200, description = "What is kept of the job.", body = History<'_>), openapi::HistoryRefused),
)]
pub(crate) async fn history(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    _: NoParameters,
    grant: Grant,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    let milepost_broker::History { states, timeline } = instance.broker.history(&job).await?;
    let states: Vec<_> = states.into_iter().map(|state| grant.show(state)).collect();
    let Some(present) = states.last() else { return Err(Refused::unknown_job(&job)) };
    // The states are held while they are copied.
    let bytes: usize = states.iter().map(|state| state.json().len() + 1).sum();
    let mut held = instance.memory.responses.take(2 * bytes + TIMELINE_BYTES)?;
    let mut attempts = timeline.attempts(present);
    if grant.view() == View::Public {
        for attempt in &mut attempts {
            attempt.error = None;
        }
    }
    let history = History {
        job_id: &job,
        states: states.iter().map(Arc::as_ref).collect(),
        samples: timeline.samples(),
        stages: timeline.stages(present),
        attempts,
        may_control: grant.may_control(&job, &*instance.broker).await?,
    };
    // Strings: only I/O can fail.
    let text = serde_json::to_string(&history).unwrap_or_default();
    held.shrink_to(text.capacity());
    Ok(json_text(in_pieces(text_bytes(text, held))))
}

fn respond(instance: &Instance, state: Arc<JobState>) -> Outcome<Response> {
    let held = instance.memory.responses.take(state.json().len())?;
    let position = state.position();
    Ok(tagged(json_text(in_pieces(state_bytes(state, held))), position))
}

/// With the position as its tag.
pub(super) fn tagged(mut response: Response, position: Position) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{position}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
