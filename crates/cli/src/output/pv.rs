//! pv: `12.0MiB 0:00:01 [12.0MiB/s] [=====>     ] 45% ETA 0:00:02`; without a total the bar and what follows is missing.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let (amount, rest) = text.split_once(char::is_whitespace)?;
    let done = scan::size(amount)?;
    let rest = rest.trim_start();
    let (elapsed, rest) = rest.split_once(char::is_whitespace)?;
    elapsed.contains(':').then_some(())?;
    scan::clock(elapsed)?;
    let (rate, rest) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    let rate = rate.trim();
    rate.ends_with("/s").then_some(())?;
    let percent = scan::percents(rest).last();
    let progress = percent.map_or(Progress::Unknown, |percent| Progress::percent(percent.value));
    let time_left = rest.split_once("ETA ").and_then(|(_, eta)| scan::clock(eta.trim()));
    Some(
        Reading::at(progress)
            .with("bytes", scan::whole(done))
            .with("rate", rate)
            .with("time_left", time_left),
    )
}
