//! Where what is watched goes: bars on a terminal, plain lines, or JSON.

use std::io::{self, Write};
use std::time::Instant;

use milepost_protocol::{JobId, State, Status};

use super::keys::{Key, Keys};
use super::plain::PlainLines;
use super::rows::{Scroll, rows, summary};
use super::watched_jobs::{ConnectionState, WatchedJobs};
use crate::bars::{Block, Suspension, Terminal, columns, sanitized};
use crate::exit::{print_json, warn};

/// One of three ways to show jobs. They fail if the output is closed.
pub(super) enum View {
    Bars(Bars),
    Plain(PlainLines),
    Json,
}

/// What is drawn on a terminal.
pub(super) struct Bars {
    block: Block,
    begun: Instant,
    terminal: Terminal,
    keys: Option<Keys>,
    scroll: Scroll,
    quit: bool,
    /// The message at the end, if not all jobs are watched.
    too_many: Option<&'static str>,
}

impl View {
    pub(super) fn new(json: bool, terminal: Option<Terminal>) -> Self {
        if json {
            return Self::Json;
        }
        let Some(terminal) = terminal else {
            return Self::Plain(PlainLines::default());
        };
        Self::Bars(Bars {
            block: Block::default(),
            begun: Instant::now(),
            terminal,
            keys: Keys::new(),
            scroll: Scroll::default(),
            quit: false,
            too_many: None,
        })
    }

    /// Time has passed: ages, spinners, notes.
    pub(super) fn tick(&mut self, watched_jobs: &WatchedJobs, now: Instant) -> io::Result<()> {
        match self {
            Self::Bars(bars) => bars.tick(watched_jobs, now),
            Self::Plain(lines) => print_all(&lines.tick(watched_jobs.watched(), now)),
            Self::Json => Ok(()),
        }
    }

    pub(super) fn state(
        &mut self,
        watched_jobs: &WatchedJobs,
        index: Option<usize>,
        state: &State,
    ) -> io::Result<()> {
        match self {
            // The next tick draws it.
            Self::Bars(_) => Ok(()),
            Self::Json => print_json(state.json()),
            Self::Plain(lines) => {
                let now = Instant::now();
                let line = index.and_then(|index| lines.state(watched_jobs.watched(), index, now));
                line.map_or(Ok(()), |line| print(&line))
            }
        }
    }

    /// Whether rows are drawn, which a shell would overwrite.
    pub(super) fn draws(&self) -> bool {
        matches!(self, Self::Bars(_))
    }

    /// Stops the process, with the rows above the shell's prompt and the terminal as it was before.
    pub(super) fn suspend(&mut self, watched_jobs: &WatchedJobs) -> io::Result<()> {
        if let Self::Bars(bars) = self {
            if let Some(keys) = &bars.keys {
                keys.release();
            }
            let rows = rows(watched_jobs, Instant::now(), 0, bars.scroll, bars.size());
            bars.block.leave(&rows, &mut io::stderr())?;
            Suspension::stop();
        }
        Ok(())
    }

    /// Not all jobs are watched. On a terminal, the message is printed at the end, below the bars.
    pub(super) fn too_many(&mut self, what: &'static str) {
        match self {
            Self::Bars(bars) => bars.too_many = Some(what),
            Self::Plain(_) | Self::Json => warn(what),
        }
    }

    pub(super) fn refused(&self, watched_jobs: &WatchedJobs, index: Option<usize>) {
        if let (Self::Plain(_) | Self::Json, Some(index)) = (self, index) {
            let watched = &watched_jobs.watched()[index];
            warn(format_args!(
                "{}: {}",
                watched.job,
                watched.refused.as_deref().unwrap_or("refused")
            ));
        }
    }

    pub(super) fn unreadable(&self, job: &JobId, message: &str) {
        if !matches!(self, Self::Bars(_)) {
            warn(format_args!("{job}: the server cannot read it: {message}"));
        }
    }

    pub(super) fn lost(&self, watched_jobs: &WatchedJobs) {
        if !matches!(self, Self::Bars(_)) {
            warn(format_args!("{}; trying again", watched_jobs.disconnect_reason()));
        }
    }

    pub(super) fn connected(&mut self, before: &ConnectionState, now: Instant) {
        if let ConnectionState::Down { was_up, .. } = before
            && !matches!(self, Self::Bars(_))
        {
            warn("connected again");
            if let (Self::Plain(lines), true) = (self, *was_up) {
                lines.reconnected(now);
            }
        }
    }

    /// The last that was known stays on the terminal; whole errors below.
    pub(super) fn leave(&mut self, watched_jobs: &WatchedJobs) {
        let summary = summary(watched_jobs.watched());
        if let Self::Plain(lines) = self {
            // If the output is closed, there is nothing to print to.
            let _ = print_all(&lines.held(watched_jobs.watched()));
        }
        if !self.draws() {
            for watched in watched_jobs.watched() {
                if let Some(given_up) = watched.given_up() {
                    warn(format_args!("{}: {given_up}", watched.job));
                }
            }
        }
        let bars = match self {
            Self::Bars(bars) => bars,
            Self::Plain(_) => return summary.into_iter().for_each(warn),
            Self::Json => return,
        };
        bars.keys = None;
        let size = bars.size();
        let rows = rows(watched_jobs, Instant::now(), 0, Scroll::default(), size);
        // If the terminal is closed, there is nothing to print to.
        let _ = bars.block.leave(&rows, &mut io::stderr());
        for watched in watched_jobs.watched().iter().filter(|w| w.status() == Some(Status::Failed))
        {
            if let Some(error) =
                watched.summary.as_ref().and_then(|summary| summary.error.as_deref())
            {
                let lines: Vec<_> = error.lines().map(sanitized).collect();
                let _ = writeln!(io::stderr(), "{}: {}", watched.job, lines.join("\n  "));
            }
        }
        let too_many = bars.too_many.map(str::to_owned);
        for line in summary.into_iter().chain(too_many) {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Whether a key was pressed that quits.
    pub(super) fn is_quit(&self) -> bool {
        matches!(self, Self::Bars(Bars { quit: true, .. }))
    }
}

impl Bars {
    fn tick(&mut self, watched_jobs: &WatchedJobs, now: Instant) -> io::Result<()> {
        if !self.terminal.is_ours() {
            return Ok(());
        }
        let size = self.size();
        for key in self.keys.as_ref().map(Keys::pressed).unwrap_or_default() {
            self.quit |= key == Key::Quit;
            self.scroll.press(key, watched_jobs.watched().len(), size[0]);
        }
        let frame = now.saturating_duration_since(self.begun).as_millis() / 100;
        let frame = usize::try_from(frame).unwrap_or(0);
        self.block.draw(&rows(watched_jobs, now, frame, self.scroll, size), &mut io::stderr())
    }

    /// Rows for jobs, and columns.
    #[expect(clippy::unused_self, reason = "the size of this terminal")]
    fn size(&self) -> [usize; 2] {
        [crate::bars::rows().saturating_sub(1).max(1), columns()]
    }
}

fn print_all(lines: &[String]) -> io::Result<()> {
    lines.iter().try_for_each(|line| print(line))
}

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
