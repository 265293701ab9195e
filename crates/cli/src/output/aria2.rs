//! aria2: `[#2089b0 400.0KiB/33.2MiB(1%) CN:1 DL:115.7KiB ETA:4m51s]`; several downloads: `[DL:12MiB][#2089b0 1MiB/2MiB(50%)]…`.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let inner = text.strip_prefix('[')?;
    if !(inner.starts_with('#') || inner.starts_with("DL:") && text.contains("[#")) {
        return None;
    }
    let (mut done, mut total, mut parts, mut complete) = (0.0, 0.0, 0, true);
    for part in text.split('#').skip(1) {
        let (_, rest) = part.split_once(' ')?;
        let end = rest.find(['(', ' ', ']']).unwrap_or(rest.len());
        let Some((of, all)) = rest[..end].split_once('/') else {
            complete = false;
            continue;
        };
        done += scan::size(of)?;
        let all = scan::size(all)?;
        // Before the server has answered the total is 0B.
        complete &= all > 0.0;
        total += all;
        parts += 1;
    }
    if parts == 0 {
        return None;
    }
    let field = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        Some(rest.split([' ', ']']).next().unwrap_or(rest))
    };
    let progress = if complete { Progress::ratio(done, total) } else { Progress::Unknown };
    Some(
        Reading::at(progress)
            .with("bytes", scan::whole(done))
            .with("total_bytes", complete.then(|| scan::whole(total)))
            .with("rate", field("DL:").map(|rate| format!("{rate}/s")))
            .with("time_left", field("ETA:").and_then(scan::spelled_time)),
    )
}
