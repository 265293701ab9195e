//! tqdm: `desc:  42%|████▏     | 25/60 [00:00<00:01, 49.35it/s]`, or `25it [00:00, 49.44it/s]` without a total.

use super::{Line, Progress, Reading, scan};

pub(super) fn read(line: Line<'_>) -> Option<Reading> {
    let (head, times) = line.text.rsplit_once(" [")?;
    let (elapsed, rest) = times.split_once(['<', ','])?;
    scan::clock(elapsed)?;
    let timed = times.as_bytes()[elapsed.len()] == b'<';
    let mut rest = rest.trim_end_matches(']').split(',').map(str::trim);
    let reading = if timed {
        with_total(head)?.with("time_left", rest.next().and_then(scan::clock))
    } else {
        without_total(head)?
    };
    let rate = rest.next().filter(|r| r.contains('/') && !r.starts_with('?'));
    Some(reading.with("rate", rate))
}

fn with_total(head: &str) -> Option<Reading> {
    let (before, rest) = head.split_once('|')?;
    let (_bar, counts) = rest.rsplit_once('|')?;
    let percent = scan::percents(before).last().filter(|p| p.end == before.len())?;
    let label = before[..percent.start].trim().trim_end_matches(':');
    let reading = Reading::at(Progress::percent(percent.value)).message(label);
    Some(match scan::count(counts.trim()) {
        // More exact than the whole percents before the bar.
        Some(count) => Reading { progress: Some(Progress::of(count.done, count.total)), ..reading }
            .with("done", count.done)
            .with("total", count.total),
        None => reading,
    })
}

fn without_total(head: &str) -> Option<Reading> {
    let (label, done) = head.rsplit_once(' ').unwrap_or(("", head));
    let digits = done.bytes().take_while(u8::is_ascii_digit).count();
    let unit = &done[digits..];
    if unit.is_empty() || !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let done = done[..digits].parse::<u64>().ok()?;
    Some(Reading::at(Progress::Unknown).message(label.trim_end_matches(':')).with("done", done))
}
