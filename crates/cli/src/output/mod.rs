//! Finds out from a command's output how far it is.
//!
//! Pure: bytes in, events out. The same bytes give the same events, in any pieces, and memory is bounded by one line of
//! 16 KiB and a few counters.
//!
//! A line is taken for progress by the first of these that fits:
//!
//! 1. a JSON object with a field that Milepost knows ([`json_line`]);
//! 2. a format that only one tool writes: pip, tqdm, curl, rsync, wget, git, ffmpeg, yt-dlp, aria2, pv, dd, rclone,
//!    restic, ddrescue, Blender (a module each);
//! 3. a percentage or a count that is *shaped* like progress ([`meter`] states the rule).
//!
//! Of several bars in one stream the outermost is the job's, or their sum ([`concurrent`]). A bar that has come to 100 % is
//! a phase's once other text follows: then how far the command is is unknown again. OSC 9;4, by which a program shows the
//! terminal how far it is, is read too ([`osc`]).
//!
//! Anything else is text. A line with control characters or bytes that are not UTF-8 is never progress.

mod aria2;
mod blender;
mod concurrent;
mod curl;
mod dd;
mod ddrescue;
pub(crate) mod ffmpeg;
mod git;
mod json_line;
mod lines;
mod meter;
mod osc;
mod pip;
mod pv;
mod rclone;
mod reading;
mod restic;
mod rsync;
mod scan;
mod tqdm;
mod wget;
mod yt_dlp;

use std::borrow::Cow;

use lines::{LineSplitter, RawLine};
pub use reading::{Progress, Reading};

/// Lines of text (as opposed to JSON) beyond this are prose or data, never a meter.
const MAX_METER_BYTES: usize = 1024;

/// What a piece of output turned out to be.
#[derive(Debug)]
pub enum Event<'a> {
    /// How far the command is.
    Progress(Reading),
    /// Any other line with something on it, without colours, at most 1 KiB of it.
    Text(&'a str),
}

/// A line as the recognisers get it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Without escape sequences, trimmed.
    pub(crate) text: &'a str,
    /// Drawn over in place, as meters are.
    pub(crate) redrawn: bool,
}

/// Reads one stream (a command's stdout or its stderr).
#[derive(Debug)]
pub struct OutputParser {
    lines: LineSplitter,
    recogniser: Recogniser,
    osc: osc::TaskbarProgress,
}

impl Default for OutputParser {
    fn default() -> Self {
        Self::new()
    }
}

impl OutputParser {
    /// For a new stream.
    pub fn new() -> Self {
        Self {
            lines: LineSplitter::new(),
            recogniser: Recogniser::default(),
            osc: osc::TaskbarProgress::default(),
        }
    }

    /// For a program whose lines are a number from 0 to 100 and nothing else, such as `pv -n`.
    #[must_use]
    pub fn with_bare_percentages(mut self) -> Self {
        self.recogniser.bare_percentages = true;
        self
    }

    /// Takes the next piece, and passes on the content of each line that it completes.
    pub fn push(&mut self, bytes: &[u8], mut event: impl FnMut(Event<'_>)) {
        let Self { lines, recogniser, osc } = self;
        lines.push(bytes, |raw| recogniser.line(raw, &mut event));
        osc.push(bytes, |reading| event(Event::Progress(reading)));
    }

    /// Some of the output is missing here. What follows is passed over up to the next line, unless it begins one.
    pub fn lose(&mut self, line_begins: bool) {
        self.lines.lose(line_begins);
    }

    /// For a pause in the output: the content of a line that has not ended yet. Tools that draw in place write the
    /// line's end only when they draw the next one.
    pub fn pause(&mut self, mut event: impl FnMut(Event<'_>)) {
        let Self { lines, recogniser, .. } = self;
        if let Some(raw) = lines.pending()
            && (raw.redrawn || raw.bytes.contains(&b'%'))
        {
            recogniser.line(raw, &mut |e| {
                if matches!(e, Event::Progress(_)) {
                    event(e);
                }
            });
        }
    }

    /// The stream is over.
    pub fn finish(&mut self, mut event: impl FnMut(Event<'_>)) {
        let Self { lines, recogniser, .. } = self;
        lines.finish(|raw| recogniser.line(raw, &mut event));
    }
}

/// The lines of a stream as text: without escape sequences, trimmed, none that is blank.
#[derive(Debug)]
pub(crate) struct PlainLines(LineSplitter);

impl PlainLines {
    pub(crate) fn new() -> Self {
        Self(LineSplitter::new())
    }

    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        self.0.push(bytes, |raw| {
            plain(raw, &mut line);
        });
    }

    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        self.0.finish(|raw| {
            plain(raw, &mut line);
        });
    }
}

fn plain<T>(raw: RawLine<'_>, with: impl FnOnce(&str) -> T) -> Option<T> {
    let lossy = String::from_utf8_lossy(raw.bytes);
    // Most output has no colours, and looking for them costs more than all the rest.
    let plain = if raw.bytes.contains(&0x1b) {
        console::strip_ansi_codes(&lossy)
    } else {
        Cow::Borrowed(&*lossy)
    };
    let text = plain.trim();
    (!text.is_empty()).then(|| with(text))
}

#[derive(Debug, Default)]
struct Recogniser {
    json: json_line::JsonLines,
    meter: meter::Meter,
    rsync: rsync::Rsync,
    yt_dlp: yt_dlp::YtDlp,
    ffmpeg: ffmpeg::StatusLines,
    bars: concurrent::Bars,
    bare_percentages: bool,
    /// The last reading was a bar at its end.
    at_end: bool,
}

impl Recogniser {
    fn line(&mut self, raw: RawLine<'_>, event: &mut impl FnMut(Event<'_>)) {
        plain(raw, |text| {
            let readable = !raw.cut && !is_binary(text);
            if readable {
                self.note(text);
            }
            let shape = Shape::of(text).filter(|_| readable);
            let reading = shape.and_then(|shape| {
                let reading = self.reading(Line { text, redrawn: raw.redrawn }, shape)?;
                Some(if shape.is_object { reading } else { self.bars.observe(&raw, reading) })
            });
            let Some(reading) = reading else {
                if self.at_end && !says_over(text) && !goes_with_a_meter(text) {
                    self.at_end = false;
                    let over = Reading::phase_over(text);
                    event(Event::Progress(match yt_dlp::YtDlp::after(text) {
                        Some(stage) => over.named_stage(stage),
                        None => over,
                    }));
                }
                return event(Event::Text(scan::prefix(text, MAX_METER_BYTES)));
            };
            if reading.progress.is_some() {
                let is_object = shape.is_some_and(|shape| shape.is_object);
                self.at_end = !is_object && reading.fraction().is_some_and(|f| f >= 1.0);
            }
            event(Event::Progress(reading));
        });
    }

    /// Reads what a line without progress means for the lines after it.
    fn note(&mut self, text: &str) {
        self.rsync.note(text);
        self.yt_dlp.note(text);
        self.ffmpeg.note(text);
    }

    fn reading(&mut self, line: Line<'_>, shape: Shape) -> Option<Reading> {
        let text = line.text;
        if shape.is_object {
            return self.json.read(text);
        }
        if self.bare_percentages
            && let Ok(percent) = text.parse::<f64>()
        {
            return (0.0..=100.0)
                .contains(&percent)
                .then(|| Reading::at(Progress::percent(percent)));
        }
        pip::read(text)
            .or_else(|| self.ffmpeg.read(text))
            .or_else(|| self.yt_dlp.read(text))
            .or_else(|| aria2::read(text))
            .or_else(|| tqdm::read(line))
            .or_else(|| pv::read(text))
            .or_else(|| rclone::read(text))
            .or_else(|| restic::read(text))
            .or_else(|| dd::read(text))
            .or_else(|| ddrescue::read(text))
            .or_else(|| blender::read(text))
            .or_else(|| curl::read(line))
            .or_else(|| self.rsync.read(text).filter(|_| shape.has_percent))
            .or_else(|| wget::read(text))
            .or_else(|| git::read(text).filter(|_| shape.has_percent))
            .or_else(|| self.meter.read(line))
    }
}

/// A first look at a line: most lines of most commands are out at once.
#[derive(Debug, Clone, Copy)]
struct Shape {
    is_object: bool,
    has_percent: bool,
}

impl Shape {
    /// None if no recogniser could take it.
    fn of(text: &str) -> Option<Self> {
        if text.starts_with('{') {
            return Some(Self { is_object: true, has_percent: false });
        }
        let bytes = text.as_bytes();
        if bytes.len() > MAX_METER_BYTES {
            return None;
        }
        let (mut digit, mut percent, mut mark) = (false, false, false);
        for byte in bytes {
            digit |= byte.is_ascii_digit();
            percent |= *byte == b'%';
            mark |= matches!(byte, b'/' | b'[' | b'=');
        }
        // pip and counts in words; rows of curl, wget, dd, pv.
        let words = || text.contains(" of ") || text.contains("-:-") || text.contains(" ..");
        let row = || text.starts_with(|c: char| c.is_ascii_digit());
        (digit && (percent || mark || words() || row()))
            .then_some(Self { is_object: false, has_percent: percent })
    }
}

/// Whether a row drawn in place is a progress bar, or the like.
pub(crate) fn is_progress(text: &str) -> bool {
    let reading = Shape::of(text)
        .filter(|_| !is_binary(text))
        .and_then(|shape| Recogniser::default().reading(Line { text, redrawn: true }, shape));
    reading.is_some_and(|reading| reading.progress.is_some())
}

/// Whether a line after 100 % means that the command is done: `Done.`, `==== 100 passed in 0.11s ====`, `‘out’ saved
/// [600/600]`.
fn says_over(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.any(|word| OVER_WORDS.iter().any(|over| word.eq_ignore_ascii_case(over)))
}

const OVER_WORDS: [&str; 8] =
    ["done", "complete", "completed", "finished", "passed", "failed", "saved", "successfully"];

/// Whether a tool prints this line together with its meter.
fn goes_with_a_meter(text: &str) -> bool {
    ddrescue::is_row(text) || rclone::is_row(text) || ffmpeg::is_statistic(text)
}

/// Bytes that are not text, such as control characters other than the tabulator.
fn is_binary(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_control() && b != b'\t')
        || !text.is_ascii() && text.chars().any(|c| c.is_control() || c == '\u{fffd}')
}

#[cfg(test)]
mod tests;
