//! Where what is watched goes: bars on a terminal, plain lines, or JSON.

use std::io::{self, Write};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressDrawTarget};
use milepost_protocol::{State, Status};

use super::plain::LastPrinted;
use super::watched_jobs::{ConnectionState, WatchedJobs};
use crate::bars::{JobBar, MAX_REDRAWS, sanitized};

/// Bars beyond that are not drawn: a terminal has no room for them.
const MAX_BARS: usize = 100;

/// One of three ways to show jobs. An error: nobody reads any more.
pub(super) enum View {
    Bars { all: MultiProgress, bars: Vec<JobBar> },
    Plain { printed: Vec<LastPrinted> },
    Json,
}

impl View {
    pub(super) fn new(json: bool, terminal: bool, watched_jobs: &WatchedJobs) -> Self {
        if json {
            return Self::Json;
        }
        if !terminal {
            return Self::Plain {
                printed: watched_jobs.watched().iter().map(|_| LastPrinted::default()).collect(),
            };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(MAX_REDRAWS));
        let names = || watched_jobs.jobs().take(MAX_BARS);
        let width = names().map(|job| job.as_str().len()).max().unwrap_or(0).min(40);
        let bars = names().map(|job| JobBar::new(&all, job.as_str(), width)).collect();
        Self::Bars { all, bars }
    }

    /// Time has passed: ages, spinners, notes.
    pub(super) fn tick(&mut self, watched_jobs: &WatchedJobs, now: Instant) -> io::Result<()> {
        match self {
            Self::Bars { bars, .. } => {
                for (bar, watched) in bars.iter_mut().zip(watched_jobs.watched()) {
                    let note = watched_jobs.note(watched, now);
                    match &watched.summary {
                        Some(summary) => bar.show(summary, note.as_deref()),
                        None => bar.wait(note.as_deref().unwrap_or("")),
                    }
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

    /// Ctrl-C: its echo has moved the cursor, so nothing is drawn any more. What is there stays.
    pub(super) fn abandon(&mut self) {
        if let Self::Bars { all, .. } = self {
            all.set_draw_target(ProgressDrawTarget::hidden());
            let _ = writeln!(io::stderr());
        }
    }

    /// The last that was known stays on the terminal; whole errors below.
    pub(super) fn leave(&mut self, watched_jobs: &WatchedJobs) {
        // If the terminal is gone there is nobody to tell.
        let _ = self.tick(watched_jobs, Instant::now());
        let Self::Bars { bars, .. } = self else { return };
        for bar in bars.iter() {
            bar.leave();
        }
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

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn complain(line: &str) {
    // A closed stderr is ignored: the results go to stdout.
    let _ = writeln!(io::stderr(), "milepost: {line}");
}
