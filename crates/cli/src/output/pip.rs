//! pip with `PIP_PROGRESS_BAR=raw`: `Progress 262144 of 16918164`, a line each, in bytes.

use super::{Progress, Reading};

pub(super) fn read(text: &str) -> Option<Reading> {
    let (done, total) = text.strip_prefix("Progress ")?.split_once(" of ")?;
    let done = done.parse::<u64>().ok()?;
    // pip writes 0 for an unknown total.
    let total = total.parse::<u64>().ok().filter(|t| *t > 0);
    let progress = total.map_or(Progress::Unknown, |total| Progress::of(done, total));
    Some(Reading::at(progress).with("bytes", done).with("total_bytes", total))
}
