//! rsync with `--info=progress2` or `--progress`: `21,342,336  71%   19.54MB/s    0:00:12 (xfr#3, to-chk=2/6)`.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let mut columns = text.split_ascii_whitespace();
    let bytes = columns.next()?;
    if !bytes.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'.')) {
        return None;
    }
    let percent = columns.next()?;
    let percent = scan::percents(percent).next().filter(|p| p.end == percent.len())?;
    let rate = columns.next().filter(|r| r.ends_with("B/s"))?;
    let time_left = scan::clock(columns.next()?)?;
    let bytes = bytes.replace([',', '.'], "").parse::<u64>().ok()?;
    Some(
        Reading::at(Progress::percent(percent.value))
            .with("bytes", bytes)
            .with("rate", rate)
            .with("time_left", time_left),
    )
}
