//! dd with `status=progress`: `22675456 bytes (23 MB, 22 MiB) copied, 1 s, 22.6 MB/s`. It does not know the total.

use super::{Progress, Reading};

pub(super) fn read(text: &str) -> Option<Reading> {
    let (bytes, rest) = text.split_once(" bytes ")?;
    let bytes = bytes.parse::<u64>().ok()?;
    let (_, rest) = rest.split_once("copied, ")?;
    let (_, rate) = rest.split_once(" s, ")?;
    Some(Reading::at(Progress::Unknown).with("bytes", bytes).with("rate", rate))
}
