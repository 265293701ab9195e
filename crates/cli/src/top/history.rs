//! A job's whole attempt, as far as its page shows it: `spec/README.md`, section 9.

use std::borrow::Cow;
use std::time::Duration;

use milepost_protocol::{Stage, Timestamp};
use serde::Deserialize;

/// What the server keeps of the present attempt. Empty: it keeps nothing, or is older.
#[derive(Debug, Default, Deserialize)]
pub(super) struct History {
    /// Seconds since the start, and the progress then, oldest first.
    #[serde(default)]
    samples: Vec<(f64, f64)>,
    /// The stages that have begun, oldest first.
    #[serde(default)]
    pub(super) stages: Vec<PastStage>,
}

/// A stage that has begun.
#[derive(Debug, Deserialize)]
pub(super) struct PastStage {
    pub(super) id: String,
    label: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
}

impl PastStage {
    /// As if the job had declared it.
    pub(super) fn stage(&self) -> Stage<'_> {
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
        let started = Timestamp::parse(self.started_at.as_deref()?)?;
        let ended = self.ended_at.as_deref().and_then(Timestamp::parse);
        Some(ended.unwrap_or(now).since(started))
    }
}

impl History {
    /// How long the stage took, all its runs together, or has taken until now. None if it has not begun.
    pub(super) fn took(&self, stage: &str, now: Timestamp) -> Option<Duration> {
        self.stages
            .iter()
            .filter(|past| past.id == stage)
            .filter_map(|past| past.took(now))
            .reduce(|all, one| all + one)
    }

    /// The progress over the whole attempt in `columns` columns, in percent: in each, that of the latest sample until
    /// then. Empty if there are too few samples to draw.
    pub(super) fn chart(&self, columns: usize) -> Vec<u64> {
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

    fn history(json: &str) -> History {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_chart_is_the_whole_attempt_in_any_width() {
        let whole = history(r#"{"samples":[[0,0],[5,0.25],[10,0.5]]}"#);
        assert_eq!(whole.chart(4), [0, 25, 25, 50]);
        assert_eq!(whole.chart(2), [25, 50]);
        assert_eq!(whole.chart(1), [50]);
        assert!(whole.chart(0).is_empty());
        assert!(history(r#"{"samples":[[0,0],[5,0.25]]}"#).chart(4).is_empty());
        assert!(history("{}").chart(4).is_empty());
    }

    #[test]
    fn a_stage_took_all_its_runs_together() {
        let whole = history(
            r#"{"stages":[
            {"id":"a","label":"A","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:10Z"},
            {"id":"b","label":null,"started_at":"2026-01-01T00:00:10Z","ended_at":"2026-01-01T00:00:20Z"},
            {"id":"a","label":"A","started_at":"2026-01-01T00:00:20Z","ended_at":null}]}"#,
        );
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let took = |stage| whole.took(stage, now).map(|took| took.as_secs());
        assert_eq!((took("a"), took("b"), took("c")), (Some(50), Some(10), None));
    }
}
