//! How `milepost top` looks.

use milepost_protocol::{Health, Status, Timestamp};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as TableRow, Sparkline, Table, TableState};

use super::app::{App, Mode, OpenJob};
use crate::bars::{JobSummary, RowOptions, bar_line, sanitized};
use crate::jobs::{GAP, MIN_DETAILS, TITLES, widths, with_shorter_ids};
use crate::status::{Extra, Timeline, in_words};

const TABLE_KEYS: &str = "↑↓ select · Enter open · / filter · s sort · r reverse · q quit";
const JOB_KEYS: &str = "c cancel · Esc back";

/// Rows of a chart, and those that the screen needs for it.
const CHART_HEIGHT: u16 = 4;
const MIN_HEIGHT_WITH_CHART: u16 = 16;

/// What surrounds the jobs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) server: &'a str,
    pub(super) colours: bool,
    pub(super) now: Timestamp,
}

/// Rows of jobs that fit a screen of this height.
pub(super) fn page(height: u16) -> usize {
    usize::from(height.saturating_sub(3)).max(1)
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, around: Surroundings<'_>) {
    let areas =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]);
    let [top, middle, bottom] = areas.areas(frame.area());
    if let (Mode::Job(_) | Mode::ConfirmCancel(_), Some(open)) = (&app.mode, &app.open) {
        draw_job(frame, open, around, [top, middle]);
    } else {
        let heading = heading(app, around.server);
        frame.render_widget(Paragraph::new(heading).style(Modifier::BOLD), top);
        draw_table(frame, app, around, middle);
    }
    frame.render_widget(Paragraph::new(footer(app)).style(Modifier::DIM), bottom);
}

/// `http://… · 12 jobs: 3 processing, 1 failed · by progress`.
fn heading(app: &App, server: &str) -> String {
    let counts = Status::ALL.iter().filter_map(|status| {
        let count = app.jobs().iter().filter(|state| state.status() == *status).count();
        (count > 0).then(|| format!("{count} {status}"))
    });
    let counts: Vec<String> = counts.collect();
    let jobs = match app.jobs().len() {
        1 => "1 job".to_owned(),
        jobs => format!("{jobs} jobs"),
    };
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    let order = if app.reverse { ", reversed" } else { "" };
    let filter =
        if app.filter.is_empty() { String::new() } else { format!(" · with {:?}", app.filter) };
    format!("{server} · {jobs}{counts} · by {}{order}{filter}", app.sort.name())
}

fn footer(app: &App) -> String {
    let message = app.outcome.as_ref().or(app.problem.as_ref());
    match &app.mode {
        Mode::Filter => format!("filter: {}█", app.filter),
        Mode::ConfirmCancel(job) => format!("Cancel {job}? y/n"),
        _ if message.is_some() => sanitized(message.map_or("", String::as_str)).into_owned(),
        Mode::Job(_) => JOB_KEYS.to_owned(),
        Mode::Table => TABLE_KEYS.to_owned(),
    }
}

fn draw_table(frame: &mut Frame<'_>, app: &App, around: Surroundings<'_>, area: Rect) {
    if app.rows.is_empty() {
        let text = match (app.is_loaded, app.filter.is_empty()) {
            (false, _) => "connecting…",
            (true, true) => "the server knows no such jobs",
            (true, false) => "no job matches the filter",
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let room = usize::from(area.width);
    let widths = widths(&app.rows, around.now);
    let widths = with_shorter_ids(widths, room);
    let columns = columns_that_fit(&widths, room);
    let cells = |mut cells: [String; TITLES.len()]| -> Vec<String> {
        cells[0] = console::truncate_str(&cells[0], widths[0], "…").into_owned();
        columns.iter().map(|column| cells[*column].clone()).collect()
    };
    let rows = app.rows.iter().map(|row| {
        let style = style(row.status(), row.health(), around.colours);
        TableRow::new(cells(row.cells(around.now))).style(style)
    });
    let constraints = columns.iter().map(|column| {
        let width = u16::try_from(widths[*column]).unwrap_or(u16::MAX);
        // The details take what is left.
        if *column + 1 == TITLES.len() { Constraint::Fill(1) } else { Constraint::Length(width) }
    });
    let table = Table::new(rows, constraints)
        .header(TableRow::new(cells(TITLES.map(str::to_owned))).style(Modifier::DIM))
        .column_spacing(u16::try_from(GAP).unwrap_or(1))
        .row_highlight_style(Modifier::REVERSED);
    let mut state = TableState::default().with_selected(app.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

/// The columns for which there is room, in their order. The most informative are chosen first; the remaining room is
/// for the details.
fn columns_that_fit(widths: &[usize; TITLES.len()], room: usize) -> Vec<usize> {
    const CHOSEN_FIRST: [&str; TITLES.len()] = [
        "JOB", "STATUS", "DONE", "TOOK", "HEALTH", "LEFT", "DETAILS", "UPDATED", "NAME", "STARTED",
    ];
    let mut left = room;
    let mut columns: Vec<usize> = CHOSEN_FIRST
        .iter()
        .filter_map(|title| TITLES.iter().position(|other| other == title))
        .filter(|column| {
            let is_details = *column + 1 == TITLES.len();
            let width = if is_details { widths[*column].min(MIN_DETAILS) } else { widths[*column] };
            let needed = width + GAP;
            // The job is shown however narrow the terminal is.
            let fits = width > 0 && (needed <= left || *column == 0);
            left = left.saturating_sub(if fits { needed } else { 0 });
            fits
        })
        .collect();
    columns.sort_unstable();
    columns
}

fn style(status: Status, health: Option<Health>, colours: bool) -> Style {
    if !colours {
        return Style::new();
    }
    match (status, health) {
        (_, Some(Health::Lost | Health::Stalled)) | (Status::Cancelled, _) => {
            Style::new().fg(Color::Yellow)
        }
        (Status::Processing, _) => Style::new().fg(Color::Cyan),
        (Status::Completed, _) => Style::new().fg(Color::Green),
        (Status::Failed, _) => Style::new().fg(Color::Red),
        (Status::Queued, _) => Style::new().add_modifier(Modifier::DIM),
    }
}

/// A job's page: its bar, what `milepost status` shows, its progress so far, and as much of its log as fits.
fn draw_job(
    frame: &mut Frame<'_>,
    open: &OpenJob,
    around: Surroundings<'_>,
    [top, middle]: [Rect; 2],
) {
    let Some(state) = &open.state else {
        frame.render_widget(Paragraph::new(format!("{}: not known", open.job)), top);
        return;
    };
    let summary = JobSummary::of(state);
    let options = RowOptions { columns: usize::from(top.width) + 1, ..RowOptions::default() };
    let bar = bar_line(open.job.as_str(), Some(&summary), options);
    let colour = style(summary.status, summary.health, around.colours);
    frame.render_widget(Paragraph::new(bar).style(colour), top);

    let extra = Extra { timeline: Some(&open.timeline), ..Extra::default() };
    let words = in_words(state, extra, around.now);
    let mut lines: Vec<Line<'_>> =
        words.lines().skip(1).map(|l| Line::from(l.to_owned())).collect();
    // The log has a third of the screen at least.
    lines.truncate((usize::from(middle.height) * 2 / 3).max(1));
    let [fields, chart, log] = Layout::vertical([
        Constraint::Length(u16::try_from(lines.len()).unwrap_or(u16::MAX)),
        Constraint::Length(chart_height(&open.timeline, middle.height)),
        Constraint::Fill(1),
    ])
    .areas(middle);
    frame.render_widget(Paragraph::new(lines), fields);
    let data = open.timeline.chart(chart.width.into());
    frame.render_widget(Sparkline::default().data(data).max(100).style(colour), chart);
    draw_log(frame, &open.log, log);
}

/// None where the screen is low, or there is nothing to draw.
fn chart_height(timeline: &Timeline, height: u16) -> u16 {
    if height < MIN_HEIGHT_WITH_CHART || timeline.chart(1).is_empty() { 0 } else { CHART_HEIGHT }
}

/// As much of the log's end as fits.
fn draw_log(frame: &mut Frame<'_>, log: &[String], area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    if log.is_empty() || room == 0 {
        return;
    }
    let mut lines = vec![Line::styled("Log", Modifier::BOLD)];
    let hidden = log.len().saturating_sub(room);
    lines.extend(log.iter().skip(hidden).map(|line| Line::from(sanitized(line).into_owned())));
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;
    use ratatui::crossterm::event::KeyCode;

    use super::super::app::Snapshot;
    use super::super::app::tests::{app, now, press, state};
    use super::*;

    fn screen(app: &App, [columns, rows]: [u16; 2]) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let around = Surroundings { server: "http://s", colours: true, now: now() };
        terminal.draw(|frame| draw(frame, app, around)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(columns.into());
        let text = |cells: &[Cell]| -> String { cells.iter().map(Cell::symbol).collect() };
        lines.map(|cells| text(cells).trim_end().to_owned()).collect()
    }

    #[test]
    fn jobs_are_a_table_with_counts_and_keys() {
        let rows = screen(&app(), [120, 8]);
        assert_eq!(rows[0], "http://s · 3 jobs: 1 queued, 1 processing, 1 failed · by begun");
        assert_eq!(rows[1], "JOB  STATUS      DONE  NAME   DETAILS");
        assert_eq!(rows[2], "b    processing  50 %  video  cut");
        assert_eq!(rows[4], "a    failed                   copy · no disk");
        assert_eq!(rows[7], TABLE_KEYS);
    }

    #[test]
    fn a_long_id_leaves_room_for_status_and_progress() {
        let long = "an-id-of-more-than-forty-characters-as-made-of-a-uuid";
        let mut app = app();
        let jobs = vec![
            state("b", r#""status":"processing","stage":"cut","progress":0.5,"name":"video""#),
            state(long, r#""status":"failed","stage":"copy""#),
        ];
        app.take(Snapshot { jobs: Some(jobs), ..Snapshot::default() }, now());
        let rows = screen(&app, [40, 8]);
        assert_eq!(rows[1], "JOB               STATUS      DONE");
        assert_eq!(rows[2], "b                 processing  50 %");
        assert_eq!(rows[3], "an-id-of-more-t…  failed");
        assert!(screen(&app, [120, 8])[3].starts_with(long));
    }

    #[test]
    fn on_a_narrow_screen_whole_columns_are_left_out() {
        let titles = |columns| screen(&app(), [columns, 6])[1].clone();
        assert_eq!(titles(80), "JOB  STATUS      DONE  NAME   DETAILS");
        assert_eq!(titles(38), "JOB  STATUS      DONE  DETAILS");
        assert_eq!(titles(24), "JOB  STATUS      DONE");
        assert_eq!(titles(8), "JOB");
    }

    #[test]
    fn more_jobs_than_rows_follow_the_selection() {
        let mut app = app();
        let jobs = (10..60).map(|n| state(&format!("j{n}"), r#""status":"queued","stage":"q""#));
        app.take(Snapshot { jobs: Some(jobs.collect()), ..Snapshot::default() }, now());
        press(&mut app, &[KeyCode::End]);
        let rows = screen(&app, [80, 12]);
        assert!(rows[10].starts_with("j59 ") && rows[2].starts_with("j51 "), "{rows:?}");
    }

    #[test]
    fn a_jobs_page_has_its_bar_stages_and_the_end_of_its_log() {
        let mut app = app();
        let fields = r#""status":"processing","stage":"cut","progress":0.5,"stages":[{"id":"load","label":"Load"},"cut","pack",{"id":"x","skipped":true}]"#;
        let jobs = Some(vec![state("b", fields)]);
        app.take(Snapshot { jobs, ..Snapshot::default() }, now());
        press(&mut app, &[KeyCode::Enter]);
        let open = app.open.as_mut().unwrap();
        open.log = (1..=50).map(|n| format!("line {n}\x1b[2J")).collect();
        let rows = screen(&app, [60, 10]);
        assert!(rows[0].starts_with("b ━━━") && rows[0].contains(" 50 %"), "{rows:?}");
        assert!(
            rows.iter().any(|row| row == "    stages  ✓ Load → ● cut → pack → x (skipped)"),
            "{rows:?}"
        );
        assert_eq!((rows[8].as_str(), rows[9].as_str()), ("line 50", JOB_KEYS));
        press(&mut app, &[KeyCode::Char('c')]);
        assert_eq!(screen(&app, [60, 10])[9], "Cancel b? y/n");
    }

    #[test]
    fn a_jobs_page_has_a_chart_and_the_time_of_each_stage() {
        let mut app = app();
        press(&mut app, &[KeyCode::Enter]);
        let open = app.open.as_mut().unwrap();
        let json = r#"{"samples":[[0,0],[10,0.5],[20,1]],"stages":[
            {"id":"load","label":"Load","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:10Z"},
            {"id":"cut","label":null,"started_at":"2026-01-01T00:00:10Z","ended_at":null}]}"#;
        open.timeline = serde_json::from_str(json).unwrap();
        open.log = vec!["a line".to_owned()];
        let rows = screen(&app, [40, 24]);
        assert!(rows.contains(&"    stages  ✓ Load 10 s → ● cut 0:50".to_owned()), "{rows:?}");
        let chart = rows.iter().filter(|row| row.contains('█'));
        let widths: Vec<usize> = chart.map(|row| row.matches('█').count()).collect();
        assert_eq!(widths, [1, 1, 21, 21], "{rows:?}");
        assert!(rows.contains(&"a line".to_owned()), "{rows:?}");
        // On a low screen the log matters more.
        assert!(!screen(&app, [40, 12]).iter().any(|row| row.contains('█')));
    }

    #[test]
    fn every_size_of_a_terminal_can_be_drawn() {
        let mut app = app();
        for open in [false, true] {
            for columns in [1, 5, 20, 40, 80, 200] {
                for rows in [1, 2, 3, 5, 24] {
                    screen(&app, [columns, rows]);
                }
            }
            if !open {
                press(&mut app, &[KeyCode::Enter]);
            }
        }
    }

    #[test]
    fn an_empty_list_says_why_it_is_empty() {
        let shown = |app: &App| screen(app, [60, 5])[1].clone();
        let mut app = App::new(crate::jobs::SortKey::Begun, false);
        assert_eq!(shown(&app), "connecting…");
        app.take(Snapshot { jobs: Some(Vec::new()), ..Snapshot::default() }, now());
        assert_eq!(shown(&app), "the server knows no such jobs");
        press(&mut app, &[KeyCode::Char('/'), KeyCode::Char('x')]);
        assert_eq!(shown(&app), "no job matches the filter");
        assert_eq!(screen(&app, [60, 5])[4], "filter: x█");
    }
}
