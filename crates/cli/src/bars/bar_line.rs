//! One job as one row of a terminal.

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};
use milepost_protocol::Status;

use super::{JobSummary, sanitized};

/// Columns of a bar that has room.
const FULL_BAR: usize = 28;
/// A narrower bar shows too little.
const MIN_BAR: usize = 6;
/// Columns that the details get before the bar is made narrower.
const MIN_DETAILS: usize = 20;
/// A name is cut to this before the percentage is in danger.
const MIN_NAME: usize = 4;

/// What a row shows beside the job itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowOptions<'a> {
    /// Columns of the widest name among the rows.
    pub(crate) name_width: usize,
    /// Columns of the terminal.
    pub(crate) columns: usize,
    /// Moves the bar of a job whose total is not known.
    pub(crate) frame: usize,
    /// Such as the time since the start.
    pub(crate) clock: Option<&'a str>,
    /// Such as the state of the connection.
    pub(crate) note: Option<&'a str>,
    /// Whether to use colours.
    pub(crate) colours: bool,
}

/// Columns of each part. The last column stays free: a terminal wraps when it is written.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    name: usize,
    bar: usize,
    details: usize,
}

impl Layout {
    /// The percentage always fits. As the terminal gets narrower first the details shrink, then the bar, then the name.
    fn new(name: usize, percent: usize, details: usize, columns: usize) -> Self {
        let available = columns.saturating_sub(1).saturating_sub(percent);
        if available < MIN_NAME + 1 {
            return Self { name: 0, bar: 0, details: 0 };
        }
        // A long name leaves something to the other parts.
        // By the whole width: rows with longer and shorter percentages have their bars below each other.
        let name =
            if details > 0 { name.min((columns.saturating_sub(6) * 2 / 5).max(12)) } else { name };
        let name = name.min(available - 1);
        let after_name = available - name - 1;
        if after_name < MIN_BAR + 1 {
            // No bar fits beside the whole name.
            let shorter = available.saturating_sub(MIN_BAR + 2);
            return if shorter >= MIN_NAME {
                Self { name: shorter, bar: MIN_BAR, details: 0 }
            } else {
                Self { name, bar: 0, details: 0 }
            };
        }
        let reserved = if details > 0 { details.min(MIN_DETAILS) + 2 } else { 0 };
        let bar = (after_name - 1).saturating_sub(reserved).clamp(MIN_BAR, FULL_BAR);
        let bar = bar.min(after_name - 1);
        let left = (after_name - 1 - bar).saturating_sub(2);
        Self { name, bar, details: if left >= 4 { left.min(details) } else { 0 } }
    }
}

/// The row, without a line's end. It never wraps. Without a summary, nothing is known of the job, and the note has the
/// reason.
pub(crate) fn bar_line(
    name: &str,
    summary: Option<&JobSummary>,
    options: RowOptions<'_>,
) -> String {
    let percent = summary.map_or_else(String::new, JobSummary::short);
    let details = details(summary, options);
    let layout = Layout::new(
        options.name_width.max(measure_text_width(name)),
        measure_text_width(&percent),
        measure_text_width(&details),
        options.columns,
    );
    let mut parts = Vec::new();
    if layout.name > 0 {
        let name = pad_str(name, layout.name, Alignment::Left, Some("…"));
        parts.push(paint(Style::new().bold(), options.colours, &name));
    }
    if layout.bar > 0 {
        parts.push(bar(summary, layout.bar, options));
    }
    if !percent.is_empty() {
        parts.push(percent);
    }
    let mut row = parts.join(" ");
    if layout.details > 0 {
        row.push_str(if summary.is_some() { "  " } else { " " });
        row.push_str(&truncate_str(&details, layout.details, "…"));
    }
    truncate_str(row.trim_end(), options.columns.saturating_sub(1), "").into_owned()
}

fn details(summary: Option<&JobSummary>, options: RowOptions<'_>) -> String {
    let details = summary.map(JobSummary::details).unwrap_or_default();
    let note = sanitized(options.note.unwrap_or(""));
    let parts = [options.clock.unwrap_or(""), &details, &note];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

fn bar(summary: Option<&JobSummary>, width: usize, options: RowOptions<'_>) -> String {
    let done = match summary {
        Some(summary) if summary.status == Status::Completed => Some(1.0),
        Some(summary) => summary.progress,
        None => None,
    };
    let style = match summary.map(|summary| summary.status) {
        Some(Status::Processing) => Style::new().cyan(),
        Some(Status::Completed) => Style::new().green(),
        Some(Status::Failed) => Style::new().red(),
        Some(Status::Cancelled) => Style::new().yellow(),
        Some(Status::Queued) | None => Style::new().dim(),
    };
    let (before, filled) = match done {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a width of at most 28, times 0…1"
        )]
        Some(done) => (0, (done.clamp(0.0, 1.0) * width as f64) as usize),
        // A short block that moves through the bar: the job runs, and its progress is not known.
        None if summary.is_some_and(|s| s.status == Status::Processing) => {
            let run = (width / 4).max(1);
            let start = options.frame % width;
            (start, run.min(width - start))
        }
        None => (0, 0),
    };
    let rest = width - before - filled;
    let [before, rest] =
        [before, rest].map(|n| paint(Style::new().dim(), options.colours, &"╌".repeat(n)));
    format!("{before}{}{rest}", paint(style, options.colours, &"━".repeat(filled)))
}

fn paint(style: Style, colours: bool, text: &str) -> String {
    if colours && !text.is_empty() {
        style.force_styling(true).apply_to(text).to_string()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, summary: &JobSummary, columns: usize) -> String {
        bar_line(name, Some(summary), RowOptions { columns, ..RowOptions::default() })
    }

    fn at(progress: f64) -> JobSummary {
        JobSummary { progress: Some(progress), ..JobSummary::new(Status::Processing) }
    }

    #[test]
    fn half_is_half_and_unknown_has_no_percentage() {
        let text = row("r1", &at(0.5), 80);
        assert_eq!(text.matches('━').count(), 14, "{text}");
        assert!(text.ends_with(" 50 %"), "{text}");
        let unknown = row("r1", &JobSummary::new(Status::Processing), 80);
        assert!(!unknown.contains('%') && unknown.contains('…'), "{unknown}");
    }

    #[test]
    fn the_percentage_stays_however_narrow() {
        let message = Some("a message of some length".to_owned());
        for name in ["r1", "backup-of-2026-1", &"x".repeat(49)] {
            for columns in 6..200 {
                for message in [None, message.clone()] {
                    let summary = JobSummary { message, ..at(0.42) };
                    let text = row(name, &summary, columns);
                    assert!(text.contains("42 %"), "{columns}: {text}");
                    assert!(measure_text_width(&text) < columns, "{columns}: {text}");
                }
            }
        }
    }

    #[test]
    fn the_bar_shrinks_before_the_name() {
        let widths = |columns| {
            let text = row("backup-of-2026-1", &at(1.0), columns);
            (text.contains("backup-of-2026-1"), text.matches('━').count())
        };
        assert_eq!(widths(80), (true, 28));
        assert_eq!(widths(40), (true, 16));
        assert_eq!(widths(31), (true, 7));
        assert_eq!(widths(28), (false, 6));
    }

    #[test]
    fn at_forty_columns_there_is_a_bar_and_something_of_the_rest() {
        let summary = JobSummary { message: Some("Frame 3 of 90".into()), ..at(0.5) };
        assert_eq!(
            row("backup-of-2026-1", &summary, 40),
            "backup-of-20… ━━━╌╌╌  50 %  Frame 3 of…"
        );
    }

    #[test]
    fn bars_are_below_each_other_whatever_the_status() {
        let name = "import:a-name-that-is-so-long-that-no-column-has-room-for-it";
        let begins = |name, summary: &JobSummary, columns| {
            let options = RowOptions { columns, name_width: 60, ..RowOptions::default() };
            let text = bar_line(name, Some(summary), options);
            text.chars().position(|c| matches!(c, '━' | '╌')).unwrap()
        };
        for columns in [40, 80, 200] {
            let columns_of_bars = [
                begins("a", &JobSummary { message: Some("m".into()), ..at(0.1) }, columns),
                begins(name, &JobSummary { progress: None, stage: "s".into(), ..at(0.0) }, columns),
                begins(
                    "b",
                    &JobSummary { error: Some("e".into()), ..JobSummary::new(Status::Failed) },
                    columns,
                ),
            ];
            assert!(
                columns_of_bars.iter().all(|at| *at == columns_of_bars[0]),
                "{columns_of_bars:?}"
            );
        }
    }

    #[test]
    fn every_status_is_one_row() {
        for status in Status::ALL {
            for progress in [None, Some(0.0), Some(0.5), Some(1.0), Some(7.0)] {
                let summary = JobSummary {
                    progress,
                    message: Some("x".repeat(300)),
                    ..JobSummary::new(status)
                };
                for frame in 0..40 {
                    let options = RowOptions {
                        columns: 80,
                        frame,
                        colours: true,
                        note: Some("silent for 42 s"),
                        ..RowOptions::default()
                    };
                    let text = bar_line("r1", Some(&summary), options);
                    assert!(measure_text_width(&text) < 80 && !text.contains('\n'), "{text}");
                }
            }
        }
    }

    #[test]
    fn without_a_state_the_note_is_shown() {
        let options =
            RowOptions { columns: 80, note: Some("connecting…"), ..RowOptions::default() };
        assert_eq!(bar_line("a", None, options), format!("a {} connecting…", "╌".repeat(28)));
    }
}
