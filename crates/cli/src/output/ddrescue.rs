//! ddrescue's block of six rows, of which one has a percentage: `pct rescued:   72.41%, read errors: 0,  remaining time: 1s`.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let rest = text.strip_prefix("pct rescued:")?;
    let percent = scan::percents(rest).next()?;
    let (_, time) = rest.split_once("remaining time:")?;
    let time: String = time.split_ascii_whitespace().collect();
    Some(Reading::at(Progress::percent(percent.value)).with("time_left", scan::spelled_time(&time)))
}

/// Whether the line is another row of the block.
pub(super) fn is_row(text: &str) -> bool {
    [
        "ipos:",
        "opos:",
        "non-tried:",
        "rescued:",
        "time since last successful read:",
        "Copying non-tried blocks",
    ]
    .iter()
    .any(|start| text.starts_with(start))
}
