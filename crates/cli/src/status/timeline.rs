//! A job's whole attempt, and those before it, as far as the server keeps them: `spec/README.md`, section 9.

use std::borrow::Cow;
use std::time::Duration;

use milepost_protocol::{Attribute, JobId, Stage, State, Status, Timestamp, parse_stages};
use serde::Deserialize;

use crate::bars::{ago, clock, time_taken};
use crate::client::{Client, RequestError};

/// What the server keeps of the present attempt, and how those before it ended. Empty: it keeps nothing, or is older.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Timeline {
    /// Seconds since the start, and the progress then, oldest first.
    #[serde(default)]
    samples: Vec<(f64, f64)>,
    /// The stages that have begun, oldest first.
    #[serde(default)]
    stages: Vec<PastStage>,
    /// The latest attempts, oldest first, the present one included.
    #[serde(default)]
    attempts: Vec<PastAttempt>,
}

/// A stage that has begun.
#[derive(Debug, Deserialize)]
struct PastStage {
    id: String,
    label: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PastAttempt {
    attempt: u32,
    status: Status,
    started_at: Option<String>,
    ended_at: Option<String>,
    /// Its last line.
    error: Option<String>,
}

impl PastStage {
    /// As if the job had declared it.
    fn stage(&self) -> Stage<'_> {
        let label = self.label.as_deref().map(Cow::Borrowed);
        Stage {
            id: Cow::Borrowed(&self.id),
            label,
            weight: 1.0,
            skipped: false,
            is_weighted: false,
        }
    }

    fn took(&self, now: Timestamp) -> Option<Duration> {
        let ended = moment(self.ended_at.as_ref());
        Some(ended.unwrap_or(now).since(moment(self.started_at.as_ref())?))
    }
}

impl PastAttempt {
    /// `2: failed after 42 s, 5 min ago: no disk`.
    fn in_words(&self, now: Timestamp) -> String {
        let Self { attempt, status, .. } = self;
        let ended = moment(self.ended_at.as_ref());
        let took = ended.zip(moment(self.started_at.as_ref())).map(|(end, start)| end.since(start));
        let preposition = if *status == Status::Completed { "in" } else { "after" };
        let took = took.filter(|took| !took.is_zero());
        let took = took.map(|took| format!(" {preposition} {}", time_taken(took)));
        let ended = ended.map(|ended| format!(", {}", ago(ended, now)));
        let error = self.error.as_ref().map(|error| format!(": {error}"));
        let [took, ended, error] = [took, ended, error].map(Option::unwrap_or_default);
        format!("{attempt}: {status}{took}{ended}{error}")
    }
}

fn moment(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(text))
}

impl Timeline {
    /// Empty if the server does not know the job.
    pub(crate) fn of(client: &Client, job: &JobId) -> Result<Self, RequestError> {
        match client.history(job) {
            Ok(json) => Ok(serde_json::from_str(&json).unwrap_or_default()),
            Err(RequestError::Refused(_)) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// How long the stage took, all its runs together, or has taken until now. None if it has not begun.
    fn took(&self, stage: &str, now: Timestamp) -> Option<Duration> {
        self.stages
            .iter()
            .filter(|past| past.id == stage)
            .filter_map(|past| past.took(now))
            .reduce(|all, one| all + one)
    }

    /// `✓ Download 10 s → ● Encode 0:42 → upload`: the completed stages with their durations, the present one, and the next
    /// ones. None if the job has no stages.
    pub(super) fn stages_in_words(&self, state: &State, now: Timestamp) -> Option<String> {
        let known = self.known_stages(state);
        let view = state.view();
        let current = known.iter().position(|stage| stage.id == view.stage);
        let marked = known.iter().enumerate().map(|(index, stage)| {
            let label = stage.label.as_ref().unwrap_or(&stage.id);
            let is_done =
                state.status() == Status::Completed || current.is_some_and(|at| index < at);
            let words = if is_done { time_taken } else { clock };
            let took = self.took(&stage.id, now).map(|took| format!(" {}", words(took)));
            let took = took.unwrap_or_default();
            match current {
                _ if stage.skipped => format!("{label} (skipped)"),
                _ if is_done => format!("✓ {label}{took}"),
                Some(at) if at == index => format!("● {label}{took}"),
                _ => format!("{label}{took}"),
            }
        });
        let marked: Vec<String> = marked.collect();
        (!marked.is_empty()).then(|| marked.join(" → "))
    }

    /// Those that the job declares; else those that have begun, if there are several.
    fn known_stages<'a>(&'a self, state: &'a State) -> Vec<Stage<'a>> {
        if let Some(declared) = state.attribute(Attribute::Stages).and_then(parse_stages) {
            return declared;
        }
        let mut begun: Vec<Stage<'_>> = Vec::new();
        for past in &self.stages {
            if begun.iter().all(|stage| stage.id != past.id) {
                begun.push(past.stage());
            }
        }
        if begun.len() < 2 { Vec::new() } else { begun }
    }

    /// A line for each attempt before the present one, the latest first.
    pub(super) fn earlier_in_words(&self, present: &State, now: Timestamp) -> Option<String> {
        let earlier = self.attempts.iter().filter(|past| past.attempt < present.attempt());
        let lines: Vec<String> = earlier.rev().map(|past| past.in_words(now)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The progress over the whole attempt in `columns` columns, in percent: in each, that of the latest sample until
    /// then. Empty if there are too few samples to draw.
    pub(crate) fn chart(&self, columns: usize) -> Vec<u64> {
        let Some((end, _)) = self.samples.last().filter(|_| self.samples.len() > 2) else {
            return Vec::new();
        };
        let mut samples = self.samples.iter().peekable();
        let mut latest = 0.0;
        (1..=columns)
            .map(|column| {
                #[expect(clippy::cast_precision_loss, reason = "the columns of a terminal")]
                let until = end * column as f64 / columns as f64;
                while let Some((_, progress)) = samples.next_if(|(at, _)| *at <= until) {
                    latest = *progress;
                }
                percent(latest)
            })
            .collect()
    }
}

fn percent(progress: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…100")]
    let percent = (progress.clamp(0.0, 1.0) * 100.0).round() as u64;
    percent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(json: &str) -> Timeline {
        serde_json::from_str(json).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:01:00Z").unwrap()
    }

    #[test]
    fn the_chart_is_the_whole_attempt_in_any_width() {
        let whole = timeline(r#"{"samples":[[0,0],[5,0.25],[10,0.5]]}"#);
        assert_eq!(whole.chart(4), [0, 25, 25, 50]);
        assert_eq!(whole.chart(2), [25, 50]);
        assert_eq!(whole.chart(1), [50]);
        assert!(whole.chart(0).is_empty());
        assert!(timeline(r#"{"samples":[[0,0],[5,0.25]]}"#).chart(4).is_empty());
        assert!(timeline("{}").chart(4).is_empty());
    }

    #[test]
    fn a_stage_took_all_its_runs_together() {
        let whole = timeline(
            r#"{"stages":[
            {"id":"a","label":"A","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:10Z"},
            {"id":"b","label":null,"started_at":"2026-01-01T00:00:10Z","ended_at":"2026-01-01T00:00:20Z"},
            {"id":"a","label":"A","started_at":"2026-01-01T00:00:20Z","ended_at":null}]}"#,
        );
        let took = |stage| whole.took(stage, now()).map(|took| took.as_secs());
        assert_eq!((took("a"), took("b"), took("c")), (Some(50), Some(10), None));
    }

    #[test]
    fn earlier_attempts_say_how_they_ended_and_why() {
        let whole = timeline(
            r#"{"attempts":[
            {"attempt":2,"status":"cancelled","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","error":null},
            {"attempt":3,"status":"failed","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:42Z","error":"no disk"},
            {"attempt":4,"status":"processing","started_at":"2026-01-01T00:00:43Z","ended_at":null,"error":null},
            {"attempt":5,"status":"processing","started_at":"2026-01-01T00:00:50Z","ended_at":null,"error":null}]}"#,
        );
        let present = r#"{"job_id":"a","status":"processing","attempt":5,"position":"1-1"}"#;
        let words = whole.earlier_in_words(&State::parse(present).unwrap(), now());
        let expected =
            "4: processing\n3: failed after 42 s, 18 s ago: no disk\n2: cancelled, 60 s ago";
        assert_eq!(words.as_deref(), Some(expected));
        let first = r#"{"job_id":"a","status":"processing","attempt":1,"position":"1-1"}"#;
        assert_eq!(whole.earlier_in_words(&State::parse(first).unwrap(), now()), None);
    }
}
