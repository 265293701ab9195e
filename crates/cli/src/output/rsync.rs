//! rsync with `--info=progress2` or `--progress`: `21,342,336  71%   19.54MB/s    0:00:12 (xfr#3, to-chk=2/6)`.
//!
//! The time is what remains; once `(xfr#…` follows, it is what the transfer took. `to-chk=2/6`: 2 of 6 files are still to be
//! looked at (`ir-chk`: and more may be found). With `--progress` the percentage is one file's, so the share of files is
//! all there is for the whole.

use super::{Progress, Reading, scan};

#[derive(Debug, Default)]
pub(super) struct Rsync {
    /// A line with a file's name came before: `--progress`, or `-v`.
    named: bool,
    /// Folders are named: there is more than one file.
    many: bool,
    /// Files begun and all files, with `--progress`.
    files: Option<(u64, u64)>,
}

impl Rsync {
    /// A line that may be a file's name.
    pub(super) fn note(&mut self, text: &str) {
        if text.ends_with("file list") || text.ends_with("...") || row(text).is_some() {
            return;
        }
        self.named = true;
        self.many |= text.ends_with('/');
    }

    pub(super) fn read(&mut self, text: &str) -> Option<Reading> {
        let row = row(text)?;
        let reading =
            Reading::default().with("bytes", scan::whole(row.bytes)).with("rate", row.rate);
        let Some((remaining, total, known)) = row.files else {
            // The time is the file's.
            let of_all = self.files.is_none() && !self.many;
            let reading = reading.with("time_left", row.time.filter(|_| of_all));
            return Some(Reading { progress: Some(self.within(row.percent / 100.0)), ..reading });
        };
        let done = total.saturating_sub(remaining);
        let reading = reading.with("done", done).with("total", total);
        // After one complete file, there may be more.
        let per_file = self.files.is_some() || self.named && row.percent >= 100.0;
        if per_file {
            self.files = Some((done, total));
        }
        let progress = match (per_file, known) {
            (_, false) => Progress::Unknown,
            (true, true) => Progress::of(done, total),
            (false, true) => Progress::percent(row.percent),
        };
        Some(Reading { progress: Some(progress), ..reading })
    }

    /// Of the whole, while one file, or all of them, is so far.
    fn within(&self, fraction: f64) -> Progress {
        match self.files {
            #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 53 bits")]
            Some((done, total)) => Progress::ratio(done as f64 + fraction, total as f64),
            // One of many, and how many is not known yet.
            None if self.many => Progress::Unknown,
            None => Progress::Fraction(fraction.clamp(0.0, 1.0)),
        }
    }
}

struct Row<'a> {
    bytes: f64,
    percent: f64,
    rate: &'a str,
    time: Option<f64>,
    /// Files still to be checked, all files, and whether the list is complete.
    files: Option<(u64, u64, bool)>,
}

fn row(text: &str) -> Option<Row<'_>> {
    let mut columns = text.split_ascii_whitespace();
    let bytes = scan::size(columns.next()?)?;
    let percent = columns.next()?;
    let percent = scan::percents(percent).next().filter(|p| p.end == percent.len())?.value;
    let rate = columns.next().filter(|rate| rate.ends_with("B/s"))?;
    let time = columns.next()?;
    // It prints 0:00:00 until it knows.
    let time =
        if time == "??:??:??" { None } else { Some(scan::clock(time)?).filter(|t| *t > 0.0) };
    let files = text.split_once("-chk=").and_then(|(before, counts)| {
        let (remaining, total) = counts.trim_end_matches(')').split_once('/')?;
        Some((remaining.parse().ok()?, total.parse().ok()?, before.ends_with("to")))
    });
    Some(Row { bytes, percent, rate, time, files })
}
