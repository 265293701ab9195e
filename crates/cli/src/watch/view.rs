//! Where what is watched goes: bars on a terminal, plain lines, or JSON.

use std::io::{self, Write};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressDrawTarget};
use milepost_protocol::{State, Status};

use super::plain::Told;
use super::roster::{Link, Roster};
use crate::bars::{JobBar, MAX_REDRAWS, sanitized};

/// Bars beyond that are not drawn: a terminal has no room for them.
const MAX_BARS: usize = 100;

/// One of three ways to show jobs. An error: nobody reads any more.
pub(super) enum View {
    Bars { all: MultiProgress, bars: Vec<JobBar> },
    Plain { told: Vec<Told> },
    Json,
}

impl View {
    pub(super) fn new(json: bool, terminal: bool, roster: &Roster) -> Self {
        if json {
            return Self::Json;
        }
        if !terminal {
            return Self::Plain {
                told: roster.watched().iter().map(|_| Told::default()).collect(),
            };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(MAX_REDRAWS));
        let names = || roster.jobs().take(MAX_BARS);
        let width = names().map(|job| job.as_str().len()).max().unwrap_or(0).min(40);
        let bars = names().map(|job| JobBar::new(&all, job.as_str(), width)).collect();
        Self::Bars { all, bars }
    }

    /// Time has passed: ages, spinners, remarks.
    pub(super) fn tick(&mut self, roster: &Roster, now: Instant) -> io::Result<()> {
        match self {
            Self::Bars { bars, .. } => {
                for (bar, watched) in bars.iter_mut().zip(roster.watched()) {
                    let remark = roster.remark(watched, now);
                    match &watched.face {
                        Some(face) => bar.show(face, remark.as_deref()),
                        None => bar.wait(remark.as_deref().unwrap_or("")),
                    }
                }
                Ok(())
            }
            Self::Plain { told } => {
                for (told, watched) in told.iter_mut().zip(roster.watched()) {
                    if let Some(line) = told.silence(watched, now) {
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
        roster: &Roster,
        index: Option<usize>,
        state: &State,
    ) -> io::Result<()> {
        match self {
            // The next tick draws it.
            Self::Bars { .. } => Ok(()),
            Self::Json => print(state.json()),
            Self::Plain { told } => {
                let line = index.and_then(|index| {
                    let watched = &roster.watched()[index];
                    told[index].line(watched.job.as_str(), watched.face.as_ref()?)
                });
                line.map_or(Ok(()), |line| print(&line))
            }
        }
    }

    pub(super) fn unknown(&mut self, roster: &Roster, index: Option<usize>) -> io::Result<()> {
        match (self, index) {
            (Self::Plain { .. }, Some(index)) => {
                let watched = &roster.watched()[index];
                let what = if watched.face.is_some() {
                    "is forgotten by the server"
                } else {
                    "is not known yet"
                };
                print(&format!("{} {what}", watched.job))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn refused(&self, roster: &Roster, index: Option<usize>) {
        if let (Self::Plain { .. } | Self::Json, Some(index)) = (self, index) {
            let watched = &roster.watched()[index];
            complain(&format!(
                "{}: {}",
                watched.job,
                watched.refused.as_deref().unwrap_or("refused")
            ));
        }
    }

    pub(super) fn lost(&self, roster: &Roster) {
        if !matches!(self, Self::Bars { .. }) {
            complain(&format!("{}; trying again", roster.why_down()));
        }
    }

    pub(super) fn connected(&self, before: &Link) {
        if matches!(before, Link::Down { .. }) && !matches!(self, Self::Bars { .. }) {
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
    pub(super) fn leave(&mut self, roster: &Roster) {
        // If the terminal is gone there is nobody to tell.
        let _ = self.tick(roster, Instant::now());
        let Self::Bars { bars, .. } = self else { return };
        for bar in bars.iter() {
            bar.leave();
        }
        for watched in roster.watched().iter().filter(|w| w.status() == Some(Status::Failed)) {
            if let Some(error) = watched.face.as_ref().and_then(|face| face.error.as_deref()) {
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
    // Nobody may be reading stderr; what matters is on stdout.
    let _ = writeln!(io::stderr(), "milepost: {line}");
}
