//! A terminal that a command's output and its bar share.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::{JobBar, JobSummary, MAX_REDRAWS};

/// What is kept of a line that the command has not ended. Beyond that no bar is drawn until it ends.
const MAX_PARTIAL_BYTES: usize = 2048;

/// The bar stands below the command's output, byte for byte what the command wrote.
///
/// The bar is taken away before anything is written and drawn again by [`Screen::draw`]. A line that the
/// command has not ended is left alone: no bar is drawn meanwhile, since it may be a question; unless it is a
/// meter that the command draws over in place (with `\r`), below which there is room for the bar.
#[derive(Debug)]
pub(crate) struct Screen {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    bars: MultiProgress,
    bar: JobBar,
    /// Where the bar is: it must go before the command's next output.
    drawn: BarPlace,
    partial: Partial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BarPlace {
    No,
    AtLineStart,
    /// On the line below the command's unfinished one.
    BelowMeter,
}

impl Screen {
    pub(crate) fn new(name: &str) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(MAX_REDRAWS));
        let bar = JobBar::new(&bars, name, 0);
        Self {
            inner: Mutex::new(Inner {
                bars,
                bar,
                drawn: BarPlace::No,
                partial: Partial::default(),
            }),
        }
    }

    /// Hands the command's output to the terminal behind `to`.
    pub(crate) fn write(&self, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.clear(to)?;
        inner.partial.push(bytes);
        to.write_all(bytes)
    }

    /// A line of our own, above what the command has begun and not ended.
    pub(crate) fn say(&self, line: &str) {
        let mut inner = self.lock();
        let mut stderr = io::stderr();
        let text = inner.partial.below(line);
        // If the terminal is gone there is nobody to tell.
        let _ = inner.clear(&mut stderr).and_then(|()| stderr.write_all(&text));
    }

    /// Draws the bar if there is room for it.
    pub(crate) fn draw(&self, summary: &JobSummary) {
        let mut inner = self.lock();
        let width = usize::from(console::Term::stderr().size().1);
        if inner.drawn == BarPlace::No {
            match inner.partial.room(width) {
                Place::None => return,
                Place::LineStart => inner.drawn = BarPlace::AtLineStart,
                Place::Below => {
                    if io::stderr().write_all(b"\n").is_err() {
                        return;
                    }
                    inner.drawn = BarPlace::BelowMeter;
                }
            }
        }
        inner.bar.show(summary, None);
    }

    /// Takes the bar away, for good.
    pub(crate) fn finish(&self) {
        // If the terminal is gone, there is nobody to notify.
        let _ = self.lock().clear(&mut io::stderr());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic leaves behind is at most a bar drawn twice.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn clear(&mut self, to: &mut impl Write) -> io::Result<()> {
        if self.drawn == BarPlace::No {
            return Ok(());
        }
        self.bars.clear()?;
        if self.drawn == BarPlace::BelowMeter {
            // Back up, and to the column in which the command left the cursor.
            to.write_all(b"\x1b[A\r")?;
            to.write_all(&self.partial.bytes)?;
        }
        self.drawn = BarPlace::No;
        Ok(())
    }
}

/// The line that the command has begun and not ended.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    overflown: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    None,
    LineStart,
    Below,
}

impl Partial {
    fn push(&mut self, bytes: &[u8]) {
        let tail = match bytes.iter().rposition(|b| *b == b'\n') {
            Some(at) => {
                self.bytes.clear();
                self.overflown = false;
                &bytes[at + 1..]
            }
            None => bytes,
        };
        self.bytes.extend_from_slice(tail);
        self.forget_overdrawn();
        if self.bytes.len() > MAX_PARTIAL_BYTES {
            self.bytes.clear();
            self.overflown = true;
        }
    }

    /// Keeps one `\r` before what was drawn last, so that it is known for a meter.
    fn forget_overdrawn(&mut self) {
        let content = self.bytes.iter().rposition(|b| *b != b'\r').unwrap_or(0);
        if let Some(at) = self.bytes[..content].iter().rposition(|b| *b == b'\r') {
            self.bytes.drain(..at);
        }
    }

    /// What puts a line above this one.
    fn below(&mut self, line: &str) -> Vec<u8> {
        let mut text = Vec::new();
        if self.overflown {
            text.push(b'\n');
            *self = Self::default();
        } else if !self.bytes.is_empty() {
            text.extend_from_slice(b"\r\x1b[K");
        }
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(&self.bytes);
        text
    }

    fn room(&self, width: usize) -> Place {
        if self.overflown {
            return Place::None;
        }
        if self.bytes.is_empty() {
            return Place::LineStart;
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let fits = console::measure_text_width(text.trim_matches('\r')) < width;
        if self.bytes.contains(&b'\r') && fits { Place::Below } else { Place::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(pieces: &[&str]) -> Place {
        let mut partial = Partial::default();
        for piece in pieces {
            partial.push(piece.as_bytes());
            assert!(partial.bytes.len() <= MAX_PARTIAL_BYTES);
        }
        partial.room(20)
    }

    #[test]
    fn a_bar_goes_below_lines_and_meters_and_never_into_a_question() {
        assert_eq!(room(&[]), Place::LineStart);
        assert_eq!(room(&["done\n"]), Place::LineStart);
        assert_eq!(room(&["Password: "]), Place::None);
        assert_eq!(room(&["\r 42%"]), Place::Below);
        assert_eq!(room(&["41%\r", "42%\r"]), Place::Below);
        assert_eq!(room(&["\r 42%", "\n"]), Place::LineStart);
        assert_eq!(room(&["\r 42% of a line that is too long"]), Place::None);
        assert_eq!(room(&[&"x".repeat(5000)]), Place::None);
        assert_eq!(room(&[&"x".repeat(5000), "y\n"]), Place::LineStart);
    }

    #[test]
    fn a_line_of_our_own_goes_above_what_is_not_ended() {
        let mut partial = Partial::default();
        assert_eq!(partial.below("us"), b"us\n");
        partial.push(b"x\nSure? ");
        assert_eq!(partial.below("us"), b"\r\x1b[Kus\nSure? ");
        partial.push(&[b'x'; 5000]);
        assert_eq!(partial.below("us"), b"\nus\n");
        assert_eq!(partial.below("us"), b"us\n");
    }

    #[test]
    fn only_what_was_drawn_last_is_kept() {
        let mut partial = Partial::default();
        partial.push(b"one\n\r 41%\r 42%");
        assert_eq!(partial.bytes, b"\r 42%");
        partial.push(b"\r");
        assert_eq!(partial.bytes, b"\r 42%\r");
        partial.push(b" 43%");
        assert_eq!(partial.bytes, b"\r 43%");
    }
}
