use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use crate::root;

/// One thing that has to pass.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    run: Box<dyn FnOnce() -> Result<Outcome, Failure>>,
}

/// What came of a step that did not fail.
pub(crate) enum Outcome {
    Passed,
    /// Nothing to do, and why.
    Skipped(String),
}

/// Why a step failed.
pub(crate) enum Failure {
    /// A command could not be started.
    Start { command: String, error: std::io::Error },
    /// A command ended badly.
    Exit { command: String, status: ExitStatus },
    /// Something is not as it has to be: in full, for a person.
    Found(String),
}

impl Step {
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        run: impl FnOnce() -> Result<Outcome, Failure> + 'static,
    ) -> Self {
        Self { name, about, run: Box::new(run) }
    }

    /// A step that is one command.
    pub(crate) fn command(name: &'static str, about: &'static str, command: Shell) -> Self {
        Self::new(name, about, move || command.run().map(|()| Outcome::Passed))
    }
}

/// Runs the steps one after the other, up to the first that fails, and says how long each took. `alone` is the
/// command that runs one of them, given its name.
pub(crate) fn run(steps: Vec<Step>, alone: Option<&str>) -> ExitCode {
    let begun = Instant::now();
    let mut rows: Vec<(&str, Duration, String)> = Vec::new();
    let mut failed = None;
    for step in steps {
        println!("\n── {}: {}", step.name, step.about);
        let started = Instant::now();
        let (row, failure) = match (step.run)() {
            Ok(Outcome::Passed) => ("passed".to_owned(), None),
            Ok(Outcome::Skipped(why)) => (format!("skipped: {why}"), None),
            Err(failure) => ("FAILED".to_owned(), Some(failure)),
        };
        println!("── {}: {row}, {}", step.name, seconds(started.elapsed()));
        rows.push((step.name, started.elapsed(), row));
        if let Some(failure) = failure {
            failed = Some((step.name, failure));
            break;
        }
    }

    println!();
    for (name, took, row) in &rows {
        println!("{name:<10} {:>8}  {row}", seconds(*took));
    }
    println!("{:<10} {:>8}", "all", seconds(begun.elapsed()));
    let Some((name, failure)) = failed else { return ExitCode::SUCCESS };
    eprintln!("\n{name} failed: {failure}");
    if let Some(command) = alone {
        eprintln!("It alone: {command} {name}");
    }
    ExitCode::FAILURE
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { command, error } => write!(f, "{command}: {error}"),
            Self::Exit { command, status } => write!(f, "{command}: {status}"),
            Self::Found(what) => f.write_str(what),
        }
    }
}

/// A command, run in the checkout with this terminal's output.
pub(crate) struct Shell {
    command: Command,
}

impl Shell {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self { command }
    }

    /// The cargo that runs this.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Several arguments, in one text with spaces between them.
    pub(crate) fn args(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split_whitespace());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn run(mut self) -> Result<(), Failure> {
        println!("$ {self}");
        match self.command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Exit { command: self.to_string(), status }),
            Err(error) => Err(Failure::Start { command: self.to_string(), error }),
        }
    }

    /// What it writes to its standard output; none if it cannot be started or fails.
    pub(crate) fn output(mut self) -> Option<Vec<u8>> {
        let output = self.command.output().ok()?;
        output.status.success().then_some(output.stdout)
    }
}

/// As one would type it.
impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.command.get_envs() {
            let value = value.unwrap_or_default().to_string_lossy();
            write!(f, "{}='{value}' ", name.to_string_lossy())?;
        }
        let program = Path::new(self.command.get_program());
        let inside = program.strip_prefix(root()).ok();
        let short = if inside.is_some() { inside } else { program.file_name().map(Path::new) };
        write!(f, "{}", short.unwrap_or(program).display())?;
        for argument in self.command.get_args() {
            write!(f, " {}", argument.to_string_lossy())?;
        }
        Ok(())
    }
}
