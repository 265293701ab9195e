//! What `milepost top` shows, and what its keys do. No I/O, and the time is passed in.

use milepost_protocol::{JobId, State, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::jobs::{Row, SortKey, sort};
use crate::status::Timeline;

/// A filter is cut to this.
const MAX_FILTER: usize = 100;

/// The server's responses at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// None if the server did not answer; `problem` has the reason.
    pub(super) jobs: Option<Vec<State>>,
    pub(super) open: Option<OpenJob>,
    pub(super) problem: Option<String>,
    /// What became of a request to cancel.
    pub(super) outcome: Option<String>,
}

/// The job whose page is shown.
#[derive(Debug)]
pub(super) struct OpenJob {
    pub(super) job: JobId,
    /// None if the server does not know it any more.
    pub(super) state: Option<State>,
    pub(super) timeline: Timeline,
    /// The latest lines of its log.
    pub(super) log: Vec<String>,
}

/// What a key makes the program do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Fetch this job's page as well, or none.
    Show(Option<JobId>),
    Cancel(JobId),
    /// Ctrl-Z.
    Suspend,
    Quit,
    /// Ctrl-C.
    Interrupt,
}

/// What keys go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// The filter is being typed.
    Filter,
    /// The page of a job.
    Job(JobId),
    /// Whether to cancel the job whose page it is.
    ConfirmCancel(JobId),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) mode: Mode,
    pub(super) open: Option<OpenJob>,
    /// The rows that match the filter, sorted.
    pub(super) rows: Vec<Row>,
    pub(super) sort: SortKey,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// Why the server does not answer.
    pub(super) problem: Option<String>,
    /// What became of the latest request to cancel, until a key is pressed.
    pub(super) outcome: Option<String>,
    /// The server has answered.
    pub(super) is_loaded: bool,
    jobs: Vec<State>,
    /// The id of the row that is selected: it stays selected when others move.
    selected: Option<String>,
}

impl App {
    pub(super) fn new(sort: SortKey, reverse: bool) -> Self {
        Self {
            mode: Mode::Table,
            open: None,
            rows: Vec::new(),
            sort,
            reverse,
            filter: String::new(),
            problem: None,
            outcome: None,
            is_loaded: false,
            jobs: Vec::new(),
            selected: None,
        }
    }

    /// What the server did not answer stays as it was.
    pub(super) fn take(&mut self, snapshot: Snapshot, now: Timestamp) {
        if let Some(jobs) = snapshot.jobs {
            self.jobs = jobs;
            self.is_loaded = true;
            self.arrange(now);
        }
        match (&self.mode, snapshot.open) {
            (Mode::Job(shown) | Mode::ConfirmCancel(shown), Some(open)) if *shown == open.job => {
                self.open = Some(open);
            }
            _ => {}
        }
        self.problem = snapshot.problem;
        self.outcome = snapshot.outcome.or(self.outcome.take());
    }

    /// All jobs that the server listed, whatever the filter.
    pub(super) fn jobs(&self) -> &[State] {
        &self.jobs
    }

    /// The number of the row that is selected.
    pub(super) fn selected(&self) -> Option<usize> {
        let selected = self.selected.as_deref();
        let index = self.rows.iter().position(|row| Some(row.job()) == selected);
        index.or_else(|| (!self.rows.is_empty()).then_some(0))
    }

    /// `page`: rows that fit the screen.
    pub(super) fn press(&mut self, key: KeyEvent, page: usize, now: Timestamp) -> Action {
        self.outcome = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Action::Interrupt,
                KeyCode::Char('z') => return Action::Suspend,
                // Not only the letter: Ctrl-Y does not mean yes.
                KeyCode::Char(_) => return Action::Nothing,
                _ => {}
            }
        }
        match self.mode.clone() {
            Mode::Table => self.press_in_table(key.code, page, now),
            Mode::Filter => {
                self.press_in_filter(key.code);
                self.arrange(now);
                Action::Nothing
            }
            Mode::Job(job) => self.press_in_job(key.code, job),
            Mode::ConfirmCancel(job) => {
                self.mode = Mode::Job(job.clone());
                match key.code {
                    KeyCode::Char('y' | 'Y') => Action::Cancel(job),
                    _ => Action::Nothing,
                }
            }
        }
    }

    fn press_in_table(&mut self, key: KeyCode, page: usize, now: Timestamp) -> Action {
        let (last, page) = (self.rows.len().saturating_sub(1), page.max(1));
        let at = self.selected().unwrap_or(0);
        match key {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Action::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Up | KeyCode::Char('k') => self.select(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select((at + 1).min(last)),
            KeyCode::PageUp => self.select(at.saturating_sub(page)),
            KeyCode::PageDown => self.select((at + page).min(last)),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(last),
            KeyCode::Enter => return self.open_selected(at),
            _ => {}
        }
        self.arrange(now);
        Action::Nothing
    }

    fn press_in_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(c) if self.filter.len() < MAX_FILTER => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Enter => self.mode = Mode::Table,
            _ => {}
        }
    }

    fn press_in_job(&mut self, key: KeyCode, job: JobId) -> Action {
        match key {
            KeyCode::Char('c') => {
                self.mode = Mode::ConfirmCancel(job);
                Action::Nothing
            }
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => {
                self.mode = Mode::Table;
                self.open = None;
                Action::Show(None)
            }
            _ => Action::Nothing,
        }
    }

    fn open_selected(&mut self, at: usize) -> Action {
        let Some(row) = self.rows.get(at) else { return Action::Nothing };
        let Ok(job) = JobId::parse(row.job()) else { return Action::Nothing };
        // What the list has of it is shown until the server answers.
        let state = self.jobs.iter().find(|state| *state.job() == job).cloned();
        self.open = Some(OpenJob {
            job: job.clone(),
            state,
            timeline: Timeline::default(),
            log: Vec::new(),
        });
        self.mode = Mode::Job(job.clone());
        Action::Show(Some(job))
    }

    fn select(&mut self, row: usize) {
        self.selected = self.rows.get(row).map(|row| row.job().to_owned());
    }

    fn arrange(&mut self, now: Timestamp) {
        self.rows =
            self.jobs.iter().map(Row::of).filter(|row| row.contains(&self.filter)).collect();
        sort(&mut self.rows, self.sort, self.reverse, now);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::top) fn state(job: &str, fields: &str) -> State {
        let json = format!(r#"{{"job_id":"{job}",{fields},"attempt":1,"position":"1-1"}}"#);
        State::parse(&json).unwrap()
    }

    pub(in crate::top) fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:01:00Z").unwrap()
    }

    pub(in crate::top) fn app() -> App {
        let mut app = App::new(SortKey::Begun, false);
        let jobs = vec![
            state("b", r#""status":"processing","stage":"cut","progress":0.5,"name":"video""#),
            state("c", r#""status":"queued","stage":"queued","tags":["nightly"]"#),
            state("a", r#""status":"failed","stage":"copy","error":"no disk""#),
        ];
        app.take(Snapshot { jobs: Some(jobs), ..Snapshot::default() }, now());
        app
    }

    pub(in crate::top) fn press(app: &mut App, keys: &[KeyCode]) -> Action {
        let mut action = Action::Nothing;
        for key in keys {
            action = app.press(KeyEvent::from(*key), 10, now());
        }
        action
    }

    fn ids(app: &App) -> String {
        app.rows.iter().map(Row::job).collect()
    }

    fn typed(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn rows_are_sorted_and_the_selected_job_stays_selected() {
        let mut app = app();
        assert_eq!((ids(&app).as_str(), app.selected()), ("bca", Some(0)));
        press(&mut app, &[KeyCode::Down]);
        assert_eq!(app.selected(), Some(1));
        press(&mut app, &typed("s"));
        assert_eq!((app.sort, ids(&app).as_str(), app.selected()), (SortKey::Job, "abc", Some(2)));
        press(&mut app, &typed("r"));
        assert_eq!((ids(&app).as_str(), app.selected()), ("cba", Some(0)));
        press(&mut app, &[KeyCode::End, KeyCode::Down]);
        assert_eq!(app.selected(), Some(2));
        press(&mut app, &[KeyCode::PageUp]);
        assert_eq!(app.selected(), Some(0));
    }

    #[test]
    fn a_filter_looks_at_id_name_tags_status_and_details() {
        let mut app = app();
        for (filter, expected) in [
            ("VIDEO", "b"),
            ("night", "c"),
            ("failed", "a"),
            ("no disk", "a"),
            ("cut", "b"),
            ("zz", ""),
        ] {
            press(&mut app, &typed("/"));
            press(&mut app, &typed(filter));
            assert_eq!(ids(&app), expected, "{filter}");
            press(&mut app, &[KeyCode::Esc]);
            assert_eq!(ids(&app), "bca");
        }
        // A key of the table is a letter of the filter.
        press(&mut app, &typed("/q"));
        assert_eq!(
            (ids(&app).as_str(), press(&mut app, &[KeyCode::Enter])),
            ("c", Action::Nothing)
        );
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Action::Nothing);
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Action::Quit);
        press(&mut app, &typed("/"));
        press(&mut app, &typed(&"x".repeat(500)));
        assert_eq!(app.filter.len(), MAX_FILTER);
    }

    #[test]
    fn a_job_is_opened_and_cancelled_once_it_is_confirmed() {
        let mut app = app();
        let b = JobId::parse("b").unwrap();
        assert_eq!(press(&mut app, &[KeyCode::Enter]), Action::Show(Some(b.clone())));
        assert!(app.open.as_ref().unwrap().state.is_some());
        assert_eq!(press(&mut app, &typed("cn")), Action::Nothing);
        press(&mut app, &typed("c"));
        let ctrl_y = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::CONTROL);
        assert_eq!(app.press(ctrl_y, 10, now()), Action::Nothing);
        press(&mut app, &typed("n"));
        assert_eq!(press(&mut app, &typed("cy")), Action::Cancel(b.clone()));
        let outcome = Some("b: requested to cancel".to_owned());
        app.take(Snapshot { outcome, ..Snapshot::default() }, now());
        app.take(Snapshot::default(), now());
        assert_eq!(app.outcome.as_deref(), Some("b: requested to cancel"));
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Action::Show(None));
        assert_eq!((app.outcome.as_deref(), &app.mode), (None, &Mode::Table));
    }

    #[test]
    fn the_page_of_another_job_is_not_shown() {
        let mut app = app();
        press(&mut app, &[KeyCode::Enter]);
        let open = |job: &str| {
            let job = JobId::parse(job).unwrap();
            Some(OpenJob {
                job,
                state: None,
                timeline: Timeline::default(),
                log: vec!["line".to_owned()],
            })
        };
        app.take(Snapshot { open: open("a"), ..Snapshot::default() }, now());
        assert!(app.open.as_ref().unwrap().log.is_empty());
        app.take(Snapshot { open: open("b"), ..Snapshot::default() }, now());
        assert_eq!(app.open.as_ref().unwrap().log, ["line"]);
    }

    #[test]
    fn the_latest_list_stays_while_the_server_does_not_answer() {
        let mut app = app();
        let problem = Some("the server cannot be reached".to_owned());
        app.take(Snapshot { problem, ..Snapshot::default() }, now());
        assert_eq!((app.rows.len(), app.problem.is_some()), (3, true));
        app.take(Snapshot { jobs: Some(Vec::new()), ..Snapshot::default() }, now());
        assert_eq!((app.rows.len(), app.selected(), app.problem.is_some()), (0, None, false));
        assert_eq!(press(&mut app, &[KeyCode::Enter, KeyCode::Down]), Action::Nothing);
    }
}
