#![expect(
    dead_code,
    reason = "describes parameters; the handlers read them by `crate::request::parameter`"
)]

use milepost_protocol::{Health, JobId, Position, Status};
use utoipa::{IntoParams, ToSchema};

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobPath {
    /// The job.
    job_id: JobId,
}

/// How to watch a job.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchParams {
    /// Resume after this position instead of at the present state. If the server does not know the position, it sends the
    /// present state.
    since: Option<Position>,
    /// Which states to send.
    mode: Option<Mode>,
    /// The most states per second; each is the newest at that time. Ends are sent at once.
    #[param(minimum = 0.01, maximum = 1000)]
    max_rate: Option<f64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CloseParam {
    /// When the server closes the socket.
    close: Option<Close>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEventId {
    /// The same as `since`, which it overrides. `EventSource` sends it when it reconnects.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<Position>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatch {
    /// The `ETag` of the state that the client has. The response is 304 unless there is a newer state.
    #[param(rename = "If-None-Match", nullable = false, example = "\"8f3a6c01d2e4b597-42\"")]
    if_none_match: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AfterRequestParam {
    /// The `at` of the latest request that the worker knows.
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitParam {
    /// Hold the response until there is something newer, for at most this many seconds.
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: Option<f64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParams {
    /// Only lines after this one: the `next` of an earlier answer. Without it, the newest lines.
    since: Option<Position>,
    /// The most lines to return.
    #[param(minimum = 1, maximum = 5000, default = 1000)]
    limit: Option<u32>,
    /// Whether to stream new lines as they are written, as server-sent events.
    #[param(default = false)]
    follow: Option<bool>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobsParams {
    /// Only jobs with one of these statuses; given several times, or separated by commas.
    #[param(style = Form, explode)]
    status: Option<Vec<Status>>,
    /// Only jobs that have not ended with one of these healths; given several times, or separated by commas.
    #[param(style = Form, explode)]
    health: Option<Vec<Health>>,
    /// Only jobs whose id begins with this text.
    prefix: Option<String>,
    /// Only jobs of this name.
    name: Option<String>,
    /// Only jobs with this tag; given several times, with all of them.
    #[param(style = Form, explode)]
    tag: Option<Vec<String>>,
    /// Only children of this job.
    parent: Option<String>,
    /// Only jobs that have this text in their id, name or tags, in upper or lower case.
    q: Option<String>,
    /// The order: newest first if absent, else by this field, descending if it begins with `-`. `took`: how long an ended
    /// attempt took; `left`: `eta`, of running jobs. Only the newest 10,000 jobs that match are sorted.
    #[param(
        pattern = "^(begun|-?(name|status|progress|started|seen|took|left))$",
        default = "begun"
    )]
    sort: Option<String>,
    /// Whether to count the matching jobs by status, regardless of `status` itself. Only the newest 10,000 are counted.
    #[param(default = false)]
    counts: Option<bool>,
    /// The most jobs to return.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the previous page.
    #[param(pattern = "^[0-9a-f]{1,16}$")]
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchersParams {
    /// The jobs asked about; given several times, or separated by commas. At most 100.
    #[param(style = Form, explode, max_items = 100)]
    job_id: Option<Vec<JobId>>,
}

/// `all`: every state. `latest`: only the newest state at each moment; ends are never skipped.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "all")]
pub(crate) enum Mode {
    All,
    Latest,
}

/// `end`: close with 1000 after the job's end.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "never")]
pub(crate) enum Close {
    Never,
    End,
}
