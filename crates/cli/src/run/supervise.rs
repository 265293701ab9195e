//! Runs a command: passes its output on, finds out how far it is, waits for its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use milepost_protocol::{LogStream, Timestamp};
use rustix::io::{FdFlags, fcntl_setfd};

use super::child::{CannotStart, Running};
use super::error_tail::ErrorTail;
use super::observers::{Blocks, IgnoreOutput, Reader, Stderr};
use super::outcome::{Exit, Outcome};
use super::output_log::OutputLog;
use super::own_estimate::OwnEstimate;
use super::pip;
use super::pty::{Keyboard, Pty, RawMode};
use super::relay::{Destination, relay};
use super::signals::Signals;
use super::tracker::{ProgressSink, Tracker};
use crate::bars::{MAX_REDRAWS, Screen};
use crate::ffmpeg::{self, Arguments, Encoding};
use crate::output::OutputParser;

/// A command line, without a shell.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// The stage, until the command prints its own.
    pub(crate) stage: Option<String>,
    /// Variables that are added to the command's environment; those without a value are removed.
    pub(crate) environment: Vec<(&'static str, Option<String>)>,
    /// No text of the command's output is reported.
    pub(crate) hides_text: bool,
}

/// Where the command's output goes, and the screen that its bar is drawn on.
pub(crate) struct OutputTargets<'a> {
    pub(crate) stdout: Destination<'a>,
    pub(crate) stderr: Destination<'a>,
    pub(crate) screen: Option<&'a Arc<Screen>>,
    /// A person is shown how far the command is, by a bar or by lines.
    pub(crate) shows_progress: bool,
    /// Where the lines go as well, but not ffmpeg's stdout, which may be a film.
    pub(crate) log: Option<&'a OutputLog>,
    /// The terminal that the command gets instead of pipes. All of its output is then stdout's.
    pub(crate) pty: Option<Pty>,
}

impl<'a> OutputTargets<'a> {
    /// This process' own streams. With a screen, those that are the terminal share it with the bar.
    pub(crate) fn new(
        screen: Option<&'a Arc<Screen>>,
        log: Option<&'a OutputLog>,
        pty: Option<Pty>,
    ) -> Self {
        let bar = screen.map(Arc::as_ref);
        let (stdout, stderr) = (destination(&io::stdout(), bar), destination(&io::stderr(), bar));
        let shows_progress = screen.is_some();
        Self { stdout, stderr, screen, shows_progress, log, pty }
    }
}

fn destination<'a>(
    stream: &(impl AsFd + IsTerminal),
    screen: Option<&'a Screen>,
) -> Destination<'a> {
    // A stream that is closed cannot be copied, nor written to.
    let Ok(copy) = stream.as_fd().try_clone_to_owned() else { return Destination::Nothing };
    match screen {
        Some(screen) if stream.is_terminal() => Destination::Terminal(File::from(copy), screen),
        _ => Destination::File(File::from(copy)),
    }
}

impl Task {
    /// A command, by its name and its arguments.
    pub(crate) fn new(command: Vec<OsString>, stage: Option<String>) -> Self {
        let mut command = command.into_iter();
        let (program, arguments) = (command.next().unwrap_or_default(), command.collect());
        Self { program, arguments, stage, environment: Vec::new(), hides_text: false }
    }

    /// Runs the command to its end. Neither the sink nor the server can block it.
    pub(crate) fn supervise(
        &self,
        mut targets: OutputTargets<'_>,
        signals: &mut Signals,
        sink: &dyn ProgressSink,
    ) -> Result<Outcome, CannotStart> {
        let begun = Instant::now();
        let ours = ffmpeg::is_ffmpeg(&self.program)
            .then(|| Arguments::parse(self.arguments.iter().map(|a| a.to_string_lossy())));
        let (command, progress) = self.command(ours.as_ref(), &targets);
        let exit = io::pipe().map_err(|error| CannotStart::new(&self.program, error))?;
        let (running, output) = self.start(command, targets.pty.take(), signals)?;
        forward_signals(signals, &running, targets.screen.cloned(), output.raw_mode());
        let stage = self.stage.as_deref().unwrap_or(if ours.is_some() {
            "rendering"
        } else {
            "processing"
        });
        let tracker = Tracker::new(stage, sink, self.hides_text);
        let mut error_tail = ErrorTail::default();
        // Where stderr is silent.
        let mut output_tail = ErrorTail::default();
        let has_pty = matches!(output, Output::Terminal(..));
        let streams = Streams { running, exit, output, targets };
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
            None => {
                streams.read(self.parsers(has_pty), &tracker, [&mut output_tail, &mut error_tail])
            }
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
            error: error
                .or_else(|| error_tail.text())
                .or_else(|| output_tail.text())
                .filter(|_| !self.hides_text),
            result,
        };
        Ok(exit.outcome())
    }

    fn start(
        &self,
        command: Command,
        pty: Option<Pty>,
        signals: &Signals,
    ) -> Result<(Running, Output), CannotStart> {
        let Some(pty) = pty else {
            let (running, stdout, stderr) = Running::start(&self.program, command)?;
            return Ok((running, Output::Pipes(stdout, stderr)));
        };
        let (child, master, keyboard) =
            pty.start(&self.program, command, signals.stop_recorder())?;
        Ok((Running::on_pty(child), Output::Terminal(master, keyboard)))
    }

    /// The command as it is started, and the pipe for its progress if it is ffmpeg.
    fn command(
        &self,
        ffmpeg: Option<&Arguments>,
        targets: &OutputTargets<'_>,
    ) -> (Command, Option<(PipeReader, PipeWriter)>) {
        let mut command = Command::new(&self.program);
        let progress = ffmpeg
            .filter(|a| !a.has_progress)
            .and_then(|a| own_pipe(&mut command, a, targets.shows_progress));
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if targets.pty.is_none()
            && std::env::var_os(pip::RAW.0).is_none()
            && pip::knows_raw(&self.program, &self.arguments)
        {
            command.env(pip::RAW.0, pip::RAW.1);
        }
        (command, progress)
    }

    /// For stdout and stderr. `pv -n` prints bare percentages, on its stderr: its stdout is data, in which numbers may have any meaning,
    /// as those of other programs have.
    fn parsers(&self, has_pty: bool) -> [OutputParser; 2] {
        let is_pv = Path::new(&self.program).file_name() == Some(OsStr::new("pv"));
        let numeric = self.arguments.iter().filter_map(|a| a.to_str()).any(|argument| {
            argument == "--numeric"
                || argument.starts_with('-')
                    && !argument.starts_with("--")
                    && argument.contains('n')
        });
        let bare = |applies| {
            let parser = OutputParser::new();
            if applies { parser.with_bare_percentages() } else { parser }
        };
        [bare(is_pv && numeric && has_pty), bare(is_pv && numeric)]
    }
}

/// Forwards signals to the command. Before Ctrl-Z stops this process, the terminal becomes the shell's again.
fn forward_signals(
    signals: &mut Signals,
    running: &Running,
    screen: Option<Arc<Screen>>,
    raw_mode: Option<RawMode>,
) {
    signals.forward_to(running.signal_target(), move |stops| {
        if let Some(screen) = screen.as_ref().filter(|_| stops) {
            screen.suspend();
        }
        match &raw_mode {
            Some(raw_mode) if stops => raw_mode.suspend(),
            Some(raw_mode) => raw_mode.resume(),
            None => {}
        }
    });
}

/// Adds a pipe that ffmpeg writes its progress to. Without one, the status line is read.
fn own_pipe(
    command: &mut Command,
    arguments: &Arguments,
    shows_progress: bool,
) -> Option<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe().ok()?;
    fcntl_setfd(&writer, FdFlags::empty()).ok()?;
    command.args(["-progress", &format!("pipe:{}", writer.as_raw_fd())]);
    if shows_progress && !arguments.has_stats {
        // Our bar stands where ffmpeg's status line would, or our lines do.
        command.arg("-nostats");
    }
    Some((reader, writer))
}

struct Streams<'a> {
    running: Running,
    /// Closed by us when the command has exited, for those who wait on its output.
    exit: (PipeReader, PipeWriter),
    output: Output,
    targets: OutputTargets<'a>,
}

/// What the command writes to.
enum Output {
    Pipes(ChildStdout, ChildStderr),
    Terminal(Arc<File>, Keyboard),
}

impl Output {
    fn raw_mode(&self) -> Option<RawMode> {
        match self {
            Self::Pipes(..) => None,
            Self::Terminal(_, keyboard) => Some(keyboard.raw_mode()),
        }
    }
}

impl Streams<'_> {
    /// For any command but ffmpeg: reads both streams.
    fn read(
        self,
        [stdout_parser, stderr_parser]: [OutputParser; 2],
        tracker: &Tracker<'_>,
        [output_tail, error_tail]: [&mut ErrorTail; 2],
    ) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), output, targets } = self;
        let log = targets.log;
        let stdout_reader = Reader::new(stdout_parser, tracker, output_tail);
        let stdout_reader = OutputLog::observe(log, LogStream::Stdout, stdout_reader);
        let stderr_reader = Reader::new(stderr_parser, tracker, error_tail);
        let stderr_reader = OutputLog::observe(log, LogStream::Stderr, stderr_reader);
        thread::scope(|scope| {
            let exited = exited.as_fd();
            match output {
                Output::Pipes(stdout, stderr) => {
                    scope.spawn(move || relay(stdout, exited, targets.stdout, stdout_reader));
                    scope.spawn(move || relay(stderr, exited, targets.stderr, stderr_reader));
                }
                Output::Terminal(master, keyboard) => {
                    scope.spawn(move || relay(master, exited, targets.stdout, stdout_reader));
                    scope.spawn(move || keyboard.pass_on(exited));
                }
            }
            wait(running, exits, tracker, targets.screen.map(Arc::as_ref))
        })
    }

    /// For ffmpeg, whose stdout may be the film itself, and is not read.
    fn encode(
        self,
        arguments: Arguments,
        progress: Option<PipeReader>,
        ffprobe: &OsStr,
        tracker: &Tracker<'_>,
        error_tail: &mut ErrorTail,
    ) -> io::Result<ExitStatus> {
        let Self { running, exit: (exited, exits), output, targets } = self;
        let encoding = Encoding::new(arguments, |reading| tracker.observe(reading));
        let (encoding, status_line) = (&encoding, progress.is_none());
        thread::scope(|scope| {
            let exited = exited.as_fd();
            let reader = Stderr::new(encoding, error_tail, status_line);
            match output {
                Output::Pipes(stdout, stderr) => {
                    let reader = OutputLog::observe(targets.log, LogStream::Stderr, reader);
                    scope.spawn(move || relay(stdout, exited, targets.stdout, IgnoreOutput));
                    scope.spawn(move || relay(stderr, exited, targets.stderr, reader));
                }
                Output::Terminal(master, keyboard) => {
                    let reader = OutputLog::observe(targets.log, LogStream::Stdout, reader);
                    scope.spawn(move || relay(master, exited, targets.stdout, reader));
                    scope.spawn(move || keyboard.pass_on(exited));
                }
            }
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
            let mut estimate = OwnEstimate::default();
            while is_over.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                tracker.tick();
                if let Some(screen) = screen {
                    let mut summary = tracker.summary();
                    estimate.add_to(&mut summary, Timestamp::now());
                    screen.draw(&summary);
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
