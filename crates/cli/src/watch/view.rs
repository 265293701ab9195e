//! Where what is watched goes: bars on a terminal, plain lines, or JSON.

use std::io::{self, Write};
use std::time::Instant;

use milepost_protocol::{State, Status};

use super::plain::LastPrinted;
use super::watched_jobs::{ConnectionState, Watched, WatchedJobs};
use crate::bars::{Block, RowOptions, Terminal, bar_line, colours, columns, rows, sanitized};
use crate::exit::warn;

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
                    let lines = [printed.unknown(watched, now), printed.silence(watched, now)];
                    for line in lines.into_iter().flatten() {
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

    pub(super) fn refused(&self, watched_jobs: &WatchedJobs, index: Option<usize>) {
        if let (Self::Plain { .. } | Self::Json, Some(index)) = (self, index) {
            let watched = &watched_jobs.watched()[index];
            warn(format_args!(
                "{}: {}",
                watched.job,
                watched.refused.as_deref().unwrap_or("refused")
            ));
        }
    }

    pub(super) fn lost(&self, watched_jobs: &WatchedJobs) {
        if !matches!(self, Self::Bars { .. }) {
            warn(format_args!("{}; trying again", watched_jobs.disconnect_reason()));
        }
    }

    pub(super) fn connected(&self, before: &ConnectionState) {
        if matches!(before, ConnectionState::Down { .. }) && !matches!(self, Self::Bars { .. }) {
            warn("connected again");
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
        if watched_jobs.watched().len() > 1 {
            let _ = writeln!(io::stderr(), "{}", counts(watched_jobs.watched().iter()));
        }
    }
}

/// A row for each job. Where not all fit those that matter most are shown, and the others are counted.
fn bar_rows(watched_jobs: &WatchedJobs, now: Instant, frame: usize) -> Vec<String> {
    let all = watched_jobs.watched();
    let room = rows().saturating_sub(1).max(1);
    let mut shown: Vec<usize> = (0..all.len()).collect();
    if all.len() > room {
        shown.sort_by_key(|index| all[*index].rank(now));
        shown.truncate(room.saturating_sub(1));
        shown.sort_unstable();
    }
    let names = shown.iter().map(|index| all[*index].job.as_str().len());
    let options = RowOptions {
        name_width: names.max().unwrap_or(0).min(MAX_NAME),
        columns: columns(),
        frame,
        colours: colours(),
        ..RowOptions::default()
    };
    let mut rows: Vec<String> = shown
        .iter()
        .map(|index| {
            let watched = &all[*index];
            let note = watched_jobs.note(watched, now);
            let options = RowOptions { note: note.as_deref(), ..options };
            bar_line(watched.job.as_str(), watched.summary.as_ref(), options)
        })
        .collect();
    if shown.len() < all.len() {
        let hidden = all.iter().enumerate().filter(|(index, _)| !shown.contains(index));
        let counts = counts(hidden.map(|(_, watched)| watched));
        let line = format!("… and {} more: {counts}", all.len() - shown.len());
        rows.push(console::truncate_str(&line, columns().saturating_sub(1), "…").into_owned());
    }
    rows
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

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
