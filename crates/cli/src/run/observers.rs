//! What looks at a command's output on its way: for progress, and for the last words.

use std::time::Instant;

use super::error_tail::ErrorTail;
use super::parse_budget::ParseBudget;
use super::relay::OutputObserver;
use super::tracker::Tracker;
use crate::ffmpeg::Encoding;
use crate::output::ffmpeg::{ProgressBlocks, Sample};
use crate::output::{Event, OutputParser, PlainLines};

/// Looks for progress, and on stderr keeps the last words.
pub(super) struct Reader<'a> {
    parser: OutputParser,
    tracker: &'a Tracker<'a>,
    tail: &'a mut ErrorTail,
    budget: ParseBudget,
    /// The latest piece that there was no time to read. Pieces before it are lost. It is read when there is time again,
    /// or nothing comes any more, so that the newest progress and the last words are never missed.
    unread: Vec<u8>,
    /// A piece before it is lost; whether that ended with a line's end.
    lost: Option<bool>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        parser: OutputParser,
        tracker: &'a Tracker<'a>,
        tail: &'a mut ErrorTail,
    ) -> Self {
        let budget = ParseBudget::new(Instant::now());
        Self { parser, tracker, tail, budget, unread: Vec::new(), lost: None }
    }

    fn parse(&mut self, parse: impl FnOnce(&mut OutputParser, &mut dyn FnMut(Event<'_>))) {
        let begun = Instant::now();
        let Self { parser, tracker, tail, .. } = self;
        parse(parser, &mut |event| match event {
            Event::Progress(reading) => tracker.observe(reading),
            Event::Text(text) => tail.push(text),
        });
        self.budget.spend(begun.elapsed());
    }

    fn catch_up(&mut self) {
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            if let Some(line_begins) = self.lost.take() {
                self.parser.lose(line_begins);
            }
            self.parse(|parser, event| parser.push(&unread, event));
        }
    }
}

impl OutputObserver for Reader<'_> {
    fn observe(&mut self, bytes: &[u8]) {
        if self.budget.is_available(Instant::now()) {
            self.catch_up();
            self.parse(|parser, event| parser.push(bytes, event));
        } else {
            if let Some(last) = self.unread.last() {
                self.lost = Some(*last == b'\n');
            }
            self.unread.clear();
            self.unread.extend_from_slice(bytes);
        }
    }

    fn pause(&mut self) {
        self.catch_up();
        self.parse(|parser, event| parser.pause(event));
    }

    fn end(&mut self) {
        self.catch_up();
        self.parse(|parser, event| parser.finish(event));
    }
}

/// ffmpeg's `-progress`.
pub(super) struct Blocks<'a> {
    blocks: ProgressBlocks,
    encoding: &'a Encoding<'a>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(encoding: &'a Encoding<'a>) -> Self {
        Self { blocks: ProgressBlocks::new(), encoding }
    }
}

impl OutputObserver for Blocks<'_> {
    fn observe(&mut self, bytes: &[u8]) {
        self.blocks.push(bytes, |sample| self.encoding.sample(sample));
    }
}

/// ffmpeg's stderr.
pub(super) struct Stderr<'a> {
    lines: PlainLines,
    encoding: &'a Encoding<'a>,
    error_tail: &'a mut ErrorTail,
    /// The status line is all there is to go by.
    status_line: bool,
}

impl<'a> Stderr<'a> {
    pub(super) fn new(
        encoding: &'a Encoding<'a>,
        error_tail: &'a mut ErrorTail,
        status_line: bool,
    ) -> Self {
        Self { lines: PlainLines::new(), encoding, error_tail, status_line }
    }

    fn line(text: &str, encoding: &Encoding<'_>, error_tail: &mut ErrorTail, status_line: bool) {
        match crate::output::ffmpeg::stats_line(text) {
            Some(sample) if status_line => encoding.sample(sample),
            Some(Sample { .. }) => {}
            None => {
                encoding.stderr_line(text);
                error_tail.push(text);
            }
        }
    }
}

impl OutputObserver for Stderr<'_> {
    fn observe(&mut self, bytes: &[u8]) {
        let Self { lines, encoding, error_tail, status_line } = self;
        lines.push(bytes, |text| Self::line(text, encoding, error_tail, *status_line));
    }

    fn end(&mut self) {
        let Self { lines, encoding, error_tail, status_line } = self;
        lines.finish(|text| Self::line(text, encoding, error_tail, *status_line));
    }
}

/// Output of any kind.
pub(super) struct IgnoreOutput;

impl OutputObserver for IgnoreOutput {
    fn observe(&mut self, _: &[u8]) {}
}
