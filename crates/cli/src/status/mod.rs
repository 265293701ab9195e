//! `milepost status`: a job's present state, once.

mod timeline;
mod tree;

use std::fmt::Write as _;
use std::io::{self, Write};

use milepost_protocol::{Action, JobId, State, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::bars::{
    JobSummary, JobTimes, PAUSED, ago, clock, counts_in_words, last_line, percent, sanitized,
    time_taken, utc,
};
use crate::client::{Client, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, print_json, printed};
use crate::run::page;
pub(crate) use timeline::Timeline;
use tree::tree;

/// Show a job's present state.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    /// Print the state as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let answer = Client::new(self.server.url())
            .and_then(|client| client.state(&self.job).map(|state| (client, state)));
        match answer {
            Ok((_, Some(state))) if self.json => printed(print_json(state.json())),
            Ok((client, Some(state))) => {
                let link = self.server.http_url().ok().map(|url| page(url, &self.job));
                let log = log_size(&client, &self.job);
                let counts = state.view().children;
                let children = counts.map(|counts| tree(&client, &self.job, &counts));
                // Redis has none, and without it the rest is worth showing.
                let timeline = Timeline::of(&client, &self.job).unwrap_or_default();
                let (children, link) = (children.as_deref(), link.as_deref());
                let around = Extra { timeline: Some(&timeline), children, log, link };
                let text = in_words(&state, around, Timestamp::now());
                printed(io::stdout().write_all(text.as_bytes()))
            }
            Ok((_, None)) => {
                complain(format_args!("the job {} is not known", self.job), ExitCode::UnknownJob)
            }
            Err(error) => complain(&error, error.exit_code()),
        }
    }
}

/// How many lines a job's log has had, and how many of them are no longer kept.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct LogSize {
    lines: u64,
    #[serde(default)]
    dropped: u64,
}

/// None without a log, and if logs cannot be read: from Redis, or an older server.
fn log_size(client: &Client, job: &JobId) -> Option<LogSize> {
    #[derive(Deserialize)]
    struct Page {
        log: LogSize,
    }
    let json = client.log(job, &[("limit", "1")]).ok()?;
    let page: Page = serde_json::from_str(&json).ok()?;
    Some(page.log).filter(|log| log.lines > 0)
}

/// Rows of a name and a value. Unknown and empty values have no row.
#[derive(Debug)]
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        let Some(value) = value else { return };
        let lines: Vec<_> = value.as_ref().trim_end().lines().map(sanitized).collect();
        if !lines.is_empty() {
            let _ = writeln!(self.0, "{name:>10}  {}", lines.join("\n            "));
        }
    }
}

/// What is shown with a state and is not part of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) timeline: Option<&'a Timeline>,
    /// How many children there are, and a line for each of some.
    pub(crate) children: Option<&'a str>,
    pub(crate) log: Option<LogSize>,
    /// The job's page.
    pub(crate) link: Option<&'a str>,
}

/// What is known of a job, a row each, below its id and status.
pub(crate) fn in_words(state: &State, around: Extra<'_>, now: Timestamp) -> String {
    let (summary, view, times) = (JobSummary::of(state), state.view(), JobTimes::of(state));
    let summary = if times.is_silent(now) { summary.standing() } else { summary };
    let is_over = state.status().is_end();
    let mut rows = Rows(format!("{}: {}\n", state.job(), headline(&summary)));
    rows.add("name", view.name.as_deref());
    rows.add("tags", Some(view.tags.join(", ")));
    rows.add("stage", summary.own_stage());
    rows.add("stages", around.timeline.and_then(|timeline| timeline.stages_in_words(state, now)));
    rows.add("count", summary.counts.as_deref().filter(|_| !is_over));
    // A legacy worker's message is its error once more.
    let repeats = |message: &&str| {
        summary.error.as_deref().is_some_and(|error| message.trim_start_matches("Error: ") == error)
    };
    rows.add("message", summary.message.as_deref().filter(|message| !repeats(message)));
    rows.add("error", summary.error.as_deref().map(shortened));
    let request = state.requested().filter(|_| !is_done(state, &summary));
    rows.add("request", request.and_then(|json| request_in_words(json, now)));
    rows.add("metadata", Some(pairs(&summary)));
    rows.add("result", view.result.map(RawValue::get).filter(|json| *json != "null"));
    rows.add("attempt", Some(state.attempt()).filter(|n| *n > 1).map(|n| n.to_string()));
    rows.add("earlier", around.timeline.and_then(|timeline| timeline.earlier_in_words(state, now)));
    let moment = |moment: Timestamp| format!("{}, {}", utc(moment), ago(moment, now));
    rows.add("started", times.started.map(moment));
    rows.add("reported", times.reported.filter(|_| !is_over).map(moment));
    rows.add("ended", times.ended.map(moment));
    let took = times.took(now).map(if is_over { time_taken } else { clock });
    rows.add(if is_over { "took" } else { "elapsed" }, took);
    rows.add("rate", summary.rate());
    rows.add("left", times.left(now).or_else(|| summary.reported_left()));
    let counts = || view.children.as_ref().map(counts_in_words);
    rows.add("children", around.children.map(str::to_owned).or_else(counts));
    rows.add("log", around.log.map(|log| log_in_words(log, state.job())));
    rows.add("page", around.link);
    rows.0
}

/// Whether what was requested last is over. A job was cancelled by its request, so that one stays.
fn is_done(state: &State, summary: &JobSummary) -> bool {
    match state.requested_action() {
        Some(Action::Resume) => summary.request.is_none(),
        Some(Action::Pause) => state.status().is_end(),
        Some(Action::Cancel) | None => false,
    }
}

/// `processing, 40 %, stalled`.
fn headline(summary: &JobSummary) -> String {
    let mut headline = summary.status.to_string();
    if !summary.status.is_end() {
        if let Some(progress) = summary.progress {
            let _ = write!(headline, ", {}", percent(progress).trim_start());
        }
        if let Some(health) = summary.health {
            let _ = write!(headline, ", {health}");
        }
        if let Some(paused) = summary.request.filter(|request| *request == PAUSED) {
            let _ = write!(headline, ", {paused}");
        }
    }
    headline
}

/// The last line of an error, which names the cause, and how many others there are.
fn shortened(error: &str) -> String {
    let lines = error.lines().filter(|line| !line.trim().is_empty()).count();
    let last = last_line(error).trim();
    match lines {
        0 | 1 => last.to_owned(),
        2 => format!("{last}\n(after 1 line more: --json)"),
        _ => format!("{last}\n(after {} lines more: --json)", lines - 1),
    }
}

/// `cancel, by ann, 5 s ago: wrong input`.
fn request_in_words(json: &str, now: Timestamp) -> Option<String> {
    #[derive(Deserialize)]
    struct Request {
        action: String,
        at: Option<String>,
        by: Option<String>,
        reason: Option<String>,
    }
    let request: Request = serde_json::from_str(json).ok()?;
    let by = request.by.map(|by| format!(", by {by}")).unwrap_or_default();
    let at = request.at.as_deref().and_then(Timestamp::parse);
    let at = at.map(|at| format!(", {}", ago(at, now))).unwrap_or_default();
    let reason = request.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("{}{by}{at}{reason}", request.action))
}

fn log_in_words(log: LogSize, job: &JobId) -> String {
    let lines = if log.lines == 1 { "line" } else { "lines" };
    let kept = match log.dropped {
        0 => String::new(),
        dropped => format!(", the latest {} kept", log.lines.saturating_sub(dropped)),
    };
    format!("{} {lines}{kept}: milepost log {job}", log.lines)
}

/// `frame=3 total=9`, without what is null, and without what is shown elsewhere.
fn pairs(summary: &JobSummary) -> String {
    let is_shown =
        |(name, value): &(&String, &Value)| !value.is_null() && !summary.is_in_words(name);
    let known = summary.metadata.iter().filter(is_shown);
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
        in_words(&State::parse(&json).unwrap(), Extra::default(), now)
    }

    #[test]
    fn a_state_for_people_has_no_null_and_nothing_twice() {
        let running = r#""status":"processing","stage":"processing","progress":0.5,"message":null,"error":null,"result":null,"metadata":{"frame":3,"unit":"frames","rest":null},"started_at":"2026-01-01T00:00:00.125Z","timestamp":"2026-01-01T00:00:56.123456Z""#;
        assert_eq!(
            words(running),
            "a: processing, 50 %\n  metadata  frame=3 unit=frames\n   started  2026-01-01 00:00:00 UTC, 59 s ago\n  reported  2026-01-01 00:00:56 UTC, 3 s ago\n   elapsed  0:59\n"
        );
        let failed = r#""status":"failed","stage":"cut","progress":0.0,"message":"Error: no disk","error":"no disk","metadata":{"rest":null},"timestamp":"2026-01-01T00:00:00""#;
        assert_eq!(
            words(failed),
            "a: failed\n     stage  cut\n     error  no disk\n     ended  2026-01-01 00:00:00 UTC, 60 s ago\n"
        );
    }

    #[test]
    fn a_job_that_took_less_than_a_second_took_more_than_none() {
        let started = r#""started_at":"2026-01-01T00:00:00Z""#;
        let ended =
            |at: &str| words(&format!(r#""status":"completed",{started},"ended_at":"{at}""#));
        assert!(ended("2026-01-01T00:00:00.958Z").ends_with("\n      took  958 ms\n"));
        assert!(ended("2026-01-01T00:00:42.9Z").ends_with("\n      took  42 s\n"));
    }

    #[test]
    fn a_paused_job_is_shown_as_paused_until_it_goes_on() {
        let of = |status: &str, paused: bool, action: &str| {
            let requested =
                format!(r#""requested":{{"action":"{action}","at":"2026-01-01T00:00:50Z"}}"#);
            words(&format!(
                r#""status":"{status}","progress":0.4,"cancellable":true,"paused":{paused},{requested}"#
            ))
        };
        let request = |action: &str| format!("   request  {action}, 10 s ago\n");
        assert_eq!(
            of("processing", false, "pause"),
            "a: processing, 40 %\n".to_owned() + &request("pause")
        );
        assert_eq!(
            of("processing", true, "pause"),
            "a: processing, 40 %, paused\n".to_owned() + &request("pause")
        );
        assert_eq!(
            of("processing", true, "resume"),
            "a: processing, 40 %\n".to_owned() + &request("resume")
        );
        assert_eq!(of("processing", false, "resume"), "a: processing, 40 %\n");
        assert_eq!(of("completed", false, "resume"), "a: completed\n");
        assert_eq!(of("completed", true, "pause"), "a: completed\n");
        assert_eq!(
            of("cancelled", false, "cancel"),
            "a: cancelled\n".to_owned() + &request("cancel")
        );
    }

    #[test]
    fn of_a_traceback_the_last_line_is_shown() {
        let failed =
            |error: &str| words(&format!(r#""status":"failed","stage":"error","error":"{error}""#));
        assert_eq!(
            failed("a\\n\\nb: c\\n"),
            "a: failed\n     error  b: c\n            (after 1 line more: --json)\n"
        );
        assert!(failed("a\\nb\\nc").contains("  c\n            (after 2 lines more: --json)\n"));
    }

    #[test]
    fn stages_earlier_attempts_and_the_rate_are_there() {
        let json = r#"{"job_id":"a","status":"processing","stage":"encode","stages":[{"id":"fetch","label":"Download"},"encode","upload"],"progress":0.25,"metadata":{"fps":30,"rate":"12 MB/s","time_left":75},"started_at":"2026-01-01T00:00:20Z","progressed_at":"2026-01-01T00:00:50Z","attempt":2,"position":"1-1"}"#;
        let timeline = r#"{"samples":[],"stages":[
            {"id":"fetch","label":"Download","started_at":"2026-01-01T00:00:20Z","ended_at":"2026-01-01T00:00:30Z"},
            {"id":"encode","label":null,"started_at":"2026-01-01T00:00:30Z","ended_at":null}],"attempts":[
            {"attempt":1,"status":"failed","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:10Z","error":"no disk"},
            {"attempt":2,"status":"processing","started_at":"2026-01-01T00:00:20Z","ended_at":null,"error":null}]}"#;
        let timeline: Timeline = serde_json::from_str(timeline).unwrap();
        let around = Extra { timeline: Some(&timeline), ..Extra::default() };
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let rows = |json: &str| -> Vec<String> {
            let text = in_words(&State::parse(json).unwrap(), around, now);
            text.lines().map(str::to_owned).collect()
        };
        let mut expected = vec![
            "a: processing, 25 %",
            "     stage  encode",
            "    stages  ✓ Download 10 s → ● encode 0:30 → upload",
            "  metadata  fps=30",
            "   attempt  2",
            "   earlier  1: failed after 10 s, 50 s ago: no disk",
            "   started  2026-01-01 00:00:20 UTC, 40 s ago",
            "   elapsed  0:40",
            "      rate  12 MB/s",
            "      left  1:15 min left",
        ];
        assert_eq!(rows(json), expected);
        // The server's estimate counts more than the worker's, and the worker's rate more than that of the estimate.
        let eta = r#"{"eta":"2026-01-01T00:05:00Z","eta_basis":"rate","#;
        let estimated = json.replacen('{', eta, 1);
        expected.truncate(expected.len() - 2);
        expected[3] = "  metadata  fps=30 time_left=75";
        expected.extend(["      rate  12 MB/s", "      left  about 4 min left"]);
        assert_eq!(rows(&estimated), expected);
        let estimated = estimated.replace(r#""rate":"12 MB/s","#, "");
        let at = expected.len() - 2;
        expected[at] = "      rate  18 %/min";
        assert_eq!(rows(&estimated), expected);
    }

    #[test]
    fn what_a_person_asks_of_a_job_is_there() {
        let json = r#"{"job_id":"a","status":"processing","stage":"copy","progress":0.4,"current":400,"total":1000,"unit":"rows","name":"export","tags":["nightly","eu"],"stall_after":20,"health":"stalled","requested":{"action":"cancel","at":"2026-01-01T00:00:50Z","by":"ann","reason":"too slow"},"attempt":2,"position":"1-1"}"#;
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let log = LogSize { lines: 900, dropped: 100 };
        let children = Some("1 of 2 ended\n└─ b  done");
        let (log, link) = (Some(log), Some("http://s/?job=a"));
        let around = Extra { timeline: None, children, log, link };
        let text = in_words(&State::parse(json).unwrap(), around, now);
        let expected = [
            "a: processing, 40 %, stalled",
            "      name  export",
            "      tags  nightly, eu",
            "     stage  copy",
            "     count  400/1000 rows",
            "   request  cancel, by ann, 10 s ago: too slow",
            "   attempt  2",
            "  children  1 of 2 ended",
            "            └─ b  done",
            "       log  900 lines, the latest 800 kept: milepost log a",
            "      page  http://s/?job=a",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
