#![expect(dead_code, reason = "describes JSON; the handlers pass it through as text")]

use std::fmt::Write as _;

use milepost_protocol::ProblemType;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// Chosen by the worker: 1 to 128 characters out of `A–Z a–z 0–9 - . _ ~ : @`, but not `.` or `..`.
#[derive(ToSchema)]
#[schema(
    value_type = String, min_length = 1, max_length = 128, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._~:@-]+$",
    examples("job_001", "user:42:render-7")
)]
pub(crate) struct JobId(String);

/// Where in a job's life a state stands. Opaque: clients hand back the latest one that they saw.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{1,16}-[1-9][0-9]*$", examples("8f3a6c01d2e4b597-42"))]
pub(crate) struct Position(String);

/// The last three are ends.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Status {
    Queued,
    Processing,
    Completed,
    Failed,
    Cancelled,
}

/// What a worker reports: how things are, not what changed. Every field is optional; `null` counts as absent, but in
/// `progress`, `metadata` and `result`. Any other field passes through untouched. At most 65,536 bytes (configurable).
#[derive(ToSchema)]
#[schema(examples(
    json!({
        "stage": "rendering", "progress": 0.75, "message": "Rendering frame 1500/2000",
        "timestamp": "2024-01-01T00:00:00Z", "metadata": {"current_frame": 1500, "total_frames": 2000}
    }),
    json!({
        "status": "completed", "message": "Job completed",
        "result": {"video_url": "https://cdn.example.com/video.mp4"}
    }),
    json!({"status": "failed", "message": "Error: Out of memory", "error": "Out of memory"}),
))]
pub(crate) struct Update {
    /// The job; where the address names it as well, the same.
    #[schema(nullable = false)]
    job_id: Option<JobId>,
    /// Absent: `processing`.
    status: Option<Status>,
    /// Any short text: at most 256 bytes.
    #[schema(max_length = 256)]
    stage: Option<String>,
    /// 0 to 1; outside it is clamped. `null`: the total is not known.
    progress: Option<f64>,
    /// For people.
    message: Option<String>,
    /// The worker's clock, RFC 3339; without a zone it is UTC. Passed through, never used to order updates.
    #[schema(examples("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123456"))]
    timestamp: Option<String>,
    /// The worker's own.
    metadata: Option<Value>,
    /// Of a completed job.
    result: Option<Value>,
    /// Of a failed job.
    error: Option<String>,
    /// Absent: the latest attempt. One higher than the latest opens a new attempt.
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    attempt: Option<u64>,
    /// Seconds that the job is kept after this and each later update.
    #[schema(minimum = 1, maximum = 2_592_000)]
    ttl: Option<u32>,
    /// How much is done, in units: a number. Without a `progress`, it is `current / total`.
    current: Option<Value>,
    /// How much there is to do, in units: a number.
    total: Option<Value>,
    /// How far the stage is, a number from 0 to 1: with declared `stages`, the progress follows from it.
    stage_progress: Option<Value>,
    /// An attribute, as those below: it stays until the attempt ends or an update sets it again, and `null` clears it. A
    /// value of another type is the worker's own, and passes through. `name`: the kind of job, 1 to 64 bytes.
    #[schema(examples("render"))]
    name: Option<Value>,
    /// Words to find the job by: at most 16, of 1 to 64 bytes.
    #[schema(examples(json!(["gpu", "nightly"])))]
    tags: Option<Value>,
    /// The stages that the job goes through: ids, or objects with `id`, `label`, `weight` and `skipped`.
    #[schema(examples(json!(["fetch", {"id": "encode", "label": "Encode", "weight": 2}])))]
    stages: Option<Value>,
    /// The job that this one is a part of.
    parent_id: Option<Value>,
    /// How much of its parent this job is: a number above 0.
    weight: Option<Value>,
    /// How many children the job is going to have.
    children_expected: Option<Value>,
    /// What `current` and `total` count: 1 to 32 bytes.
    #[schema(examples("frames"))]
    unit: Option<Value>,
    /// Whether the worker answers requests to cancel: true or false.
    cancellable: Option<Value>,
    /// How often the worker reports at least, in seconds.
    heartbeat: Option<Value>,
    /// After so many seconds without progress the job is stalled.
    stall_after: Option<Value>,
    /// After so many seconds of silence the server ends the job.
    lost_after: Option<Value>,
    /// Links to what the job made: objects with `name`, `url`, `media_type` and `size`.
    artifacts: Option<Value>,
    /// The W3C trace context that the job belongs to.
    traceparent: Option<Value>,
}

/// A job as the updates so far make it. Besides these fields, the attributes (see `Update`), and whatever the worker
/// reported, untouched.
#[derive(ToSchema)]
#[schema(examples(
    json!({
        "job_id": "job_12345", "status": "processing", "stage": "rendering", "progress": 0.75,
        "message": "Rendering frame 1500/2000", "timestamp": "2024-01-01T00:00:00Z",
        "metadata": {"current_frame": 1500, "total_frames": 2000}, "name": "render",
        "started_at": "2024-01-01T00:00:00.000Z", "last_seen_at": "2024-01-01T00:00:07.500Z",
        "progressed_at": "2024-01-01T00:00:07.500Z", "attempt": 1, "position": "8f3a6c01d2e4b597-42"
    }),
    json!({
        "job_id": "job_12345", "status": "completed", "message": "Job completed",
        "result": {"video_url": "https://cdn.example.com/video.mp4"}, "stage": "complete", "progress": 1.0,
        "timestamp": "2024-01-01T00:00:09.000000Z", "started_at": "2024-01-01T00:00:00.000Z",
        "ended_at": "2024-01-01T00:00:09.000Z", "attempt": 1, "position": "8f3a6c01d2e4b597-43"
    }),
))]
pub(crate) struct State {
    job_id: JobId,
    status: Status,
    #[schema(max_length = 256)]
    stage: String,
    /// `null`, or no progress at all: the total is not known.
    #[schema(minimum = 0, maximum = 1)]
    progress: Option<f64>,
    /// For people.
    #[schema(nullable = false)]
    message: Option<String>,
    /// The worker's clock, RFC 3339, without a zone it is UTC; the server's where the worker sent none.
    timestamp: String,
    /// The worker's own.
    metadata: Option<Value>,
    /// Of a completed job.
    result: Option<Value>,
    /// Of a failed job.
    #[schema(nullable = false)]
    error: Option<String>,
    /// Seconds that the job is kept after each update, if its worker asked.
    #[schema(nullable = false, minimum = 1, maximum = 2_592_000)]
    ttl: Option<u32>,
    /// When the attempt began, by the server's clock: RFC 3339 in UTC with milliseconds. Absent while it is queued.
    #[schema(nullable = false, examples("2024-01-01T00:00:00.000Z"))]
    started_at: Option<String>,
    /// When the worker was heard last, by the server's clock. Absent after the end.
    #[schema(nullable = false)]
    last_seen_at: Option<String>,
    /// When its status, stage, progress or `current` changed last, by the server's clock. Absent after the end.
    #[schema(nullable = false)]
    progressed_at: Option<String>,
    /// When the attempt ended, by the server's clock.
    #[schema(nullable = false)]
    ended_at: Option<String>,
    /// `ok`, `stalled`: it reports, but has made no progress for `stall_after`; `lost`: it has not reported for three
    /// `heartbeat`s, and 30 s at least. Only while the attempt runs, and if it has one of these.
    #[schema(nullable = false, examples("ok"))]
    health: Option<Health>,
    /// What was requested of the worker in this attempt.
    #[schema(nullable = false)]
    requested: Option<Requested>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    attempt: u64,
    position: Position,
}

/// Whether a job's worker is there and gets on.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Health {
    Ok,
    Stalled,
    Lost,
}

/// What was requested of a job's worker.
#[derive(ToSchema)]
pub(crate) struct Requested {
    action: Action,
    /// By the server's clock: RFC 3339 in UTC with milliseconds.
    #[schema(examples("2024-01-01T00:00:00.000Z"))]
    at: String,
    /// Who requested it, for people.
    #[schema(max_length = 256, nullable = false)]
    by: Option<String>,
    /// Why, for people.
    #[schema(max_length = 256, nullable = false)]
    reason: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Action {
    Cancel,
    Pause,
    Resume,
}

/// A page of the jobs known.
#[derive(ToSchema)]
pub(crate) struct JobList {
    /// The most recently begun first.
    #[schema(max_items = 1000)]
    jobs: Vec<State>,
    /// For `after` of the next page; `null`: this is the last.
    #[schema(required = true)]
    next: Option<String>,
    /// How many jobs are known, whether they match or not.
    total: u64,
    /// How many match, but for `status`, in each status: if it was asked for. At most 10,000 are counted.
    #[schema(nullable = false)]
    counts: Option<StatusCounts>,
}

/// How many jobs there are in each status.
#[derive(ToSchema)]
pub(crate) struct StatusCounts {
    queued: u64,
    processing: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

/// A job's latest states.
#[derive(ToSchema)]
pub(crate) struct History {
    job_id: JobId,
    /// Oldest first, the present one last; 32 at most (configurable).
    #[schema(min_items = 1)]
    states: Vec<State>,
}

/// A refusal: RFC 9457 problem details.
#[derive(ToSchema)]
#[schema(examples(json!({
    "type": "urn:milepost:problem:attempt-ended", "title": "The attempt has ended", "status": 409,
    "detail": "attempt 1 is completed; to try again, report attempt 2",
    "attempt": 1, "position": "8f3a6c01d2e4b597-43"
})))]
pub(crate) struct Problem {
    #[schema(schema_with = problem_type)]
    r#type: String,
    /// The same for every problem of this type.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong this time, and where.
    detail: String,
    /// What was wrong with which field or parameter: of `invalid-update` and `invalid-parameter`.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// The latest attempt: of `attempt-ended` and `attempt-superseded`.
    #[schema(nullable = false, minimum = 1, maximum = 4_294_967_295_u64)]
    attempt: Option<u64>,
    /// The present position: of `attempt-ended` and `attempt-superseded`.
    #[schema(nullable = false)]
    position: Option<Position>,
}

/// A field or a parameter that was wrong.
#[derive(ToSchema)]
pub(crate) struct FieldError {
    /// The field of the body: a JSON pointer (RFC 6901).
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// The parameter of the query, or the header.
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What was wrong with it.
    detail: String,
}

/// Not an enumeration: types may be added.
fn problem_type() -> Schema {
    let mut description = "Which kind of problem: `urn:milepost:problem:<name>`.\n\n\
        | name | status | title |\n| --- | --- | --- |\n"
        .to_owned();
    for kind in ProblemType::ALL {
        // Writing into a String cannot fail.
        let _ =
            writeln!(description, "| `{}` | {} | {} |", kind.name(), kind.status(), kind.title());
    }
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^urn:milepost:problem:[a-z-]+$"))
        .description(Some(description))
        .examples(ProblemType::ALL.map(ProblemType::uri))
        .build()
        .into()
}

/// What an example of a problem says.
pub(super) fn problem_example(kind: ProblemType) -> Value {
    use ProblemType as T;
    let (detail, more) = match kind {
        T::InvalidJobId => {
            ("'/' is not allowed in a job id; allowed are A-Z a-z 0-9 - . _ ~ : @", json!({}))
        }
        T::InvalidJson => ("expected value at line 1 column 14", json!({})),
        T::InvalidParameter => (
            "limit is \"0\"; it is 1 to 1000",
            json!({"errors": [{"parameter": "limit", "detail": "is \"0\"; it is 1 to 1000"}]}),
        ),
        T::InvalidUpdate => (
            "progress is not a number or null: \"0.5\"",
            json!({"errors": [{"pointer": "/progress", "detail": "is not a number or null: \"0.5\""}]}),
        ),
        T::AttemptEnded => (
            "attempt 1 is completed; to try again, report attempt 2",
            json!({"attempt": 1, "position": "8f3a6c01d2e4b597-43"}),
        ),
        T::AttemptSuperseded => (
            "attempt 1 is over: the latest is 2",
            json!({"attempt": 2, "position": "8f3a6c01d2e4b597-44"}),
        ),
        T::UpdateTooLarge => ("at most 65536 bytes are allowed", json!({})),
        T::BatchTooLarge => ("at most 10000 lines are allowed", json!({})),
        T::UnknownJob => ("job_12345 was never reported here, or is forgotten", json!({})),
        T::RequestTimeout => ("the body was not there after 30 s", json!({})),
        T::BrokerFull => ("the broker is full: it holds 1000000 jobs", json!({})),
        T::ServerFull => ("the memory for bodies is in use: 16777216 bytes", json!({})),
        T::TooManyConnections => ("it holds 10000", json!({})),
        other => (other.title(), json!({})),
    };
    let mut problem = json!({
        "type": kind.uri(), "title": kind.title(), "status": kind.status(), "detail": detail,
    });
    if let (Some(problem), Value::Object(more)) = (problem.as_object_mut(), more) {
        problem.extend(more);
    }
    problem
}
