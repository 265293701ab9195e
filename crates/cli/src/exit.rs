//! Exit codes, and the one line that goes with a failure.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process;

use crate::bars::{escaped_json, sanitized};

/// What the process exits with. `milepost --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// All went well; of watched jobs: all completed.
    Success,
    /// Something failed, a watched job for example, or the server refused what was asked.
    Failure,
    /// A watched job was cancelled, and none failed.
    Cancelled,
    /// The server cannot be reached, or cannot do it now.
    Unreachable,
    /// The server does not know the job.
    UnknownJob,
    /// The command line or the configuration is wrong (`EX_USAGE` of sysexits).
    Usage,
    /// The server refuses the credential, or it does not allow this (`EX_NOPERM` of sysexits).
    Forbidden,
    /// Ctrl-C.
    Interrupted,
    /// The reader of stdout has closed it.
    OutputClosed,
    /// Of the command that was run.
    Of(u8),
}

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success (watch: all jobs completed; report: always, without --strict), 1 failed or rejected, \
3 cancelled, 4 the server cannot be reached, does not answer or cannot do it now, 5 the job is unknown, 64 wrong usage or configuration, \
77 the credential is refused or does not allow this, 130 interrupted. \
run exits with the command's own code.";

impl ExitCode {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Cancelled => 3,
            Self::Unreachable => 4,
            Self::UnknownJob => 5,
            Self::Usage => 64,
            Self::Forbidden => 77,
            Self::Interrupted => 130,
            Self::OutputClosed => 141,
            Self::Of(code) => code,
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Ends with one line on stderr, `milepost: …`, and the code.
pub(crate) fn complain(problem: impl fmt::Display, code: ExitCode) -> ExitCode {
    warn(problem);
    code
}

/// One line on stderr. It may hold a server's words, which cannot steer the terminal.
pub(crate) fn warn(problem: impl fmt::Display) {
    let line = format!("milepost: {}\n", sanitized(&problem.to_string()));
    // Unlike `eprintln!`, no panic if stderr is closed or full.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// One line of a server's JSON on stdout. On a terminal it cannot steer that.
pub(crate) fn print_json(json: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let json = if stdout.is_terminal() { escaped_json(json) } else { json.into() };
    writeln!(stdout, "{json}")?;
    stdout.flush()
}

/// After printing to stdout: exits quietly if the output is closed.
pub(crate) fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::OutputClosed,
        Err(error) => complain(format_args!("cannot write: {error}"), ExitCode::Failure),
    }
}
