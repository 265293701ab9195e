//! Jobs as rows of text.

use std::cmp::{Ordering, Reverse};

use clap::ValueEnum;
use milepost_protocol::{Health, State, Status, Timestamp};

use crate::bars::{JobSummary, JobTimes, ago, clock, percent, sanitized, time_taken};

/// Columns between two cells.
pub(crate) const GAP: usize = 2;

/// Columns of details that are worth it.
pub(crate) const MIN_DETAILS: usize = 10;

/// Columns that an id keeps on the narrowest screen.
const MIN_ID: usize = 12;

pub(crate) const TITLES: [&str; 10] =
    ["JOB", "STATUS", "HEALTH", "DONE", "STARTED", "TOOK", "LEFT", "UPDATED", "NAME", "DETAILS"];

/// What a table is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortKey {
    /// The most recently begun first, as the server lists them
    Begun,
    /// By id
    Job,
    /// By the kind of job
    Name,
    /// Lost jobs first, then stalled ones
    Health,
    /// Running jobs first, then queued, failed, cancelled and completed ones
    Status,
    /// The most progress first
    Progress,
    /// The longest first
    Took,
    /// The most recently reported first
    Updated,
}

impl SortKey {
    /// The next one, and after the last the first.
    pub(crate) fn next(self) -> Self {
        let all = Self::value_variants();
        let at = all.iter().position(|key| *key == self).unwrap_or(0);
        all[(at + 1) % all.len()]
    }

    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A job as a row.
#[derive(Debug)]
pub(crate) struct Row {
    job: String,
    name: String,
    tags: String,
    status: Status,
    /// None after the end, and where it is not known.
    health: Option<Health>,
    progress: Option<f64>,
    times: JobTimes,
    /// The worker's own, if the state has no estimate.
    reported_left: Option<String>,
    details: String,
    /// Those of them that hold while its worker is silent.
    silent_details: String,
}

impl Row {
    pub(crate) fn of(state: &State) -> Self {
        let (summary, view) = (JobSummary::of(state), state.view());
        let reported_left = summary.reported_left();
        // Its health and the time left have columns of their own.
        let summary = JobSummary { health: None, shows_time_left: false, ..summary };
        Self {
            job: state.job().to_string(),
            name: sanitized(&view.name.unwrap_or_default()).into_owned(),
            tags: view.tags.join(" "),
            status: state.status(),
            health: state.health().filter(|_| !state.status().is_end()),
            progress: summary.progress,
            times: JobTimes::of(state),
            reported_left,
            details: summary.details(),
            silent_details: summary.standing().details(),
        }
    }

    pub(crate) fn job(&self) -> &str {
        &self.job
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    pub(crate) fn health(&self) -> Option<Health> {
        self.health
    }

    /// Whether the text is in its id, name, tags, status, health or details, ignoring case.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let health = self.health.map_or("", Health::as_str);
        [&self.job, &self.name, &self.tags, self.status.as_str(), health, &self.details]
            .iter()
            .any(|field| field.to_lowercase().contains(&text))
    }

    fn compare(&self, other: &Self, key: SortKey, now: Timestamp) -> Ordering {
        match key {
            SortKey::Begun => Ordering::Equal,
            SortKey::Job => self.job.cmp(&other.job),
            SortKey::Name => {
                (self.name.is_empty(), &self.name).cmp(&(other.name.is_empty(), &other.name))
            }
            SortKey::Health => urgency(self.health).cmp(&urgency(other.health)),
            SortKey::Status => rank(self.status).cmp(&rank(other.status)),
            SortKey::Progress => {
                let progress = |row: &Self| row.progress.unwrap_or(-1.0);
                progress(other).total_cmp(&progress(self))
            }
            SortKey::Took => Reverse(self.times.took(now)).cmp(&Reverse(other.times.took(now))),
            SortKey::Updated => Reverse(self.times.reported).cmp(&Reverse(other.times.reported)),
        }
    }

    pub(crate) fn cells(&self, now: Timestamp) -> [String; TITLES.len()] {
        let since = |moment: Option<Timestamp>| moment.map(|moment| ago(moment, now));
        let took =
            self.times.took(now).map(if self.times.ended.is_some() { time_taken } else { clock });
        let is_silent = self.times.is_silent(now);
        let reported_left = self.reported_left.clone().filter(|_| !is_silent);
        let left = self.times.left(now).or(reported_left).unwrap_or_default();
        let details = if is_silent { &self.silent_details } else { &self.details };
        [
            self.job.clone(),
            self.status.to_string(),
            self.health.map(|health| health.to_string()).unwrap_or_default(),
            self.progress.map(|p| percent(p).trim_start().to_owned()).unwrap_or_default(),
            since(self.times.started).unwrap_or_default(),
            took.unwrap_or_default(),
            // The title says the last word.
            left.strip_suffix(" left").unwrap_or(&left).to_owned(),
            since(self.times.reported).unwrap_or_default(),
            self.name.clone(),
            details.clone(),
        ]
    }
}

fn rank(status: Status) -> u8 {
    match status {
        Status::Processing => 0,
        Status::Queued => 1,
        Status::Failed => 2,
        Status::Cancelled => 3,
        Status::Completed => 4,
    }
}

fn urgency(health: Option<Health>) -> u8 {
    match health {
        Some(Health::Lost) => 0,
        Some(Health::Stalled) => 1,
        Some(Health::Ok) => 2,
        None => 3,
    }
}

/// Rows that are equal keep their order.
pub(crate) fn sort(rows: &mut [Row], key: SortKey, reverse: bool, now: Timestamp) {
    rows.sort_by(|a, b| a.compare(b, key, now));
    if reverse {
        rows.reverse();
    }
}

/// The widths of the columns; 0 if the column is empty in all rows.
pub(crate) fn widths(rows: &[Row], now: Timestamp) -> [usize; TITLES.len()] {
    let cells: Vec<_> = rows.iter().map(|row| row.cells(now)).collect();
    std::array::from_fn(|column| {
        let widths = cells.iter().map(|row| console::measure_text_width(&row[column]));
        let widest = widths.max().unwrap_or(0);
        if widest > 0 { widest.max(TITLES[column].len()) } else { 0 }
    })
}

/// Where not all columns fit into `room`, long ids are cut: one of them may not push the others off the screen.
pub(crate) fn with_shorter_ids(
    mut widths: [usize; TITLES.len()],
    room: usize,
) -> [usize; TITLES.len()] {
    let [columns @ .., details] = &widths;
    let columns = columns.iter().copied().chain([(*details).min(MIN_DETAILS)]);
    let needed: usize = columns.filter(|width| *width > 0).map(|width| width + GAP).sum();
    if needed > room + GAP {
        widths[0] = widths[0].min((room * 2 / 5).max(MIN_ID));
    }
    widths
}

/// The table's lines, cut to `columns` if there are any; the titles first. Empty columns are omitted.
pub(super) fn lines(rows: &[Row], columns: Option<usize>, now: Timestamp) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let widths = widths(rows, now);
    let widths = match columns {
        Some(columns) => with_shorter_ids(widths, columns),
        None => widths,
    };
    let mut table = vec![TITLES.map(str::to_owned)];
    table.extend(rows.iter().map(|row| row.cells(now)));
    table.iter().map(|row| line(row, &widths, columns)).collect()
}

fn line(row: &[String], widths: &[usize], columns: Option<usize>) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        line.push_str(&console::pad_str(cell, *width, console::Alignment::Left, Some("…")));
        line.push_str(&" ".repeat(GAP));
    }
    let line = line.trim_end();
    match columns {
        Some(columns) => console::truncate_str(line, columns, "…").into_owned(),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &str) -> Row {
        let json = format!(r#"{{{fields},"attempt":1,"position":"1-1"}}"#);
        Row::of(&State::parse(&json).unwrap())
    }

    fn rows() -> Vec<Row> {
        [
            r#""job_id":"b","status":"processing","stage":"cut","progress":0.5,"name":"video","heartbeat":10,"health":"lost","started_at":"2026-01-01T00:00:00Z","last_seen_at":"2026-01-01T00:00:50Z""#,
            r#""job_id":"c","status":"queued","stage":"queued","last_seen_at":"2026-01-01T00:00:59Z""#,
            r#""job_id":"a","status":"completed","stage":"complete","progress":1.0,"started_at":"2026-01-01T00:00:00Z","last_seen_at":"2026-01-01T00:00:05Z","ended_at":"2026-01-01T00:00:05Z""#,
        ]
        .map(row)
        .into()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:01:00Z").unwrap()
    }

    #[test]
    fn a_table_has_age_duration_status_and_progress() {
        assert_eq!(
            lines(&rows(), None, now()),
            [
                "JOB  STATUS      HEALTH  DONE   STARTED   TOOK   UPDATED   NAME   DETAILS",
                "b    processing  lost    50 %   60 s ago  1:00   10 s ago  video  cut",
                "c    queued                                      just now",
                "a    completed           100 %  60 s ago  5.0 s  55 s ago",
            ]
        );
        assert!(lines(&[], None, now()).is_empty());
    }

    #[test]
    fn what_runs_has_its_time_left_while_its_worker_reports() {
        let cells = |seconds: i64, rest: &str| {
            let seen =
                r#""started_at":"2026-01-01T00:00:00Z","last_seen_at":"2026-01-01T00:01:00Z""#;
            let now = Timestamp::from_micros(now().as_micros() + seconds * 1_000_000);
            let cells = row(&format!(
                r#""job_id":"a","status":"processing","stage":"cut","metadata":{{"time_left":75,"rate":"9 MB/s"}},{seen}{rest}"#
            ))
            .cells(now);
            [cells[6].clone(), cells[9].clone()]
        };
        assert_eq!(cells(0, ""), ["1:15 min", "cut · 9 MB/s"]);
        let eta = r#","eta":"2026-01-01T00:05:00Z""#;
        assert_eq!(cells(0, eta), ["about 4 min", "cut · 9 MB/s"]);
        assert_eq!(cells(-1_000, eta)[0], "about 21 min");
        assert_eq!(cells(600, &format!(r#"{eta},"health":"ok""#))[0], "longer than usual");
        assert_eq!(cells(30, eta), ["", "cut"], "silent");
        assert_eq!(cells(30, ""), ["", "cut"], "silent");
    }

    #[test]
    fn a_long_id_pushes_no_column_off_a_narrow_screen() {
        let mut rows = rows();
        rows[2].job = "an-id-of-more-than-forty-characters-as-made-of-a-uuid".to_owned();
        let narrow = lines(&rows, Some(40), now());
        assert_eq!(narrow[0], "JOB               STATUS      HEALTH  D…");
        assert_eq!(narrow[3], "an-id-of-more-t…  completed           1…");
        assert!(lines(&rows, Some(100), now())[1].contains("1:00   10 s ago"));
        for wide in [Some(140), None] {
            assert!(lines(&rows, wide, now())[3].starts_with(&rows[2].job), "{wide:?}");
        }
    }

    #[test]
    fn columns_without_anything_are_left_out_and_rows_do_not_wrap() {
        let waits = row(r#""job_id":"c","status":"queued","stage":"queued""#);
        assert_eq!(lines(&[waits], None, now()), ["JOB  STATUS", "c    queued"]);
        for columns in 1..80 {
            for line in lines(&rows(), Some(columns), now()) {
                assert!(console::measure_text_width(&line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn rows_are_sorted_by_what_was_asked_for() {
        for (key, expected) in [
            (SortKey::Begun, "bca"),
            (SortKey::Job, "abc"),
            (SortKey::Name, "bca"),
            (SortKey::Health, "bca"),
            (SortKey::Status, "bca"),
            (SortKey::Progress, "abc"),
            (SortKey::Took, "bac"),
            (SortKey::Updated, "cba"),
        ] {
            let order = |reverse| -> String {
                let mut rows = rows();
                sort(&mut rows, key, reverse, now());
                rows.iter().map(|row| row.job.as_str()).collect()
            };
            assert_eq!(order(false), expected, "{key:?}");
            assert_eq!(order(true), expected.chars().rev().collect::<String>(), "{key:?}");
        }
    }
}
