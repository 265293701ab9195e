//! The rows that watched jobs take on a terminal.

use std::time::Instant;

use milepost_protocol::{Status, Timestamp};

use super::child_rows::{self, INDENT};
use super::keys::Key;
use super::watched_jobs::{Child, Watched, WatchedJobs};
use crate::bars::{RowOptions, bar_line, colours};

/// Failed jobs that a summary names, at most.
const MAX_NAMED: usize = 5;

/// Which jobs are shown if not all fit: how many, in the order of their rank, are above the first row.
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
/// counted. Where room is left, the children that matter most are below their parent.
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
    // What the jobs leave free is for their children.
    let mut free = room.saturating_sub(shown.len() + usize::from(shown.len() < all.len()));
    let children: Vec<Vec<&Child>> = shown
        .iter()
        .map(|index| {
            let children = child_rows::shown(&all[*index], free);
            free -= if children.is_empty() { 0 } else { children.len() + 1 };
            children
        })
        .collect();
    let names = shown.iter().map(|index| all[*index].job.as_str().len());
    let indented = |child: &&Child| child.job.as_str().len() + INDENT.len();
    let names = names.chain(children.iter().flatten().map(indented));
    let options = RowOptions {
        name_width: names.max().unwrap_or(0),
        columns,
        frame,
        colours: colours(),
        ..RowOptions::default()
    };
    let mut rows: Vec<String> = Vec::new();
    for (index, children) in shown.iter().zip(&children) {
        let watched = &all[*index];
        let note = watched_jobs.note(watched, now);
        let clock = watched.clock();
        let job_options = RowOptions { note: note.as_deref(), clock: clock.as_deref(), ..options };
        let summary = watched.shown(now);
        rows.push(bar_line(watched.job.as_str(), summary.as_deref(), job_options));
        rows.extend(child_rows::rows(watched, children, options, Timestamp::now()));
    }
    if shown.len() < all.len() {
        let hidden = all.iter().enumerate().filter(|(index, _)| !shown.contains(index));
        let counts = counts(hidden.map(|(_, watched)| watched));
        let above = if above > 0 { format!(", {above} above") } else { String::new() };
        let line = format!("… and {} more: {counts}{above}", all.len() - shown.len());
        rows.push(console::truncate_str(&line, columns.saturating_sub(1), "…").into_owned());
    }
    rows
}

/// `30 jobs: 28 completed, 2 failed (a, b)`; none for a single job, whose bar shows it.
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
    fn children_that_matter_are_below_their_parent() {
        let now = Instant::now();
        let batch = JobId::parse("batch").unwrap();
        let mut jobs = WatchedJobs::new(vec![batch.clone()], now);
        jobs.connected();
        let counts = r#""children":{"expected":12000,"queued":7,"processing":2,"completed":9000,"failed":1,"cancelled":0,"lost":1}"#;
        let parent = |status: &str| {
            state("batch", &format!(r#""status":"{status}","stage":"s","progress":0.5,{counts}"#))
        };
        jobs.state(&parent("processing"), now, Duration::ZERO);
        let child = |name: &str, rest: &str| state(name, &format!(r#"{rest},"stage":"cut""#));
        let children = [
            child("silent", r#""status":"processing","health":"lost""#),
            child("bad", r#""status":"failed","error":"no disk""#),
            child("one", r#""status":"processing","progress":0.25"#),
            child("two", r#""status":"processing","progress":0.5"#),
            child("last", r#""status":"queued""#),
        ];
        jobs.children(&batch, &children);
        let shown = |jobs: &WatchedJobs, room| rows(jobs, now, 0, Scroll::default(), [room, 200]);
        let all = shown(&jobs, 20);
        let name = |row: &String| row.trim_start().split(' ').next().unwrap().to_owned();
        let names: Vec<String> = all.iter().map(name).collect();
        assert_eq!(names, ["batch", "silent", "bad", "one", "two", "…"], "{all:?}");
        assert!(all[0].contains("9,001 of 12,000 ended"), "{all:?}");
        assert!(all[2].contains("failed  cut · no disk"), "{all:?}");
        assert_eq!(all[5], "  … and 9,007 more: 7 queued, 9,000 completed");
        let few = shown(&jobs, 3);
        assert_eq!(few.len(), 3, "{few:?}");
        assert_eq!(few[2], "  … and 9,010 more: 1 failed, 2 processing, 7 queued, 9,000 completed");
        assert_eq!(shown(&jobs, 1).len(), 1);
        // What the end left unseen is not shown as if it went on.
        jobs.state(&parent("failed"), now, Duration::ZERO);
        let names: Vec<String> = shown(&jobs, 20).iter().map(name).collect();
        assert_eq!(names, ["batch", "bad", "…"]);
    }

    #[test]
    fn the_summary_counts_and_names_what_failed() {
        let jobs = thirty(Instant::now());
        let expected = "30 jobs: 1 failed, 1 processing, 28 queued (failed: j38)";
        assert_eq!(summary(jobs.watched()).as_deref(), Some(expected));
        assert_eq!(summary(&jobs.watched()[..1]), None);
    }
}
