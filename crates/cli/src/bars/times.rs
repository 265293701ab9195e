//! When a job began, was last reported and ended.

use std::time::Duration;

use milepost_protocol::{Health, State, Status, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::rate::{per_time, rate_of};
use super::time_left::time_left;

/// The moments in a job's present attempt, as far as its state has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JobTimes {
    /// By the server's clock.
    pub(crate) started: Option<Timestamp>,
    /// The latest report, by the server's clock.
    pub(crate) seen: Option<Timestamp>,
    /// The same, or by the worker's clock where the state has no other.
    pub(crate) reported: Option<Timestamp>,
    /// None while the job runs.
    pub(crate) ended: Option<Timestamp>,
    /// The state's estimate of when the job completes; none after the end, and while nothing moves.
    pub(crate) eta: Option<Timestamp>,
    /// When it almost certainly has completed.
    pub(crate) eta_high: Option<Timestamp>,
    /// Progress a second, 0…1, if the estimate is based on one.
    rate: Option<f64>,
    /// Its worker has something to report, and the state says nothing of its health.
    may_be_silent: bool,
}

/// After this, a running job is shown as silent of whose health the server says nothing. Pages have the same number:
/// docs/decisions/0037.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// Fields of the state. They may be of any type: a worker's own pass through.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    started_at: Value,
    #[serde(default)]
    last_seen_at: Value,
    #[serde(default)]
    ended_at: Value,
    #[serde(default)]
    timestamp: Value,
    #[serde(default)]
    eta: Value,
    #[serde(default)]
    eta_high: Value,
    #[serde(default)]
    eta_basis: Value,
    #[serde(default)]
    progressed_at: Value,
}

impl JobTimes {
    pub(crate) fn of(state: &State) -> Self {
        let fields: Fields = serde_json::from_str(state.json()).unwrap_or_default();
        let moment = |value: &Value| value.as_str().and_then(Timestamp::parse);
        let seen = moment(&fields.last_seen_at);
        let reported = seen.or_else(|| moment(&fields.timestamp));
        let ended = moment(&fields.ended_at).or(reported);
        let moves = state.status() == Status::Processing
            && state.health().is_none_or(|health| health == Health::Ok);
        let estimate = |value: &Value| moment(value).filter(|_| moves);
        let eta = estimate(&fields.eta);
        let by_rate = eta.filter(|_| fields.eta_basis == "rate");
        let view = state.view();
        // While children run, their parent's worker may have nothing to report.
        let children_run = view.children.is_some_and(|children| children.processing > 0);
        Self {
            started: moment(&fields.started_at),
            seen,
            reported,
            ended: ended.filter(|_| state.status().is_end()),
            eta,
            eta_high: estimate(&fields.eta_high),
            rate: rate_of(view.progress, moment(&fields.progressed_at), by_rate),
            may_be_silent: moves && state.health().is_none() && !children_run,
        }
    }

    /// From the start to the end, or until now. A job whose end is all that was reported took no time that is known.
    pub(crate) fn took(&self, now: Timestamp) -> Option<Duration> {
        let took = self.ended.unwrap_or(now).since(self.started?);
        (self.ended.is_none() || !took.is_zero()).then_some(took)
    }

    /// Whether its worker has been silent for [`SILENCE`], and the state does not say that this is all right.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        self.may_be_silent && self.seen.is_some_and(|seen| now.since(seen) >= SILENCE)
    }

    /// In words, how long it still takes. None if the state has no estimate, or its worker is silent.
    pub(crate) fn left(&self, now: Timestamp) -> Option<String> {
        let eta = self.eta.filter(|_| !self.is_silent(now))?;
        Some(time_left(eta, self.eta_high, now))
    }

    /// In words, how fast it advances: `2.5 %/s`. None if the state has no estimate that is based on the rate.
    pub(crate) fn rate(&self) -> Option<String> {
        self.rate.map(per_time)
    }

    /// `1:05 · about 4 min left`: the time since the start, or from there to the end, and the estimate if there is one.
    pub(crate) fn clock(&self, now: Timestamp) -> Option<String> {
        let took = self.took(now).map(if self.ended.is_some() { time_taken } else { clock });
        let parts: Vec<String> = took.into_iter().chain(self.left(now)).collect();
        (!parts.is_empty()).then(|| parts.join(" · "))
    }
}

/// `2026-01-01 00:00:00 UTC`.
pub(crate) fn utc(moment: Timestamp) -> String {
    let text = moment.to_string();
    // RFC 3339 with microseconds: what comes before them is the date, a T and the time.
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{} UTC", seconds.replacen('T', " ", 1))
}

/// How long ago that was. What lies in the future is now.
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    let age = now.since(moment);
    if age < JUST_NOW { "just now".to_owned() } else { format!("{} ago", since(age)) }
}

/// What is no longer ago than this is now.
const JUST_NOW: Duration = Duration::from_secs(2);

/// How long something has lasted so far, such as silence, in its largest unit: `42 s`, `12 min`, `3 h`, `5 days`.
pub(crate) fn since(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration as a running clock shows it: `0:42`, `3:05`, `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

/// How long something took that is over: `958 ms`, `3.2 s`, `42 s`, `1:18`, `2:05:10`, `3 d 4 h`.
pub(crate) fn time_taken(time: Duration) -> String {
    let (milliseconds, seconds) = (time.as_millis(), time.as_secs());
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..10 => format!("{seconds}.{} s", milliseconds / 100 % 10),
        10..60 => format!("{seconds} s"),
        60..86_400 => clock(time),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(fields: &str) -> JobTimes {
        let json = format!(r#"{{"job_id":"a",{fields},"attempt":1,"position":"1-1"}}"#);
        JobTimes::of(&State::parse(&json).unwrap())
    }

    #[test]
    fn a_job_took_from_its_start_to_its_end_or_until_now() {
        let now = Timestamp::parse("2026-01-01T00:10:00Z").unwrap();
        let start = r#""started_at":"2026-01-01T00:00:00Z","timestamp":"2026-01-01T00:02:00Z""#;
        let took = |fields: &str| times(fields).took(now).map(|took| took.as_secs());
        assert_eq!(took(&format!(r#""status":"processing",{start}"#)), Some(600));
        assert_eq!(took(&format!(r#""status":"completed",{start}"#)), Some(120));
        let ended = format!(r#""status":"failed",{start},"ended_at":"2026-01-01T00:03:00Z""#);
        assert_eq!(took(&ended), Some(180));
        assert_eq!(took(r#""status":"completed","timestamp":"2026-01-01T00:02:00Z""#), None);
        let at_once = r#""started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z""#;
        assert_eq!(took(&format!(r#""status":"completed",{at_once}"#)), None);
        // A worker's own field of that name.
        assert_eq!(took(r#""status":"processing","started_at":{"x":1}"#), None);
    }

    #[test]
    fn a_running_clock_shows_hours_once_there_are_some() {
        assert_eq!(
            [0, 42, 185, 3723].map(|s| clock(Duration::from_secs(s))),
            ["0:00", "0:42", "3:05", "1:02:03"]
        );
    }

    #[test]
    fn the_words_are_those_of_the_fixtures() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../spec/fixtures/durations.json")).unwrap();
        let check = |kind: &str, words: &dyn Fn(i64) -> String| {
            let cases = fixture[kind].as_array().unwrap();
            assert!(cases.len() > 5);
            for case in cases {
                let words = words(case["ms"].as_i64().unwrap());
                assert_eq!(words, case["words"].as_str().unwrap(), "{kind} {case}");
            }
        };
        let length = |ms: i64| Duration::from_millis(ms.try_into().unwrap());
        check("took", &|ms| time_taken(length(ms)));
        check("since", &|ms| since(length(ms)));
        check("ago", &|ms| {
            let now = Timestamp::parse("2026-01-10T00:00:00Z").unwrap();
            ago(Timestamp::from_micros(now.as_micros() - ms * 1000), now)
        });
    }

    #[test]
    fn what_is_over_is_more_precise_than_what_runs() {
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let clock = |status: &str| {
            let moments =
                r#""started_at":"2026-01-01T00:00:00Z","timestamp":"2026-01-01T00:00:00.958Z""#;
            times(&format!(r#"{moments},"status":"{status}""#)).clock(now)
        };
        assert_eq!(clock("completed").as_deref(), Some("958 ms"));
        assert_eq!(clock("processing").as_deref(), Some("1:00"));
    }

    #[test]
    fn the_clock_has_an_estimate_where_the_state_has_one() {
        let now = Timestamp::parse("2026-01-01T00:01:05Z").unwrap();
        let clock = |rest: &str| {
            let start = r#""started_at":"2026-01-01T00:00:00Z","timestamp":"2026-01-01T00:01:00Z""#;
            times(&format!("{start},{rest}")).clock(now)
        };
        let eta = r#""eta":"2026-01-01T00:05:05Z""#;
        let processing = r#""status":"processing""#;
        assert_eq!(clock(processing).as_deref(), Some("1:05"));
        let estimated = format!("{processing},{eta}");
        assert_eq!(clock(&estimated).as_deref(), Some("1:05 · about 4 min left"));
        let lost = format!(r#"{estimated},"heartbeat":10,"health":"lost""#);
        assert_eq!(clock(&lost).as_deref(), Some("1:05"));
        let ended = format!(r#""status":"completed",{eta}"#);
        assert_eq!(clock(&ended).as_deref(), Some("1:00"));
        assert_eq!(times(r#""status":"queued""#).clock(now), None);
    }

    #[test]
    fn a_silent_worker_has_no_time_left() {
        let left = |seconds: i64, rest: &str| {
            let moments = r#""last_seen_at":"2026-01-01T00:00:00Z","eta":"2026-01-01T00:10:00Z""#;
            let seen = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
            let now = Timestamp::from_micros(seen.as_micros() + seconds * 1_000_000);
            times(&format!(r#"{moments},"status":"processing"{rest}"#)).left(now).is_some()
        };
        assert!(left(29, "") && !left(30, ""));
        assert!(left(30, r#","health":"ok""#), "the server knows");
        let children = r#","children":{"expected":1,"queued":0,"processing":1,"completed":0,"failed":0,"cancelled":0,"lost":0}"#;
        assert!(left(30, children), "its children run");
    }

    #[test]
    fn the_rate_is_that_of_an_estimate_which_is_based_on_one() {
        let rate = |rest: &str| {
            let moments = r#""progressed_at":"2026-01-01T00:00:10Z","eta":"2026-01-01T00:00:40Z""#;
            times(&format!(r#"{moments},"status":"processing","progress":0.25,{rest}"#)).rate()
        };
        assert_eq!(rate(r#""eta_basis":"rate""#).as_deref(), Some("2.5 %/s"));
        assert_eq!(rate(r#""eta_basis":"both""#), None);
        assert_eq!(rate(r#""eta_basis":"rate","health":"stalled""#), None);
    }
}
