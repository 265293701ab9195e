//! `milepost status`: a job's present state, once.

use std::fmt::Write as _;
use std::io::{self, Write};

use milepost_protocol::{JobId, State, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::bars::{JobSummary, JobTimes, ago, duration, percent, sanitized, utc};
use crate::client::{Client, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, printed};

/// Show a job's present state.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    /// As JSON, on one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        match Client::new(self.server.url()).and_then(|client| client.state(&self.job)) {
            Ok(Some(state)) => {
                let text = if self.json {
                    format!("{}\n", state.json())
                } else {
                    in_words(&state, Timestamp::now())
                };
                printed(io::stdout().write_all(text.as_bytes()))
            }
            Ok(None) => {
                complain(format_args!("the job {} is not known", self.job), ExitCode::UnknownJob)
            }
            Err(error) => complain(&error, error.exit_code()),
        }
    }
}

fn in_words(state: &State, now: Timestamp) -> String {
    let (summary, view, times) = (JobSummary::of(state), state.view(), JobTimes::of(state));
    let mut text = format!("{}: {}", state.job(), state.status());
    if let Some(progress) = summary.progress.filter(|_| !state.status().is_end()) {
        let _ = write!(text, ", {}", percent(progress).trim_start());
    }
    text.push('\n');
    let mut field = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            let lines: Vec<_> = value.trim_end().lines().map(sanitized).collect();
            let _ = writeln!(text, "{name:>10}  {}", lines.join("\n            "));
        }
    };
    field("stage", summary.own_stage());
    // A legacy worker's message is its error once more.
    let repeats = |message: &&str| {
        summary.error.as_deref().is_some_and(|error| message.trim_start_matches("Error: ") == error)
    };
    field("message", summary.message.as_deref().filter(|message| !repeats(message)));
    field("error", summary.error.as_deref());
    field("metadata", Some(&pairs(&summary.metadata)));
    field("result", view.result.map(RawValue::get).filter(|json| *json != "null"));
    field(
        "attempt",
        Some(&state.attempt().to_string()).filter(|_| state.attempt() > 1).map(String::as_str),
    );
    let moment = |moment: Timestamp| format!("{}, {}", utc(moment), ago(moment, now));
    field("started", times.started.map(moment).as_deref());
    field("reported", times.reported.filter(|_| times.ended.is_none()).map(moment).as_deref());
    field("ended", times.ended.map(moment).as_deref());
    field("took", times.took(now).map(|took| duration(took.as_secs_f64())).as_deref());
    text
}

/// `frame=3 total=9`, without what is null.
fn pairs(metadata: &Map<String, Value>) -> String {
    let known = metadata.iter().filter(|(_, value)| !value.is_null());
    let pairs = known.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(fields: &str) -> String {
        let json = format!(r#"{{"job_id":"a",{fields},"attempt":1,"position":"1-1"}}"#);
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        in_words(&State::parse(&json).unwrap(), now)
    }

    #[test]
    fn a_state_for_people_has_no_null_and_nothing_twice() {
        let running = r#""status":"processing","stage":"processing","progress":0.5,"message":null,"error":null,"result":null,"metadata":{"frame":3,"unit":"frames","rest":null},"started_at":"2026-01-01T00:00:00.125Z","timestamp":"2026-01-01T00:00:56.123456Z""#;
        assert_eq!(
            words(running),
            "a: processing, 50 %\n  metadata  frame=3 unit=frames\n   started  2026-01-01 00:00:00 UTC, 59 s ago\n  reported  2026-01-01 00:00:56 UTC, 3 s ago\n      took  59 s\n"
        );
        let failed = r#""status":"failed","stage":"cut","progress":0.0,"message":"Error: no disk","error":"no disk","metadata":{"rest":null},"timestamp":"2026-01-01T00:00:00""#;
        assert_eq!(
            words(failed),
            "a: failed\n     stage  cut\n     error  no disk\n     ended  2026-01-01 00:00:00 UTC, 1 min ago\n"
        );
        let traceback = r#""status":"failed","stage":"error","error":"first\nlast\n","timestamp":"2026-01-01T00:01:00Z""#;
        assert!(words(traceback).contains("     error  first\n            last\n"));
    }
}
