//! Where what is watched goes: bars on a terminal, plain lines, or JSON.

use std::io::{self, Write};
use std::time::Instant;

use milepost_protocol::{State, Status};

use super::plain::LastPrinted;
use super::watched_jobs::{ConnectionState, WatchedJobs};
use crate::bars::{Block, RowOptions, Terminal, bar_line, colours, columns, rows, sanitized};

/// Names are cut to this.
const MAX_NAME: usize = 40;

/// One of three ways to show jobs. An error: nobody reads any more.
pub(super) enum View {
    Bars { block: Block, begun: Instant, terminal: Terminal },
    Plain { printed: Vec<LastPrinted> },
    Json,
}

impl View {
    pub(super) fn new(json: bool, terminal: Option<Terminal>, watched_jobs: &WatchedJobs) -> Self {
        if json {
            return Self::Json;
        }
        let Some(terminal) = terminal else {
            return Self::Plain {
                printed: watched_jobs.watched().iter().map(|_| LastPrinted::default()).collect(),
            };
        };
        Self::Bars { block: Block::default(), begun: Instant::now(), terminal }
    }

    /// Time has passed: ages, spinners, notes.
    pub(super) fn tick(&mut self, watched_jobs: &WatchedJobs, now: Instant) -> io::Result<()> {
        match self {
            Self::Bars { block, begun, terminal } => {
                if terminal.is_ours() {
                    let frame = now.saturating_duration_since(*begun).as_millis() / 100;
                    let rows = bar_rows(watched_jobs, now, usize::try_from(frame).unwrap_or(0));
                    block.draw(&rows, &mut io::stderr())?;
                }
                Ok(())
            }
            Self::Plain { printed } => {
                for (printed, watched) in printed.iter_mut().zip(watched_jobs.watched()) {
                    if let Some(line) = printed.silence(watched, now) {
                        print(&line)?;
                    }
                }
                Ok(())
            }
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
            Self::Bars { .. } => Ok(()),
            Self::Json => print(state.json()),
            Self::Plain { printed } => {
                let line = index.and_then(|index| {
                    let watched = &watched_jobs.watched()[index];
                    printed[index].line(watched.job.as_str(), watched.summary.as_ref()?)
                });
                line.map_or(Ok(()), |line| print(&line))
            }
        }
    }

    pub(super) fn unknown(
        &mut self,
        watched_jobs: &WatchedJobs,
        index: Option<usize>,
    ) -> io::Result<()> {
        match (self, index) {
            (Self::Plain { .. }, Some(index)) => {
                let watched = &watched_jobs.watched()[index];
                let what = if watched.summary.is_some() {
                    "is forgotten by the server"
                } else {
                    "is not known yet"
                };
                print(&format!("{} {what}", watched.job))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn refused(&self, watched_jobs: &WatchedJobs, index: Option<usize>) {
        if let (Self::Plain { .. } | Self::Json, Some(index)) = (self, index) {
            let watched = &watched_jobs.watched()[index];
            complain(&format!(
                "{}: {}",
                watched.job,
                watched.refused.as_deref().unwrap_or("refused")
            ));
        }
    }

    pub(super) fn lost(&self, watched_jobs: &WatchedJobs) {
        if !matches!(self, Self::Bars { .. }) {
            complain(&format!("{}; trying again", watched_jobs.disconnect_reason()));
        }
    }

    pub(super) fn connected(&self, before: &ConnectionState) {
        if matches!(before, ConnectionState::Down { .. }) && !matches!(self, Self::Bars { .. }) {
            complain("connected again");
        }
    }

    /// The last that was known stays on the terminal; whole errors below.
    pub(super) fn leave(&mut self, watched_jobs: &WatchedJobs) {
        let Self::Bars { block, .. } = self else { return };
        // If the terminal is gone there is nobody to notify.
        let _ = block.leave(&bar_rows(watched_jobs, Instant::now(), 0), &mut io::stderr());
        for watched in watched_jobs.watched().iter().filter(|w| w.status() == Some(Status::Failed))
        {
            if let Some(error) =
                watched.summary.as_ref().and_then(|summary| summary.error.as_deref())
            {
                let lines: Vec<_> = error.lines().map(sanitized).collect();
                let _ = writeln!(io::stderr(), "{}: {}", watched.job, lines.join("\n  "));
            }
        }
    }
}

/// A row for each job, as many as fit.
fn bar_rows(watched_jobs: &WatchedJobs, now: Instant, frame: usize) -> Vec<String> {
    let shown = || watched_jobs.watched().iter().take(rows().saturating_sub(1).max(1));
    let name_width = shown().map(|w| w.job.as_str().len()).max().unwrap_or(0).min(MAX_NAME);
    let options = RowOptions {
        name_width,
        columns: columns(),
        frame,
        colours: colours(),
        ..RowOptions::default()
    };
    shown()
        .map(|watched| {
            let note = watched_jobs.note(watched, now);
            let options = RowOptions { note: note.as_deref(), ..options };
            bar_line(watched.job.as_str(), watched.summary.as_ref(), options)
        })
        .collect()
}

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn complain(line: &str) {
    // A closed stderr is ignored: the results go to stdout.
    let _ = writeln!(io::stderr(), "milepost: {line}");
}
