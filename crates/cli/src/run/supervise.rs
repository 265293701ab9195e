//! Runs a command: passes its output on, finds out how far it is, waits for its end.

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use milepost_protocol::LogStream;
use rustix::io::{FdFlags, fcntl_setfd};

use super::child::{CannotStart, Running};
use super::error_tail::ErrorTail;
use super::outcome::{Exit, Outcome};
use super::output_log::OutputLog;
use super::parse_budget::ParseBudget;
use super::pip;
use super::relay::{Destination, OutputObserver, relay};
use super::signals::Signals;
use super::tracker::{ProgressSink, Tracker};
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
    /// What the command finds in its environment besides; without a value, it does not find it.
    pub(crate) environment: Vec<(&'static str, Option<String>)>,
}

/// Where the command's output goes, and the screen that its bar is drawn on.
pub(crate) struct OutputTargets<'a> {
    pub(crate) stdout: Destination<'a>,
    pub(crate) stderr: Destination<'a>,
    pub(crate) screen: Option<&'a Arc<Screen>>,
    /// Where the lines go as well, but not ffmpeg's stdout, which may be a film.
    pub(crate) log: Option<&'a OutputLog>,
}

impl Task {
    /// Runs the command to its end. Neither the sink nor the server can block it.
    pub(crate) fn supervise(
        &self,
        targets: OutputTargets<'_>,
        signals: &mut Signals,
        sink: &dyn ProgressSink,
    ) -> Result<Outcome, CannotStart> {
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        let ours = ffmpeg::is_ffmpeg(&self.program)
            .then(|| Arguments::parse(self.arguments.iter().map(|a| a.to_string_lossy())));
        let progress = ours
            .as_ref()
            .filter(|a| !a.has_progress)
            .and_then(|a| own_pipe(&mut command, a, targets.screen.is_some()));
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if std::env::var_os(pip::RAW.0).is_none() && pip::knows_raw(&self.program, &self.arguments)
        {
            command.env(pip::RAW.0, pip::RAW.1);
        }
        let exit = io::pipe().map_err(|error| CannotStart::new(&self.program, error))?;
        let (running, stdout, stderr) = Running::start(&self.program, &mut command)?;
        let suspended = targets.screen.cloned();
        signals.forward_to(running.signal_target(), move || {
            if let Some(screen) = &suspended {
                screen.suspend();
            }
        });
        let stage = self.stage.as_deref().unwrap_or(if ours.is_some() {
            "rendering"
        } else {
            "processing"
        });
        let tracker = Tracker::new(stage, sink);
        let mut error_tail = ErrorTail::default();
        // Where stderr is silent.
        let mut output_tail = ErrorTail::default();
        let streams = Streams { running, exit, stdout, stderr, targets };
        let status = match ours {
            Some(arguments) => {
                let progress = progress.map(|(reader, writer)| {
                    // The command has its own copy.
                    drop(writer);
                    reader
                });
                let ffprobe = ffmpeg::ffprobe_of(&self.program);
                streams.encode(arguments, progress, &ffprobe, &tracker, &mut error_tail)
            }
            None => streams.read(|| self.parser(), &tracker, [&mut output_tail, &mut error_tail]),
        };
        tracker.tick();
        let (result, error) = tracker.take_result_and_error();
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
            stop_signal: signals.stop_signal(),
            forwarded: signals.forwarded(),
            cancelled: signals.cancelled(),
            error: error.or_else(|| error_tail.text()).or_else(|| output_tail.text()),
            result,
        };
        Ok(exit.outcome())
    }
}

impl Task {
    /// `pv -n` prints bare numbers; those of other programs may be anything.
    fn parser(&self) -> OutputParser {
        let parser = OutputParser::new();
        let is_pv = Path::new(&self.program).file_name() == Some(OsStr::new("pv"));
        let numeric = self.arguments.iter().filter_map(|a| a.to_str()).any(|argument| {
            argument == "--numeric"
                || argument.starts_with('-')
                    && !argument.starts_with("--")
                    && argument.contains('n')
        });
        if is_pv && numeric { parser.with_bare_percentages() } else { parser }
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
    targets: OutputTargets<'a>,
}

impl Streams<'_> {
    /// Any command but ffmpeg: both streams are looked at.
    fn read(
        self,
        parser: impl Fn() -> OutputParser,
        tracker: &Tracker<'_>,
        [output_tail, error_tail]: [&mut ErrorTail; 2],
    ) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), stdout, stderr, targets } = self;
        let (stdout_parser, stderr_parser) = (parser(), parser());
        let log = targets.log;
        thread::scope(|scope| {
            let exited = exited.as_fd();
            scope.spawn(move || {
                let reader = Reader::new(stdout_parser, tracker, output_tail);
                let reader = OutputLog::observe(log, LogStream::Stdout, reader);
                relay(stdout, exited, targets.stdout, reader);
            });
            scope.spawn(move || {
                let reader = Reader::new(stderr_parser, tracker, error_tail);
                let reader = OutputLog::observe(log, LogStream::Stderr, reader);
                relay(stderr, exited, targets.stderr, reader);
            });
            wait(running, exits, tracker, targets.screen.map(Arc::as_ref))
        })
    }

    /// ffmpeg: its stdout may be the film itself and is not looked at.
    fn encode(
        self,
        arguments: Arguments,
        progress: Option<PipeReader>,
        ffprobe: &OsStr,
        tracker: &Tracker<'_>,
        error_tail: &mut ErrorTail,
    ) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), stdout, stderr, targets } = self;
        let encoding = Encoding::new(arguments, |reading| tracker.observe(reading));
        let (encoding, status_line) = (&encoding, progress.is_none());
        thread::scope(|scope| {
            let exited = exited.as_fd();
            scope.spawn(move || relay(stdout, exited, targets.stdout, IgnoreOutput));
            scope.spawn(move || {
                let reader = Stderr::new(encoding, error_tail, status_line);
                let reader = OutputLog::observe(targets.log, LogStream::Stderr, reader);
                relay(stderr, exited, targets.stderr, reader);
            });
            if let Some(progress) = progress {
                scope.spawn(move || {
                    relay(progress, exited, Destination::Nothing, Blocks::new(encoding));
                });
            }
            scope.spawn(move || encoding.probe(ffprobe));
            let status = wait(running, exits, tracker, targets.screen.map(Arc::as_ref));
            encoding.finished();
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
                    screen.draw(&tracker.summary());
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
    tail: &'a mut ErrorTail,
    budget: ParseBudget,
    /// The latest piece that there was no time to look at; what came before it is lost. It is looked at when there is
    /// time again, or nothing comes any more, so that the newest progress and the last words are never missed.
    unread: Vec<u8>,
    /// A piece before it is lost; whether that ended with a line's end.
    lost: Option<bool>,
}

impl<'a> Reader<'a> {
    fn new(parser: OutputParser, tracker: &'a Tracker<'a>, tail: &'a mut ErrorTail) -> Self {
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
struct Blocks<'a> {
    blocks: ProgressBlocks,
    encoding: &'a Encoding<'a>,
}

impl<'a> Blocks<'a> {
    fn new(encoding: &'a Encoding<'a>) -> Self {
        Self { blocks: ProgressBlocks::new(), encoding }
    }
}

impl OutputObserver for Blocks<'_> {
    fn observe(&mut self, bytes: &[u8]) {
        self.blocks.push(bytes, |sample| self.encoding.sample(sample));
    }
}

/// ffmpeg's stderr.
struct Stderr<'a> {
    lines: crate::output::PlainLines,
    encoding: &'a Encoding<'a>,
    error_tail: &'a mut ErrorTail,
    /// The status line is all there is to go by.
    status_line: bool,
}

impl<'a> Stderr<'a> {
    fn new(encoding: &'a Encoding<'a>, error_tail: &'a mut ErrorTail, status_line: bool) -> Self {
        Self { lines: crate::output::PlainLines::new(), encoding, error_tail, status_line }
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

struct IgnoreOutput;

impl OutputObserver for IgnoreOutput {
    fn observe(&mut self, _: &[u8]) {}
}
