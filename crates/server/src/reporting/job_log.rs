//! Appending to a job's log: `spec/README.md`, section 17.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use milepost_protocol::{InvalidLogLine, JobId, LogLine, Position, ProblemType, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::foreign_page::NotForeign;
use crate::instance::Instance;
use crate::limits::Meter;
use crate::openapi;
use crate::request::body::{self, Whole};
use crate::request::headers::Unconditional;
use crate::request::parameter::{NamedJob, NoParameters};
use crate::response::json;
use crate::response::problem::{Outcome, Refused};

/// As much as is kept of a log. The beginning of a longer text would be dropped at once.
const MAX_BODY_BYTES: usize = milepost_broker::MAX_JOB_LOG_BYTES;
const MAX_LINES: usize = 4_096;
/// The memory of a line besides its text while it is read.
const LINE_BYTES: usize = 128;

/// The lines were appended.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"job_id": "job_12345", "next": "8f3a6c01d2e4b597-17", "dropped": 0})))]
pub(crate) struct LogAccepted {
    job_id: JobId,
    /// The position of the log's last line. Absent if the log never had a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<Position>,
    /// How many lines of the log are no longer kept.
    dropped: u64,
}

/// Append lines to a job's log
///
/// The body is plain text; each line becomes a line of the log. With the content type `application/json` or
/// `application/x-ndjson`, each line is a JSON object: `{"text":…,"stream":"stdout","at":…}`. At most 256 KiB and 4,096 lines. A
/// line's text is cut after 4 KiB.
#[utoipa::path(
    post, path = "/jobs/{job_id}/log", operation_id = "appendLog", tag = "Reporting",
    params(openapi::JobPath),
    request_body(content = String, content_type = "text/plain", example = "loading the model\n"),
    responses((status = 200, description = "Appended.", body = LogAccepted), openapi::LogRefused),
)]
pub(crate) async fn append(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    NotForeign(grant): NotForeign,
    _: NoParameters,
    _: Unconditional,
    meter: Meter,
    request: Request,
) -> Outcome<Response> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let job = JobId::parse(&job)?;
    if !grant.may_report(&job) {
        let detail = format!("the credential does not allow reporting {job}");
        return Err(Refused::new(ProblemType::Forbidden, detail));
    }
    meter.admit()?;
    let too_large = ProblemType::BatchTooLarge;
    let Whole { bytes, mut held } =
        body::read(&headers, body, MAX_BODY_BYTES, too_large, &instance)
            .await
            .inspect_err(|_| meter.spend(1, MAX_BODY_BYTES))?;
    meter.spend(1, bytes.len());
    let lines: Vec<_> =
        bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|b| *b == b'\n').collect();
    if lines.len() > MAX_LINES {
        let detail = format!("at most {MAX_LINES} lines are allowed");
        return Err(Refused::new(too_large, detail));
    }
    held.grow_to(2 * bytes.len() + lines.len() * LINE_BYTES)?;
    let now = instance.clock.now();
    let lines = if bytes.is_empty() {
        Vec::new()
    } else if is_json(&headers) {
        let numbered = (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty());
        numbered.map(|(number, line)| parse(number, line, now)).collect::<Outcome<_>>()?
    } else {
        let text = |line: &[u8]| {
            String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
        };
        lines.into_iter().map(|line| LogLine::new(&text(line), None, now)).collect()
    };
    let appended = instance.logs.append_log(&job, lines).await.map_err(|error| match error {
        milepost_broker::LogError::UnknownJob => Refused::unknown_job(&job),
        error => error.into(),
    })?;
    Ok(json(&LogAccepted { job_id: job, next: appended.end, dropped: appended.dropped }))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    matches!(media_type.trim(), "application/json" | "application/x-ndjson" | "application/jsonl")
}

fn parse(number: usize, line: &[u8], now: Timestamp) -> Outcome<LogLine> {
    LogLine::parse(line, now).map_err(|error| match error {
        InvalidLogLine::Json(error) => {
            Refused::new(ProblemType::InvalidJson, format!("line {number}: {error}"))
        }
        InvalidLogLine::Field(field, detail) => {
            Refused::parameter(field, format!("of line {number} {detail}"))
        }
    })
}
