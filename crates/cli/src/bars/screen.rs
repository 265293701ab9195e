//! A terminal that a command's output and its bar share.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bar_line::{RowOptions, bar_line};
use super::cursor::{CursorTracker, Place};
use super::terminal::{self, Terminal};
use super::{JobSummary, clock, sanitized};
use crate::output;

/// The delay of the first bar: most commands that ask for a password do so at once, and a short one needs no bar.
const FIRST_BAR: Duration = Duration::from_millis(300);

/// A line that the command lengthens without ending it, such as a row of dots, gets a bar below it after this.
const PARTIAL_LINE: Duration = Duration::from_secs(2);

/// Two writes closer together than this are a flood: the bar is left to the next tick.
const FLOOD: Duration = Duration::from_millis(2);

/// Messages that wait for an empty row, at most; the oldest is dropped first.
const MAX_WAITING: usize = 16;

/// Leaves the bar's row: it is cleared, and all below it.
const CLEAR: &str = "\r\x1b[J";

/// The bar stands below the command's output, which reaches the terminal byte for byte as it was written.
///
/// The cursor rests at the start of the bar's row. Whoever writes to the terminal behind our back writes over the bar,
/// and a terminal that is resized wraps the bar below the cursor, from where it is erased.
///
/// No bar is drawn
/// - above any of the command's output ([`CursorTracker`]), so not while the command moves the cursor about;
/// - while the echo is off, because a program asks for a password;
/// - over a line that the command has not ended, which may be a question. Below it there is one if the line is drawn
///   over in place or is a growing row of dots, unless it is a progress bar itself.
/// - in the background.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal,
    name: String,
    begun: Instant,
    taskbar: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    cursor: CursorTracker,
    drawn: Drawn,
    /// What the bar shows.
    summary: Option<JobSummary>,
    /// When the command wrote last.
    written: Option<Instant>,
    /// Since when the present row has something on it.
    row_since: Instant,
    waiting: VecDeque<String>,
    /// The percentage that the taskbar shows.
    taskbar: Option<u8>,
    finished: bool,
}

/// Where the bar is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Drawn {
    No,
    /// On the cursor's row.
    Here,
    /// On the row below the command's unfinished one, which these bytes draw again.
    Below(Vec<u8>),
}

impl Screen {
    pub(crate) fn new(terminal: Terminal, name: &str) -> Self {
        let begun = Instant::now();
        let inner = Inner {
            cursor: CursorTracker::default(),
            drawn: Drawn::No,
            summary: None,
            written: None,
            row_since: begun,
            waiting: VecDeque::new(),
            taskbar: None,
            finished: false,
        };
        Self {
            terminal,
            name: name.to_owned(),
            begun,
            taskbar: terminal::has_taskbar_progress(),
            inner: Mutex::new(inner),
        }
    }

    /// Hands the command's output to the terminal behind `to`, and the bar after it, in one write.
    pub(crate) fn write(&self, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let now = Instant::now();
        let mut out = inner.undrawn();
        out.extend_from_slice(bytes);
        inner.cursor.push(bytes);
        if bytes.contains(&b'\n') {
            inner.row_since = now;
        }
        let flood = inner.written.is_some_and(|at| now.saturating_duration_since(at) < FLOOD);
        inner.written = Some(now);
        if !flood {
            self.append_bar(&mut inner, &mut out, now);
        }
        to.write_all(&out)
    }

    /// Prints a message of Milepost. It waits until there is an empty row for it.
    pub(crate) fn say(&self, line: &str) {
        let mut inner = self.lock();
        if inner.waiting.len() == MAX_WAITING {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back(line.to_owned());
        let mut out = inner.undrawn();
        self.append_bar(&mut inner, &mut out, Instant::now());
        // If the terminal is closed, there is nothing to draw on.
        let _ = io::stderr().write_all(&out);
    }

    /// Draws the bar, where it may be drawn.
    pub(crate) fn draw(&self, summary: &JobSummary) {
        let mut inner = self.lock();
        inner.summary = Some(summary.clone());
        let mut out = Vec::new();
        if self.terminal.is_prompting() {
            if std::mem::replace(&mut inner.drawn, Drawn::No) != Drawn::No {
                // The prompt was written over the bar's beginning; the rest of the bar goes.
                out.extend_from_slice(b"\x1b[K");
                inner.cursor.row_is_opaque();
            }
        } else {
            out = inner.undrawn();
            self.append_bar(&mut inner, &mut out, Instant::now());
        }
        let _ = io::stderr().write_all(&out);
    }

    /// Takes the bar away while the process is stopped.
    pub(crate) fn suspend(&self) {
        let _ = io::stderr().write_all(&self.lock().undrawn());
    }

    /// Takes the bar away for good, and prints what still waits.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.finished, true) {
            return;
        }
        let mut out = inner.undrawn();
        if !inner.waiting.is_empty() {
            out.extend(inner.cursor.to_empty_row());
            inner.print_waiting(&mut out);
        }
        if inner.taskbar.take().is_some() {
            out.extend_from_slice(b"\x1b]9;4;0;0\x1b\\");
        }
        let _ = io::stderr().write_all(&out);
    }

    /// After [`finish`](Self::finish): a line below everything.
    pub(crate) fn say_last(&self, lines: &[String]) {
        let inner = self.lock();
        let mut out = inner.cursor.to_empty_row();
        for line in lines {
            out.extend_from_slice(sanitized(line).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let _ = io::stderr().write_all(&out);
    }

    /// Where the bar goes now, if anywhere. What waits is printed above it.
    fn append_bar(&self, inner: &mut Inner, out: &mut Vec<u8>, now: Instant) {
        if inner.finished || self.terminal.is_prompting() || !self.terminal.is_ours() {
            return;
        }
        let columns = terminal::columns();
        let aged = now.saturating_duration_since(inner.row_since) >= PARTIAL_LINE;
        let drawn = match inner.cursor.place(columns) {
            Place::None => return,
            Place::RowStart => Drawn::Here,
            Place::Below(row) => match BelowRow::of(row) {
                BelowRow::Redrawn => Drawn::Below(row.to_vec()),
                BelowRow::Dots if aged => Drawn::Below(row.to_vec()),
                BelowRow::Dots | BelowRow::Nothing => Drawn::No,
            },
        };
        match &drawn {
            Drawn::Here => inner.print_waiting(out),
            Drawn::Below(_) => {}
            Drawn::No => return,
        }
        let Some(summary) = inner.summary.as_ref() else { return };
        if now.saturating_duration_since(self.begun) < FIRST_BAR {
            return;
        }
        let elapsed = now.saturating_duration_since(self.begun);
        let clock = clock(elapsed);
        let options = RowOptions {
            columns,
            frame: usize::try_from(elapsed.as_millis() / 100).unwrap_or(0),
            clock: Some(&clock),
            colours: terminal::colours(),
            ..RowOptions::default()
        };
        if matches!(drawn, Drawn::Below(_)) {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(bar_line(&self.name, Some(summary), options).as_bytes());
        out.push(b'\r');
        let percent = taskbar_percent(summary);
        inner.drawn = drawn;
        if self.taskbar && inner.taskbar != Some(percent) {
            inner.taskbar = Some(percent);
            let sequence = match percent {
                UNKNOWN => "\x1b]9;4;3;0\x1b\\".to_owned(),
                percent => format!("\x1b]9;4;1;{percent}\x1b\\"),
            };
            out.extend_from_slice(sequence.as_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic leaves behind is at most a bar drawn twice.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The taskbar's percentage of a job without one.
const UNKNOWN: u8 = u8::MAX;

fn taskbar_percent(summary: &JobSummary) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…100")]
    summary.progress.map_or(UNKNOWN, |progress| (progress.clamp(0.0, 1.0) * 100.0) as u8)
}

impl Inner {
    /// The bytes that take the bar away and put the cursor where the command left it.
    fn undrawn(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.drawn, Drawn::No) {
            Drawn::No => Vec::new(),
            Drawn::Here => CLEAR.into(),
            Drawn::Below(row) => [CLEAR.as_bytes(), b"\x1b[A\r", &row].concat(),
        }
    }

    fn print_waiting(&mut self, out: &mut Vec<u8>) {
        for line in self.waiting.drain(..) {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Whether a row that the command has not ended may have a bar below it.
#[derive(Debug, PartialEq, Eq)]
enum BelowRow {
    /// It is drawn over in place.
    Redrawn,
    /// It grows, by dots or the like.
    Dots,
    /// It may be a question, or is a progress bar itself.
    Nothing,
}

impl BelowRow {
    fn of(row: &[u8]) -> Self {
        let text = String::from_utf8_lossy(row);
        let text = console::strip_ansi_codes(&text);
        let text = text.trim();
        if row.contains(&b'\r') || row.contains(&0x08) {
            return if output::is_progress(text) { Self::Nothing } else { Self::Redrawn };
        }
        let mut last = text.chars().rev();
        match (last.next(), last.next()) {
            (Some(a), Some(b)) if a == b && ".·#*=-█".contains(a) => Self::Dots,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_may_have_a_bar_below_them() {
        for (row, expected) in [
            ("\r⠋ installing", BelowRow::Redrawn),
            ("\r 42%", BelowRow::Nothing),
            ("\r 10%|█         | 5/50 [00:00<00:04, 9.9it/s]", BelowRow::Nothing),
            ("tests/test_a.py ......", BelowRow::Dots),
            ("Copying files... ", BelowRow::Dots),
            ("Password: ", BelowRow::Nothing),
            ("Continue? [y/N] ", BelowRow::Nothing),
            ("Press a key", BelowRow::Nothing),
        ] {
            assert_eq!(BelowRow::of(row.as_bytes()), expected, "{row:?}");
        }
    }
}
