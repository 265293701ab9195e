//! Lines for a CI system's log or a terminal that cannot draw, where no bar can be drawn.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::github::{self, SummaryRow};
use super::outcome::Outcome;
use super::tracker::ProgressSink;
use crate::bars::{JobSummary, sanitized, time_taken};
use crate::exit::warn;

/// The step of progress, in percent, after which a line is due.
const STEP: u8 = 10;

/// While the job changes, a line is printed this often.
const AT_LEAST: Duration = Duration::from_secs(30);

/// The most stages in the summary of a step.
const MAX_STAGES: usize = 64;

/// Whether this runs in a CI system. Elsewhere a pipe's reader expects the command's output and nothing else.
pub(super) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| !matches!(ci.as_str(), "" | "0" | "false"))
}

/// Passes progress on, and prints a line on stderr for each stage, each 10 % and, while something changes, each 30 s.
pub(super) struct CiLog<'a> {
    job: &'a str,
    next: &'a dyn ProgressSink,
    printed: Option<Mutex<Printed>>,
    /// In GitHub Actions stages are groups, and a failure is an error above the log.
    github: bool,
}

/// What was last printed.
#[derive(Debug)]
struct Printed {
    stage: String,
    step: Option<u8>,
    at: Instant,
    /// The command's own stages, and when each began.
    stages: Vec<(String, Instant)>,
}

impl<'a> CiLog<'a> {
    /// Without `prints` it only passes on.
    pub(super) fn new(job: &'a str, next: &'a dyn ProgressSink, prints: bool) -> Self {
        let now = Instant::now();
        let printed = prints.then(|| Mutex::new(Printed::new(now)));
        Self { job, next, printed, github: prints && github::is_here() }
    }

    /// The command has ended so. `link` is where its job is shown.
    pub(super) fn finish(self, outcome: &Outcome, took: Duration, link: Option<&str>) {
        let Some(printed) = self.printed.filter(|_| self.github) else { return };
        let stages = printed.into_inner().unwrap_or_else(PoisonError::into_inner).stages;
        if !stages.is_empty() {
            print(github::END_GROUP);
        }
        if let Outcome::Failed { error, .. } = outcome {
            let title = format!("{} {}", self.job, outcome.in_words(took));
            print(&github::error(&title, error));
        }
        // Empty if it is run by hand.
        let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
        let Some(path) = path else { return };
        let ends = stages.iter().skip(1).map(|(_, begun)| *begun).chain([Instant::now()]);
        let stages: Vec<(String, String)> = stages
            .iter()
            .zip(ends)
            .map(|((stage, begun), end)| {
                (stage.clone(), time_taken(end.saturating_duration_since(*begun)))
            })
            .collect();
        let row = SummaryRow {
            job: self.job,
            link,
            outcome: &outcome.in_short(),
            took: &time_taken(took),
            stages: &stages,
        };
        if let Err(error) = row.append_to(path.as_ref()) {
            warn(format_args!("the step's summary cannot be written: {error}"));
        }
    }
}

impl ProgressSink for CiLog<'_> {
    fn progress_changed(&self, summary: &JobSummary) {
        self.next.progress_changed(summary);
        let Some(printed) = &self.printed else { return };
        let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = printed.stages.is_empty();
        if printed.enters(summary, Instant::now()) && self.github {
            if !is_first {
                print(github::END_GROUP);
            }
            print(&github::group(&format!("{}: {}", self.job, summary.stage)));
        }
        if printed.is_due(summary, Instant::now()) {
            let (short, details) = (summary.short(), summary.details());
            let line = format!("milepost: {}: {}  {details}", self.job, short.trim_start());
            print(&sanitized(line.trim_end()));
        }
    }
}

fn print(line: &str) {
    // If the output is closed, the command continues.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

impl Printed {
    fn new(now: Instant) -> Self {
        Self { stage: String::new(), step: None, at: now, stages: Vec::new() }
    }

    /// Whether a stage of the command's own begins. Remembers it.
    fn enters(&mut self, summary: &JobSummary, now: Instant) -> bool {
        let Some(stage) = summary.own_stage() else { return false };
        let enters = self.stages.last().is_none_or(|(last, _)| last != stage);
        let fits = enters && self.stages.len() < MAX_STAGES;
        if fits {
            self.stages.push((stage.to_owned(), now));
        }
        fits
    }

    fn is_due(&mut self, summary: &JobSummary, now: Instant) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0…100"
        )]
        let step = summary.progress.map(|p| (p.clamp(0.0, 1.0) * 100.0 + 1e-9) as u8 / STEP);
        // A command that has printed nothing yet has nothing to say.
        let is_news = summary.progress.is_some() || !summary.details().is_empty();
        let due = self.stage != summary.stage && is_news
            || step.is_some() && self.step != step
            || now.saturating_duration_since(self.at) >= AT_LEAST;
        if due {
            summary.stage.clone_into(&mut self.stage);
            self.step = step;
            self.at = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::Status;

    use super::*;

    #[test]
    fn stages_ten_percent_and_half_minutes_are_due() {
        let t0 = Instant::now();
        let mut printed = Printed::new(t0);
        let at = |progress: f64, stage: &str| JobSummary {
            progress: Some(progress),
            stage: stage.to_owned(),
            ..JobSummary::new(Status::Processing)
        };
        let due =
            (0..=1000).filter(|n| printed.is_due(&at(f64::from(*n) / 1000.0, "a"), t0)).count();
        assert_eq!(due, 11);
        assert!(printed.is_due(&at(1.0, "b"), t0));
        let silent = JobSummary { progress: None, ..at(0.0, "processing") };
        assert!(!Printed::new(t0).is_due(&silent, t0));
        assert!(!printed.is_due(&at(1.0, "b"), t0 + Duration::from_secs(29)));
        assert!(printed.is_due(&at(1.0, "b"), t0 + Duration::from_secs(30)));
    }
}
