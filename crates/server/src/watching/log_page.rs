//! A part of a job's log as JSON: `spec/README.md`, section 17.

use milepost_broker::LogPage;
use milepost_protocol::{JobId, LogLine, LogStream, Position};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A part of a job's log.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "job_id": "job_12345",
    "lines": [{"n": 17, "at": "2024-01-01T00:00:00.000Z", "stream": "stdout", "text": "frame 1500"}],
    "next": "8f3a6c01d2e4b597-17",
    "log": {"lines": 17, "dropped": 4}
})))]
pub(crate) struct JobLog<'a> {
    job_id: &'a JobId,
    /// Oldest first.
    #[schema(value_type = Vec<Line<'_>>)]
    lines: Lines<'a>,
    /// The `since` of what comes next; absent if the log never had a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<Position>,
    /// Lines between `since` and the first one here are no longer kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    log_gap: Option<bool>,
    log: LogCounts,
}

/// A line of a job's log.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    #[serde(default)]
    #[schema(minimum = 1, required = true)]
    n: u64,
    /// When it was written, by the sender's clock, or else by the server's.
    #[serde(borrow)]
    #[schema(value_type = String, format = DateTime)]
    at: &'a RawValue,
    /// Where it was written, if that is known.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LogStream>, nullable = false)]
    stream: Option<&'a RawValue>,
    /// May hold control characters.
    #[serde(borrow)]
    #[schema(value_type = String)]
    text: &'a RawValue,
    /// The line was longer, and is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cut: Option<bool>,
}

/// How much a log has.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogCounts {
    /// The lines that were ever sent.
    lines: u64,
    /// Those of them that are no longer kept.
    dropped: u64,
}

/// The lines of a part, which are written one by one.
struct Lines<'a>(&'a LogPage);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbered = (self.0.first..).zip(&self.0.lines);
        serializer.collect_seq(numbered.filter_map(|(n, line)| Line::numbered(n, line)))
    }
}

impl<'a> Line<'a> {
    /// None if it is not a line that Milepost wrote: another program has written the job's keys in Redis.
    fn numbered(n: u64, line: &'a LogLine) -> Option<Self> {
        serde_json::from_str::<Line<'_>>(line.json()).ok().map(|line| Self { n, ..line })
    }
}

/// At most how many bytes [`encode`] returns.
pub(super) fn size_hint(page: &LogPage) -> usize {
    page.lines.iter().map(|line| line.json().len() + 32).sum::<usize>() + 256
}

pub(super) fn encode(job: &JobId, page: &LogPage, since: Option<Position>) -> String {
    let body = JobLog {
        job_id: job,
        lines: Lines(page),
        next: next(page, since),
        log_gap: page.gap.then_some(true),
        log: LogCounts { lines: page.log.lines(), dropped: page.log.dropped },
    };
    let mut out = Vec::with_capacity(size_hint(page));
    // Writing into a Vec cannot fail, and JSON is UTF-8.
    let _ = serde_json::to_writer(&mut out, &body);
    String::from_utf8(out).unwrap_or_default()
}

/// The message that has a part of a log on a socket.
pub(crate) fn message(job: &JobId, page: &LogPage, since: Option<Position>) -> String {
    let json = encode(job, page, since);
    format!("{{\"type\":\"log\",{}", json.strip_prefix('{').unwrap_or_default())
}

/// The position to continue from. A position has a number of 1 or more, so without lines it stays what it was. The position of
/// a log that is gone is given up: a reader that kept it would never wait.
pub(crate) fn next(page: &LogPage, since: Option<Position>) -> Option<Position> {
    page.next().filter(|next| next.number > 0).or(since.filter(|_| !page.gap))
}
