//! git with `--progress`: `Receiving objects:  45% (450/1000), 12.00 MiB | 3.00 MiB/s`. The words are the stage.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let text = text.strip_prefix("remote: ").unwrap_or(text);
    let (phase, rest) = text.split_once(": ")?;
    let words = phase.starts_with(|c: char| c.is_uppercase())
        && phase.chars().all(|c| c.is_alphabetic() || c == ' ');
    if !words {
        return None;
    }
    let rest = rest.trim_start();
    let percent = scan::percents(rest).next().filter(|p| p.start == 0)?;
    let after = rest[percent.end..].strip_prefix(" (")?;
    let (counts, rest) = after.split_once(')')?;
    let (done, total) = counts.split_once('/')?;
    let (done, total) = (done.parse::<u64>().ok()?, total.parse::<u64>().ok()?);
    let rate = rest.split_once("| ").map(|(_, rate)| rate.trim_end_matches(", done."));
    Some(
        Reading::at(Progress::of(done, total))
            .stage(phase)
            .with("done", done)
            .with("total", total)
            .with("rate", rate),
    )
}
