//! Server-sent events: `spec/README.md`, section 8.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Version};
use milepost_hub::{Mode, Notice, Watch, WatchError};
use milepost_protocol::{JobId, ProblemType, State as JobState};
use tokio::time::Instant;

use super::event_stream::{self, Admission, EventSource};
use crate::access::Grant;
use crate::config::seconds;
use crate::instance::Instance;
use crate::limits::Meter;
use crate::openapi;
use crate::request::parameter::{self, NamedJob, WatchQuery};
use crate::response::problem::{Outcome, Refused};
use crate::websocket::message;

/// Watch a job by server-sent events
///
/// `event: connected` comes first. Each state is an event without a name, with its position as `id`. After the end,
/// `event: end` comes and the stream closes. `event: unknown-job` means that the job was deleted, or its `ttl` is over,
/// before it ended. Its states follow if it is reported again. `event: unreadable-job` means that the server cannot read the job at the
/// moment. Its states follow once it can. Comments keep the stream alive.
#[utoipa::path(
    get, path = "/jobs/{job_id}/events", operation_id = "events", tag = "Watching",
    params(openapi::JobPath, openapi::LastEventId, openapi::WatchParams),
    responses(
        (status = 200, description = "The stream.", content_type = "text/event-stream", body = String,
            example = "id: 8f3a6c01d2e4b597-42\ndata: {\"job_id\":\"job_12345\",\"status\":\"processing\"}\n\n"),
        (status = 204, description = "The job has ended, and the client has seen the end: do not reconnect."),
        openapi::WatchRefused,
    ),
)]
pub(crate) async fn stream(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    version: Version,
    grant: Grant,
    meter: Meter,
    headers: HeaderMap,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    let query = WatchQuery::parse(query.as_deref(), &["since", "mode", "max_rate"])?.subscribe()?;
    let since = match parameter::last_event_id(&headers)? {
        Some(id) => parameter::since(Some(id)),
        None => query.since,
    };
    let mode = if query.max_rate.is_some() { Mode::Latest } else { query.mode };
    let admission = event_stream::admit(&instance, version, &grant, &meter)?;
    let watch = instance.hub.watch(&job, since, mode).await?.with_view(grant.view());

    let present = watch.topic().state();
    if present
        .as_ref()
        .is_some_and(|state| state.status().is_end() && since == Some(state.position()))
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut opening = event_stream::retry();
    opening.push_str("event: connected\ndata: ");
    opening.push_str(&message::connected(
        Some((&job, present.is_some())),
        &[],
        instance.clock.now(),
    ));
    opening.push_str("\n\n");
    let events = Events {
        admission,
        states: States {
            interval: query.max_rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            not_before: Instant::now(),
            held: Vec::new(),
            watch,
        },
        opening: Some(opening),
        ended: false,
        instance,
    };
    Ok(event_stream::respond(events))
}

/// One client's stream of events.
struct Events {
    admission: Admission,
    instance: Arc<Instance>,
    states: States,
    opening: Option<String>,
    ended: bool,
}

/// A job's states, no more often than a client wants them.
struct States {
    watch: Watch,
    /// The time between two updates that are not ends.
    interval: Option<Duration>,
    not_before: Instant,
    /// The state that the rate does not allow yet.
    held: Vec<Arc<JobState>>,
}

impl EventSource for Events {
    async fn next(&mut self) -> Option<String> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        if self.ended {
            return None;
        }
        let keepalive = seconds(self.instance.config.ping_interval);
        let instance = Arc::clone(&self.instance);
        tokio::select! {
            states = self.states.next() => match states {
                Ok(states) => Some(self.encode(&states)),
                // The stream goes on.
                Err(WatchError::Notice(notice)) => {
                    // A state that its rate still held back is forgotten with the job.
                    if notice == Notice::Forgotten {
                        self.states.held.clear();
                    }
                    Some(event_stream::problem(&WatchError::Notice(notice).into()))
                }
                // There is no memory left for the job's states. The client reconnects after its `retry`.
                Err(_) => None,
            },
            why = self.admission.ending.wait() => {
                self.ended = true;
                Some(event_stream::problem(&Refused::new(ProblemType::Unauthenticated, why)))
            }
            () = tokio::time::sleep(keepalive) => Some(event_stream::KEEPALIVE.to_owned()),
            // The stream ends. The client reconnects after its `retry`.
            () = instance.drain.begun() => None,
        }
    }

    fn instance(&self) -> &Instance {
        &self.instance
    }
}

impl States {
    /// What to show next: no sooner than the rate allows, but an end at once. Safe to drop and call again.
    async fn next(&mut self) -> Result<Vec<Arc<JobState>>, WatchError> {
        if self.held.is_empty() {
            self.held = self.watch.next().await?;
        }
        if let Some(interval) = self.interval {
            let is_end = |state: &Arc<JobState>| state.status().is_end();
            while !self.held.iter().any(is_end) && Instant::now() < self.not_before {
                tokio::select! {
                    newer = self.watch.next() => self.held = newer?,
                    () = tokio::time::sleep_until(self.not_before) => {}
                }
            }
            self.not_before = Instant::now() + interval;
        }
        Ok(std::mem::take(&mut self.held))
    }
}

impl Events {
    fn encode(&mut self, states: &[Arc<JobState>]) -> String {
        let room = states.iter().map(|state| state.json().len() + 64).sum();
        let mut chunk = String::with_capacity(room);
        for state in states {
            // A state is one line. Writing into a String cannot fail.
            let _ = write!(chunk, "id: {}\ndata: {}\n\n", state.position(), state.json());
        }
        self.instance.counters.messages_sent.fetch_add(states.len() as u64, Ordering::Relaxed);
        if let Some(end) = states.last().filter(|state| state.status().is_end()) {
            let _ = write!(
                chunk,
                "event: end\ndata: {{\"job_id\":\"{}\",\"position\":\"{}\"}}\n\n",
                end.job(),
                end.position()
            );
            self.ended = true;
        }
        chunk
    }
}
