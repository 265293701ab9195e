//! The rows that watched jobs take on a terminal.

use std::time::Instant;

use milepost_protocol::Status;

use super::keys::Key;
use super::watched_jobs::{Watched, WatchedJobs};
use crate::bars::{RowOptions, bar_line, colours};

/// Names are cut to this.
const MAX_NAME: usize = 40;

/// Failed jobs that a summary names, at most.
const MAX_NAMED: usize = 5;

/// Which of the jobs are shown where not all fit: so many, in the order of their rank, are above the first row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    above: usize,
}

impl Scroll {
    /// `room` rows for `jobs`; one of them counts the others.
    pub(super) fn press(&mut self, key: Key, jobs: usize, room: usize) {
        let page = room.saturating_sub(1).max(1);
        self.above = match key {
            Key::Up => self.above.saturating_sub(1),
            Key::Down => self.above + 1,
            Key::PageUp => self.above.saturating_sub(page),
            Key::PageDown => self.above + page,
            Key::Last => jobs,
            Key::First | Key::Quit => 0,
        };
        self.above = self.above.min(jobs.saturating_sub(page));
    }
}

/// A row for each job, at most `room` of them. Where not all fit those that matter most come first, and the others are
/// counted.
pub(super) fn rows(
    watched_jobs: &WatchedJobs,
    now: Instant,
    frame: usize,
    scroll: Scroll,
    [room, columns]: [usize; 2],
) -> Vec<String> {
    let all = watched_jobs.watched();
    let mut shown: Vec<usize> = (0..all.len()).collect();
    let mut above = 0;
    if all.len() > room {
        let page = room.saturating_sub(1);
        above = scroll.above.min(all.len() - page);
        shown.sort_by_key(|index| all[*index].rank(now));
        shown = shown[above..above + page].to_vec();
        shown.sort_unstable();
    }
    let names = shown.iter().map(|index| all[*index].job.as_str().len());
    let options = RowOptions {
        name_width: names.max().unwrap_or(0).min(MAX_NAME),
        columns,
        frame,
        colours: colours(),
        ..RowOptions::default()
    };
    let mut rows: Vec<String> = shown
        .iter()
        .map(|index| {
            let watched = &all[*index];
            let note = watched_jobs.note(watched, now);
            let clock = watched.clock();
            let options = RowOptions { note: note.as_deref(), clock: clock.as_deref(), ..options };
            bar_line(watched.job.as_str(), watched.summary.as_ref(), options)
        })
        .collect();
    if shown.len() < all.len() {
        let hidden = all.iter().enumerate().filter(|(index, _)| !shown.contains(index));
        let counts = counts(hidden.map(|(_, watched)| watched));
        let above = if above > 0 { format!(", {above} above") } else { String::new() };
        let line = format!("… and {} more: {counts}{above}", all.len() - shown.len());
        rows.push(console::truncate_str(&line, columns.saturating_sub(1), "…").into_owned());
    }
    rows
}

/// `30 jobs: 28 completed, 2 failed (a, b)`; none of a single job, which says it all itself.
pub(super) fn summary(jobs: &[Watched]) -> Option<String> {
    if jobs.len() < 2 {
        return None;
    }
    let failed = jobs.iter().filter(|watched| watched.status() == Some(Status::Failed));
    let mut names: Vec<&str> = failed.map(|watched| watched.job.as_str()).collect();
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    names.truncate(MAX_NAMED);
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" (failed: {}{more})", names.join(", "))
    };
    Some(format!("{} jobs: {}{names}", jobs.len(), counts(jobs.iter())))
}

/// `3 completed, 1 failed`.
fn counts<'a>(jobs: impl Iterator<Item = &'a Watched>) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for watched in jobs {
        let name = watched.status().map_or("not known", Status::as_str);
        match counts.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_unstable();
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milepost_protocol::JobId;

    use super::super::watched_jobs::tests::state;
    use super::*;

    /// Thirty jobs that wait, but for one that runs and one that failed.
    fn thirty(now: Instant) -> WatchedJobs {
        let names: Vec<String> = (10..40).map(|n| format!("j{n}")).collect();
        let ids = names.iter().map(|name| JobId::parse(name).unwrap()).collect();
        let mut jobs = WatchedJobs::new(ids, now);
        jobs.connected();
        for name in &names {
            let status = match name.as_str() {
                "j17" => "processing",
                "j38" => "failed",
                _ => "queued",
            };
            let state = state(name, &format!(r#""status":"{status}","stage":"s""#));
            jobs.state(&state, now, Duration::ZERO);
        }
        jobs
    }

    fn names(rows: &[String]) -> Vec<&str> {
        rows.iter().map(|row| row.split(' ').next().unwrap()).collect()
    }

    #[test]
    fn thirty_jobs_in_twelve_rows_can_be_scrolled() {
        let now = Instant::now();
        let jobs = thirty(now);
        let mut scroll = Scroll::default();
        let shown = |scroll| rows(&jobs, now, 0, scroll, [12, 80]);
        let first = shown(scroll);
        assert_eq!(first.len(), 12);
        assert!(names(&first).contains(&"j17") && names(&first).contains(&"j38"), "{first:?}");
        assert_eq!(first[11], "… and 19 more: 19 queued");
        scroll.press(Key::Down, 30, 12);
        assert_eq!(shown(scroll)[11], "… and 19 more: 1 failed, 18 queued, 1 above");
        for _ in 0..9 {
            scroll.press(Key::PageDown, 30, 12);
        }
        let last = shown(scroll);
        assert_eq!((last.len(), scroll.above), (12, 19), "{last:?}");
        assert_eq!(names(&last)[10], "j39");
        scroll.press(Key::PageUp, 30, 12);
        assert_eq!(scroll.above, 8);
        scroll.press(Key::First, 30, 12);
        scroll.press(Key::Up, 30, 12);
        assert_eq!(shown(scroll), first);
        scroll.press(Key::Last, 30, 12);
        assert_eq!(scroll.above, 19);
        // The terminal has become larger.
        assert_eq!(rows(&jobs, now, 0, scroll, [40, 80]).len(), 30);
    }

    #[test]
    fn the_summary_counts_and_names_what_failed() {
        let jobs = thirty(Instant::now());
        let expected = "30 jobs: 1 failed, 1 processing, 28 queued (failed: j38)";
        assert_eq!(summary(jobs.watched()).as_deref(), Some(expected));
        assert_eq!(summary(&jobs.watched()[..1]), None);
    }
}
