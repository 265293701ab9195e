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
    // More exact than the whole percents before the bar.
    if let Some(count) = scan::count(counts.trim()) {
        let reading = Reading { progress: Some(Progress::of(count.done, count.total)), ..reading };
        return Some(reading.with("done", count.done).with("total", count.total));
    }
    // With `unit_scale`: `452k/1.00M`.
    Some(match scan::amount(counts.trim()) {
        Some(amount) => {
            Reading { progress: Some(Progress::ratio(amount.done, amount.total)), ..reading }
                .with("done", scan::whole(amount.done))
                .with("total", scan::whole(amount.total))
                .bytes(amount.done, amount.total)
        }
        None => reading,
    })
}

fn without_total(head: &str) -> Option<Reading> {
    let (label, done) = head.rsplit_once(' ').unwrap_or(("", head));
    let digits = done.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = done.split_at(digits);
    if unit.is_empty() || !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    // With `unit_scale` a power stands before the unit: `1.20MB`.
    let power = unit.strip_suffix('B').filter(|power| power.len() == 1).unwrap_or("");
    let scaled = scan::size(&format!("{number}{power}"));
    let done = scaled.or_else(|| scan::size(number)).map(scan::whole)?;
    Some(Reading::at(Progress::Unknown).message(label.trim_end_matches(':')).with("done", done))
}
