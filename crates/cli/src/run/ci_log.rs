//! Lines for a CI system's log, where no bar can be drawn.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tracker::ProgressSink;
use crate::bars::{JobSummary, sanitized};

/// A line is due for each such part of the way, in percent.
const STEP: u8 = 10;

/// Something that goes on gets a line this often.
const AT_LEAST: Duration = Duration::from_secs(30);

/// Whether this runs in a CI system. Elsewhere a pipe's reader expects the command's output and nothing else.
pub(super) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| !matches!(ci.as_str(), "" | "0" | "false"))
}

/// Passes progress on, and prints a line on stderr for each stage, each 10 % and, while something changes, each 30 s.
pub(super) struct CiLog<'a> {
    job: &'a str,
    next: &'a dyn ProgressSink,
    printed: Option<Mutex<Printed>>,
}

/// What the last line said.
#[derive(Debug)]
struct Printed {
    stage: String,
    step: Option<u8>,
    at: Instant,
}

impl<'a> CiLog<'a> {
    /// Without `prints` it only passes on.
    pub(super) fn new(job: &'a str, next: &'a dyn ProgressSink, prints: bool) -> Self {
        let now = Instant::now();
        let printed =
            prints.then(|| Mutex::new(Printed { stage: String::new(), step: None, at: now }));
        Self { job, next, printed }
    }
}

impl ProgressSink for CiLog<'_> {
    fn progress_changed(&self, summary: &JobSummary) {
        self.next.progress_changed(summary);
        let Some(printed) = &self.printed else { return };
        let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.is_due(summary, Instant::now()) {
            let (short, details) = (summary.short(), summary.details());
            let line = format!("milepost: {}: {}  {details}", self.job, short.trim_start());
            // Without a reader the command goes on.
            let _ = writeln!(io::stderr(), "{}", sanitized(line.trim_end()));
        }
    }
}

impl Printed {
    fn is_due(&mut self, summary: &JobSummary, now: Instant) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0…100"
        )]
        let step = summary.progress.map(|p| (p.clamp(0.0, 1.0) * 100.0 + 1e-9) as u8 / STEP);
        let due = self.stage != summary.stage
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
        let mut printed = Printed { stage: String::new(), step: None, at: t0 };
        let at = |progress: f64, stage: &str| JobSummary {
            progress: Some(progress),
            stage: stage.to_owned(),
            ..JobSummary::new(Status::Processing)
        };
        let due =
            (0..=1000).filter(|n| printed.is_due(&at(f64::from(*n) / 1000.0, "a"), t0)).count();
        assert_eq!(due, 11);
        assert!(printed.is_due(&at(1.0, "b"), t0));
        assert!(!printed.is_due(&at(1.0, "b"), t0 + Duration::from_secs(29)));
        assert!(printed.is_due(&at(1.0, "b"), t0 + Duration::from_secs(30)));
    }
}
