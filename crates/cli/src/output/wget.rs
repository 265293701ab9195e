//! wget: rows of dots (`  1050K .......... 45% 12.3M 5s`) or a bar (`file  45%[====>   ]  93.00M  31.0MB/s  eta 4s`).

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    dots(text).or_else(|| bar(text))
}

fn dots(text: &str) -> Option<Reading> {
    let (kilobytes, rest) = text.split_once('K')?;
    let kilobytes = kilobytes.parse::<u64>().ok()?;
    let rest = rest.trim_start_matches([',', '.', ' ']);
    if !text.contains(" ..") {
        return None;
    }
    let Some(percent) = scan::percents(rest).next().filter(|p| p.start == 0) else {
        // Without a Content-Length there is a rate and no percentage.
        let rate = rest.split_ascii_whitespace().next()?;
        return rate.ends_with(['K', 'M', 'G']).then(|| {
            Reading::at(Progress::Unknown)
                .with("bytes", kilobytes.saturating_mul(1024))
                .with("rate", format!("{rate}B/s"))
        });
    };
    let columns = &rest[percent.end..];
    let mut columns = columns.split(' ').filter(|column| !column.is_empty());
    // In the last row: `12.3M=4.9s`, the time that it took.
    let rate = columns.next().and_then(|rate| rate.split('=').next());
    Some(
        Reading::at(Progress::percent(percent.value))
            .with("bytes", kilobytes.saturating_mul(1024))
            .with("rate", rate.map(|r| format!("{r}B/s")))
            .with("time_left", columns.next().and_then(scan::spelled_time)),
    )
}

fn bar(text: &str) -> Option<Reading> {
    let percent = scan::percents(text).next()?;
    let (bar, rest) = text[percent.end..].strip_prefix('[')?.split_once(']')?;
    if !bar.bytes().all(|b| matches!(b, b'=' | b'>' | b' ' | b'+' | b'-')) {
        return None;
    }
    let mut columns = rest.split_ascii_whitespace();
    let size = columns.next()?;
    let rate = columns.next().filter(|r| r.ends_with("B/s") && !r.starts_with('-'));
    Some(
        Reading::at(Progress::percent(percent.value))
            .message(&text[..percent.start])
            .with("transferred", size)
            .with("rate", rate)
            .with("time_left", scan::eta(rest)),
    )
}
