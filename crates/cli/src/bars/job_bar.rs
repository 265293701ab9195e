//! One job's bar.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use milepost_protocol::Status;

use super::JobSummary;

/// Bars are drawn in thousandths.
const FULL: u64 = 1000;

/// A line in a terminal: name, bar or spinner, percentage, details. Drawn by `show` and `wait` only.
#[derive(Debug)]
pub(crate) struct JobBar {
    bar: ProgressBar,
    style: Option<BarStyle>,
    /// In thousandths.
    position: u64,
    line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BarStyle {
    Known,
    Unknown,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl JobBar {
    /// The last of `bars`. `width`: of the widest name.
    pub(crate) fn new(bars: &MultiProgress, name: &str, width: usize) -> Self {
        let mut bar =
            Self { bar: ProgressBar::hidden(), style: None, position: 0, line: String::new() };
        bar.look(BarStyle::Waiting);
        bar.bar.set_length(FULL);
        bar.bar.set_prefix(format!("{name:width$}"));
        bar.bar = bars.add(bar.bar);
        bar
    }

    /// Shows the job like this, with a note such as the state of the connection at the end. Draws.
    pub(crate) fn show(&mut self, summary: &JobSummary, note: Option<&str>) {
        self.look(match (summary.status, summary.progress) {
            (Status::Completed, _) => BarStyle::Completed,
            (Status::Failed, _) => BarStyle::Failed,
            (Status::Cancelled, _) => BarStyle::Cancelled,
            (Status::Queued, _) => BarStyle::Waiting,
            (Status::Processing, Some(_)) => BarStyle::Known,
            (Status::Processing, None) => BarStyle::Unknown,
        });
        let progress =
            if summary.status == Status::Completed { 1.0 } else { summary.progress.unwrap_or(0.0) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0…1"
        )]
        let position = (progress.clamp(0.0, 1.0) * 1000.0) as u64;
        if self.position != position {
            self.position = position;
            self.bar.set_position(position);
        }
        let details = summary.details();
        let mut line = summary.short();
        for (part, gap) in [(Some(details.as_str()), "  "), (note, " · ")] {
            if let Some(part) = part.filter(|p| !p.is_empty()) {
                line.push_str(if details.is_empty() { "  " } else { gap });
                line.push_str(part);
            }
        }
        self.say(line);
    }

    /// For a job that nothing is known of: the note alone. Draws.
    pub(crate) fn wait(&mut self, note: &str) {
        self.look(BarStyle::Waiting);
        self.say(note.to_owned());
    }

    fn say(&mut self, line: String) {
        if self.line != line {
            self.bar.set_message(line.clone());
            self.line = line;
        }
        self.bar.tick();
    }

    /// Draws it once more, whatever the cap on redraws, and leaves it as it is.
    pub(crate) fn leave(&self) {
        self.bar.abandon();
    }

    fn look(&mut self, look: BarStyle) {
        if self.style == Some(look) {
            return;
        }
        self.style = Some(look);
        let template = match look {
            BarStyle::Known => "{prefix:.bold} {bar:28.cyan/dim} {wide_msg}",
            BarStyle::Unknown => "{prefix:.bold} {spinner:28.cyan} {wide_msg}",
            BarStyle::Waiting => "{prefix:.bold} {spinner:28.dim} {wide_msg}",
            BarStyle::Completed => "{prefix:.bold} {bar:28.green/dim} {wide_msg}",
            BarStyle::Failed => "{prefix:.bold} {bar:28.red/dim} {wide_msg}",
            BarStyle::Cancelled => "{prefix:.bold} {bar:28.yellow/dim} {wide_msg}",
        };
        #[expect(clippy::expect_used, reason = "the templates are constants, each drawn by a test")]
        let style = ProgressStyle::with_template(template).expect("a valid template");
        self.bar.set_style(style.progress_chars("━╸╌").tick_strings(&spinner_frames()));
    }
}

/// A short run that goes to and fro: something moves, and there is no saying how far.
fn spinner_frames() -> [&'static str; 9] {
    [
        "━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "╌╌╌╌━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "╌╌╌╌╌╌╌╌━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "╌╌╌╌╌╌╌╌╌╌╌╌━━━━╌╌╌╌╌╌╌╌╌╌╌╌",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌━━━━╌╌╌╌╌╌╌╌",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌━━━━╌╌╌╌",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌━━━━",
        "╌╌╌╌╌╌╌╌╌╌╌╌━━━━╌╌╌╌╌╌╌╌╌╌╌╌",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
    ]
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    use super::*;

    fn drawn(summary: &JobSummary, note: Option<&str>) -> String {
        let terminal = InMemoryTerm::new(4, 80);
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(
            terminal.clone(),
        )));
        let mut bar = JobBar::new(&bars, "r1", 4);
        bar.show(summary, note);
        bar.leave();
        terminal.contents()
    }

    #[test]
    fn every_look_is_one_line() {
        for status in Status::ALL {
            for progress in [None, Some(0.0), Some(0.5), Some(1.0), Some(7.0)] {
                let summary = JobSummary {
                    progress,
                    message: Some("x".repeat(300)),
                    ..JobSummary::new(status)
                };
                let drawn = drawn(&summary, Some("no word for 42 s"));
                assert_eq!(drawn.lines().count(), 1, "{drawn}");
                assert!(drawn.starts_with("r1   "), "{drawn}");
            }
        }
    }

    #[test]
    fn half_is_half_and_unknown_has_no_percentage() {
        let half = JobSummary { progress: Some(0.5), ..JobSummary::new(Status::Processing) };
        let text = drawn(&half, Some("no word for 42 s"));
        assert_eq!(text.matches('━').count(), 14, "{text}");
        assert!(text.ends_with("50 %  no word for 42 s"), "{text}");
        let unknown = drawn(&JobSummary::new(Status::Processing), None);
        assert!(!unknown.contains('%') && unknown.contains('…'), "{unknown}");
    }
}
