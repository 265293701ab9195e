//! Runs a command: passes its output on, finds out how far it is, waits for its end.

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};

use super::allowance::Allowance;
use super::child::{CannotStart, Running};
use super::last_words::LastWords;
use super::outcome::{Exit, Outcome};
use super::pip;
use super::relay::{Destination, Listener, relay};
use super::signals::Signals;
use super::tracker::{Audience, Tracker};
use crate::bars::{MAX_REDRAWS, Screen};
use crate::ffmpeg::{self, Arguments, Encoding};
use crate::output::ffmpeg::{ProgressBlocks, Sample};
use crate::output::{Event, OutputParser};

/// A command line, without a shell.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// What the job is doing, until the command says so itself.
    pub(crate) stage: Option<String>,
}

/// Where the command's output goes, and the screen that its bar is drawn on.
pub(crate) struct Outlet<'a> {
    pub(crate) stdout: Destination<'a>,
    pub(crate) stderr: Destination<'a>,
    pub(crate) screen: Option<&'a Screen>,
}

impl Task {
    /// Runs it to its end. No call of the audience and no server can hold it up.
    pub(crate) fn supervise(
        &self,
        outlet: Outlet<'_>,
        signals: &mut Signals,
        audience: &dyn Audience,
    ) -> Result<Outcome, CannotStart> {
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        let ours = ffmpeg::is_ffmpeg(&self.program)
            .then(|| Arguments::parse(self.arguments.iter().map(|a| a.to_string_lossy())));
        let progress = ours
            .as_ref()
            .filter(|a| !a.has_progress)
            .and_then(|a| own_pipe(&mut command, a, outlet.screen.is_some()));
        command.args(&self.arguments);
        if std::env::var_os(pip::RAW.0).is_none() && pip::knows_raw(&self.program, &self.arguments)
        {
            command.env(pip::RAW.0, pip::RAW.1);
        }
        let exit = io::pipe().map_err(|error| CannotStart::new(&self.program, error))?;
        let (running, stdout, stderr) = Running::start(&self.program, &mut command)?;
        signals.hand_on_to(running.signal_target());
        let stage = self.stage.as_deref().unwrap_or(if ours.is_some() {
            "rendering"
        } else {
            "processing"
        });
        let tracker = Tracker::new(stage, audience);
        let mut last_words = LastWords::default();
        let streams = Streams { running, exit, stdout, stderr, outlet };
        let status = match ours {
            Some(arguments) => {
                let progress = progress.map(|(reader, writer)| {
                    // The command has its own copy.
                    drop(writer);
                    reader
                });
                let ffprobe = ffmpeg::ffprobe_of(&self.program);
                streams.encode(arguments, progress, &ffprobe, &tracker, &mut last_words)
            }
            None => streams.read(&tracker, &mut last_words),
        };
        tracker.tick();
        let (result, error) = tracker.take_words();
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                return Ok(Outcome::Failed {
                    error: format!("cannot be waited for: {error}"),
                    exit_code: 1,
                });
            }
        };
        let exit = Exit {
            status,
            took: begun.elapsed(),
            stop_asked: signals.stop_asked(),
            handed_on: signals.handed_on(),
            error: error.or_else(|| last_words.text()),
            result,
        };
        Ok(exit.outcome())
    }
}

/// Adds a pipe of its own that ffmpeg writes its progress to. If there is none to be had, the status line has to do.
fn own_pipe(
    command: &mut Command,
    arguments: &Arguments,
    has_bar: bool,
) -> Option<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe().ok()?;
    fcntl_setfd(&writer, FdFlags::empty()).ok()?;
    command.args(["-progress", &format!("pipe:{}", writer.as_raw_fd())]);
    if has_bar && !arguments.has_stats {
        // Our bar stands where ffmpeg's status line would.
        command.arg("-nostats");
    }
    Some((reader, writer))
}

struct Streams<'a> {
    running: Running,
    /// Closed by us when the command has exited, for those who wait on its output.
    exit: (PipeReader, PipeWriter),
    stdout: ChildStdout,
    stderr: ChildStderr,
    outlet: Outlet<'a>,
}

impl Streams<'_> {
    /// Any command but ffmpeg: both streams are looked at.
    fn read(self, tracker: &Tracker<'_>, last_words: &mut LastWords) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), stdout, stderr, outlet } = self;
        thread::scope(|scope| {
            let exited = exited.as_fd();
            scope.spawn(move || relay(stdout, exited, outlet.stdout, Reader::new(tracker, None)));
            scope.spawn(move || {
                relay(stderr, exited, outlet.stderr, Reader::new(tracker, Some(last_words)));
            });
            wait(running, exits, tracker, outlet.screen)
        })
    }

    /// ffmpeg: its stdout may be the film itself and is not looked at.
    fn encode(
        self,
        arguments: Arguments,
        progress: Option<PipeReader>,
        ffprobe: &OsStr,
        tracker: &Tracker<'_>,
        last_words: &mut LastWords,
    ) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), stdout, stderr, outlet } = self;
        let encoding = Encoding::new(arguments, |reading| tracker.hear(reading));
        let (encoding, status_line) = (&encoding, progress.is_none());
        thread::scope(|scope| {
            let exited = exited.as_fd();
            scope.spawn(move || relay(stdout, exited, outlet.stdout, Nobody));
            scope.spawn(move || {
                relay(
                    stderr,
                    exited,
                    outlet.stderr,
                    Stderr::new(encoding, last_words, status_line),
                );
            });
            if let Some(progress) = progress {
                scope.spawn(move || {
                    relay(progress, exited, Destination::Nothing, Blocks::new(encoding));
                });
            }
            scope.spawn(move || encoding.probe(ffprobe));
            let status = wait(running, exits, tracker, outlet.screen);
            encoding.over();
            status
        })
    }
}

/// Waits for the command's exit, then closes `exits`. Ticks meanwhile.
fn wait(
    running: Running,
    exits: PipeWriter,
    tracker: &Tracker<'_>,
    screen: Option<&Screen>,
) -> io::Result<ExitStatus> {
    let tick = Duration::from_secs(1) / u32::from(MAX_REDRAWS);
    let (over, is_over) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while is_over.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                tracker.tick();
                if let Some(screen) = screen {
                    screen.draw(&tracker.face());
                }
            }
            if let Some(screen) = screen {
                screen.finish();
            }
        });
        let status = running.wait();
        drop(exits);
        drop(over);
        status
    })
}

/// Looks for progress, and on stderr keeps the last words.
struct Reader<'a> {
    parser: OutputParser,
    tracker: &'a Tracker<'a>,
    last_words: Option<&'a mut LastWords>,
    allowance: Allowance,
    /// The latest piece that there was no time to look at; what came before it is lost. It is looked at when there is
    /// time again, or nothing comes any more, so that the newest progress and the last words are never missed.
    unread: Vec<u8>,
    /// A piece before it is lost; whether that ended with a line's end.
    lost: Option<bool>,
}

impl<'a> Reader<'a> {
    fn new(tracker: &'a Tracker<'a>, last_words: Option<&'a mut LastWords>) -> Self {
        let allowance = Allowance::new(Instant::now());
        Self {
            parser: OutputParser::new(),
            tracker,
            last_words,
            allowance,
            unread: Vec::new(),
            lost: None,
        }
    }

    fn parse(&mut self, parse: impl FnOnce(&mut OutputParser, &mut dyn FnMut(Event<'_>))) {
        let begun = Instant::now();
        let Self { parser, tracker, last_words, .. } = self;
        parse(parser, &mut |event| match event {
            Event::Progress(reading) => tracker.hear(reading),
            Event::Text(text) => {
                if let Some(words) = last_words {
                    words.hear(text);
                }
            }
        });
        self.allowance.spend(begun.elapsed());
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

impl Listener for Reader<'_> {
    fn hear(&mut self, bytes: &[u8]) {
        if self.allowance.is_left(Instant::now()) {
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
struct Blocks<'a> {
    blocks: ProgressBlocks,
    encoding: &'a Encoding<'a>,
}

impl<'a> Blocks<'a> {
    fn new(encoding: &'a Encoding<'a>) -> Self {
        Self { blocks: ProgressBlocks::new(), encoding }
    }
}

impl Listener for Blocks<'_> {
    fn hear(&mut self, bytes: &[u8]) {
        self.blocks.push(bytes, |sample| self.encoding.sample(sample));
    }
}

/// ffmpeg's stderr.
struct Stderr<'a> {
    lines: crate::output::PlainLines,
    encoding: &'a Encoding<'a>,
    last_words: &'a mut LastWords,
    /// The status line is all there is to go by.
    status_line: bool,
}

impl<'a> Stderr<'a> {
    fn new(encoding: &'a Encoding<'a>, last_words: &'a mut LastWords, status_line: bool) -> Self {
        Self { lines: crate::output::PlainLines::new(), encoding, last_words, status_line }
    }

    fn line(text: &str, encoding: &Encoding<'_>, last_words: &mut LastWords, status_line: bool) {
        match crate::output::ffmpeg::stats_line(text) {
            Some(sample) if status_line => encoding.sample(sample),
            Some(Sample { .. }) => {}
            None => {
                encoding.words(text);
                last_words.hear(text);
            }
        }
    }
}

impl Listener for Stderr<'_> {
    fn hear(&mut self, bytes: &[u8]) {
        let Self { lines, encoding, last_words, status_line } = self;
        lines.push(bytes, |text| Self::line(text, encoding, last_words, *status_line));
    }

    fn end(&mut self) {
        let Self { lines, encoding, last_words, status_line } = self;
        lines.finish(|text| Self::line(text, encoding, last_words, *status_line));
    }
}

struct Nobody;

impl Listener for Nobody {
    fn hear(&mut self, _: &[u8]) {}
}
