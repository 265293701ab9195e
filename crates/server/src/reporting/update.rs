//! Reporting: `spec/README.md`, section 10.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use milepost_broker::Reported;
use milepost_protocol::{JobId, ProblemType, Update};

use super::accepted::Accepted;
use crate::access::Grant;
use crate::access::foreign_page::NotForeign;
use crate::config::Config;
use crate::counters;
use crate::instance::Instance;
use crate::limits::Meter;
use crate::openapi;
use crate::reporting::batch::Batch;
use crate::request::body::{self, Whole};
use crate::request::headers::Unconditional;
use crate::request::parameter::{NamedJob, NoParameters};
use crate::response::json;
use crate::response::problem::{Outcome, Refused};

/// Report an update of a job
#[utoipa::path(
    post, path = "/jobs/{job_id}", operation_id = "report", tag = "Reporting",
    params(openapi::JobPath),
    request_body(content = Update, description = "The content type is ignored: the body is always read as JSON."),
    responses(
        (status = 200, description = "Accepted.", body = Accepted,
            headers(("ETag" = String, description = "The position, in quotes."))),
        openapi::ReportRefused,
    ),
)]
pub(crate) async fn one(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    NotForeign(grant): NotForeign,
    _: NoParameters,
    _: Unconditional,
    meter: Meter,
    request: Request,
) -> Outcome<Response> {
    let (Parts { headers, .. }, body) = request.into_parts();
    report(&instance, &grant, &meter, &job, &headers, body).await
}

/// Answers a report of one update, for the router and for the direct path.
pub(super) async fn report<B>(
    instance: &Instance,
    grant: &Grant,
    meter: &Meter,
    job: &str,
    headers: &HeaderMap,
    body: B,
) -> Outcome<Response>
where
    B: http_body::Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    meter.admit()?;
    let limit = instance.config.max_update_bytes;
    let body = body::read(headers, body, limit, ProblemType::UpdateTooLarge, instance).await;
    // A rejected one costs as much as the largest, so that clients cannot send any number of them.
    let body = body.inspect_err(|_| meter.spend(1, limit))?;
    meter.spend(1, body.bytes.len());
    let reported = report_one(instance, grant, meter, job, &body.bytes).await?;
    let mut response = json(&Accepted::from(&reported));
    let mut tag = String::with_capacity(48);
    // Only I/O can fail.
    let _ = write!(tag, "\"{}\"", reported.state.position());
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// More than the outcome of one line of a batch takes.
const OUTCOME: usize = 1_024;

/// Report many updates, each of any job
///
/// NDJSON: each line is an update with its `job_id`, at most 8 MiB and 10,000 lines (configurable). Empty lines are skipped. Updates
/// of one job are applied in order. A rejected update does not affect the others.
#[utoipa::path(
    post, path = "/updates", operation_id = "reportMany", tag = "Reporting",
    request_body(content = String, content_type = "application/x-ndjson",
        example = "{\"job_id\":\"a\",\"progress\":0.5}\n{\"job_id\":\"b\",\"status\":\"completed\"}\n"),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String,
            description = "One outcome per line, in order: `Accepted`, or a `Problem`.",
            example = "{\"job_id\":\"a\",\"attempt\":1,\"position\":\"8f3a6c01d2e4b597-42\"}\n"),
        openapi::BatchRefused,
    ),
)]
pub(crate) async fn many(
    State(instance): State<Arc<Instance>>,
    NotForeign(grant): NotForeign,
    _: NoParameters,
    _: Unconditional,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Outcome<Response> {
    meter.admit()?;
    let config = &instance.config;
    let limit = config.max_batch_bytes;
    let Whole { bytes: batch, mut held } =
        body::read(&headers, body, limit, ProblemType::BatchTooLarge, &instance)
            .await
            .inspect_err(|_| meter.spend(1, limit))?;
    let lines = || batch.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let most = config.max_batch_lines;
    if lines().nth(most).is_some() {
        meter.spend(most, batch.len());
        counters::count(&instance.counters.too_large);
        let detail = format!("at most {most} lines are allowed");
        return Err(Refused::new(ProblemType::BatchTooLarge, detail));
    }
    meter.spend(lines().count(), batch.len());
    held.grow_to(batch.len() + lines().count() * OUTCOME)?;
    let (instance, meter) = (&*instance, &meter);
    let mut reports = Batch::new(move |update| async move {
        outcome(&count(instance, take(instance, meter, update).await))
    });
    for line in lines() {
        match parse_line(line, config, &grant) {
            Ok(update) => reports.report(update).await,
            Err(refused) => reports.skip(outcome(&count(instance, Err(refused)))),
        }
    }
    let outcomes = reports.finish().await.concat();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok((StatusCode::OK, [(CONTENT_TYPE, ndjson)], Bytes::from(outcomes)).into_response())
}

/// Forget a job
///
/// Its watchers are told if it had not ended, stay connected, and receive its new states if it is reported again.
#[utoipa::path(
    delete, path = "/jobs/{job_id}", operation_id = "forgetJob", tag = "Reporting",
    params(openapi::JobPath),
    responses((status = 204, description = "Forgotten."), openapi::ForgetRefused),
)]
pub(crate) async fn forget(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    NotForeign(grant): NotForeign,
    _: NoParameters,
    _: Unconditional,
    meter: Meter,
) -> Outcome<StatusCode> {
    meter.admit()?;
    meter.spend(1, 0);
    let job = JobId::parse(&job)?;
    if !grant.may_control(&job, &*instance.broker).await? {
        return Err(Refused::unknown_job(&job));
    }
    if instance.broker.forget(&job).await? {
        instance.audit.record(&grant, "delete", &job);
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refused::unknown_job(&job))
    }
}

fn parse_line(line: &[u8], config: &Config, grant: &Grant) -> Outcome<Update> {
    if line.len() > config.max_update_bytes {
        let detail = format!("at most {} bytes are allowed", config.max_update_bytes);
        return Err(Refused::new(ProblemType::UpdateTooLarge, detail));
    }
    permitted(Update::parse(None, line)?, grant)
}

/// The update, if its job may be reported, and the job that it names as the parent: a child changes its parent's state, and may end it.
fn permitted(update: Update, grant: &Grant) -> Outcome<Update> {
    let detail = if !grant.may_report(update.job()) {
        format!("the credential does not allow reporting {}", update.job())
    } else if let Some(parent) = update.parent().filter(|parent| !grant.may_report(parent)) {
        format!("the credential does not allow reporting {parent}, the job's parent")
    } else {
        return Ok(update);
    };
    Err(Refused::new(ProblemType::Forbidden, detail))
}

/// The outcome of a line as a line.
fn outcome(reported: &Outcome<Reported>) -> String {
    // Structs of strings and numbers: only I/O can fail.
    let mut outcome = match reported {
        Ok(reported) => serde_json::to_string(&Accepted::from(reported)),
        Err(refused) => serde_json::to_string(&refused.0),
    }
    .unwrap_or_default();
    outcome.push('\n');
    outcome
}

/// Has the broker take an update, unless it would begin a job and its client has begun too many.
async fn take(instance: &Instance, meter: &Meter, update: Update) -> Outcome<Reported> {
    if let Err(exceeded) = meter.admit_job()
        && instance.broker.state(update.job()).await?.is_none()
    {
        return Err(meter.refuse_job(exceeded));
    }
    let reported = instance.broker.report(update).await?;
    // The first state of a new job, or of one that the broker has lost and learns of again.
    if reported.state.position().number == 1 && !reported.repeated {
        meter.spend_job();
    }
    Ok(reported)
}

async fn report_one(
    instance: &Instance,
    grant: &Grant,
    meter: &Meter,
    job: &str,
    json: &[u8],
) -> Outcome<Reported> {
    let reported = async {
        let job = JobId::parse(job)?;
        let update = permitted(Update::parse(Some(&job), json)?, grant)?;
        take(instance, meter, update).await
    };
    count(instance, reported.await)
}

/// Counts an update that was accepted or rejected.
fn count(instance: &Instance, outcome: Outcome<Reported>) -> Outcome<Reported> {
    let counters = &instance.counters;
    let counter = if outcome.is_ok() { &counters.updates } else { &counters.refusals };
    counter.fetch_add(1, Ordering::Relaxed);
    if let Ok(Reported { state, repeated: false }) = &outcome {
        counters.accuracy.note(state, || instance.clock.now());
    }
    outcome
}
