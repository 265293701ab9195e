//! rclone's statistics: `Transferred:  20.152 MiB / 57.220 MiB, 35%, 20.102 MiB/s, ETA 1s`, also after a log line's head.

use super::{Progress, Reading, scan};

/// Whether the line is another row of the statistics.
pub(super) fn is_row(text: &str) -> bool {
    text.starts_with("Elapsed time:") || text.starts_with("Transferring:") || text.starts_with("* ")
}

pub(super) fn read(text: &str) -> Option<Reading> {
    if text.starts_with("Transferred:") && !text.contains("B/s") || text.starts_with("Checks:") {
        // Of files. The bytes have a line of their own.
        return Some(Reading::default());
    }
    let (_, after_percent) = text.split_once("%, ")?;
    let (rate, eta) = after_percent.split_once(", ETA ")?;
    if !rate.ends_with("B/s") {
        return None;
    }
    let start = text.find(['K', 'M', 'G', 'T', 'B']).map_or(0, |_| text.rfind(" / ").unwrap_or(0));
    let begin =
        text[..start].rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ' ')));
    let amount = scan::amount(text[begin.map_or(0, |at| at + 1)..].trim_start())?;
    Some(
        Reading::at(Progress::ratio(amount.done, amount.total))
            .with("bytes", scan::whole(amount.done))
            .with("total_bytes", scan::whole(amount.total))
            .with("rate", rate)
            .with("time_left", eta.split(' ').next().and_then(scan::spelled_time)),
    )
}
