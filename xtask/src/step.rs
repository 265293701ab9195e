use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{root, target_directory};

/// One thing that has to pass.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    run: Box<dyn FnOnce() -> Result<Outcome, Failure>>,
    /// It may run at the same time as a neighbour that may, too.
    concurrent: bool,
    /// Steps that have to pass first, by name. Those of them that are not in the same run are taken as passed.
    needs: &'static [&'static str],
}

/// How many concurrent steps run at a time.
const AT_A_TIME: usize = 2;

/// The outcome of a step that did not fail.
pub(crate) enum Outcome {
    Passed,
    /// Nothing to do, and why.
    Skipped(String),
}

/// Why a step failed.
pub(crate) enum Failure {
    /// A command could not be started.
    Start { command: String, error: io::Error },
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
        Self { name, about, run: Box::new(run), concurrent: false, needs: &[] }
    }

    /// Lets it run at the same time as its neighbours. Of these, most wait for the network, servers or browsers, or have one
    /// thread, so that others can use the processor meanwhile.
    pub(crate) fn concurrent(self) -> Self {
        Self { concurrent: true, ..self }
    }

    /// Has it wait until `steps` have passed.
    pub(crate) fn after(self, steps: &'static [&'static str]) -> Self {
        Self { needs: steps, ..self }
    }

    /// A step that is one command.
    pub(crate) fn command(name: &'static str, about: &'static str, command: Shell) -> Self {
        Self::new(name, about, move || command.run().map(|()| Outcome::Passed))
    }
}

/// The outcome of a step.
struct Row {
    name: &'static str,
    took: Duration,
    outcome: Result<Outcome, Failure>,
}

/// Runs the steps one after the other, up to the first that fails, and prints how long each took. Concurrent neighbours run
/// side by side, and their output is printed when each ends. `alone` is the xtask command that runs one step, given its
/// name.
pub(crate) fn run(steps: Vec<Step>, alone: Option<&str>) -> ExitCode {
    let begun = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        let mut group = vec![step];
        while alone.is_some()
            && group[0].concurrent
            && steps.peek().is_some_and(|next| next.concurrent)
        {
            group.extend(steps.next());
        }
        rows.extend(match (alone, group.len()) {
            (Some(alone), 2..) => side_by_side(&group, alone),
            _ => group.into_iter().map(one).collect(),
        });
        if rows.iter().any(|row| row.outcome.is_err()) {
            break;
        }
    }

    if rows.len() > 1 {
        println!();
        for row in &rows {
            println!("{:<10} {:>8}  {}", row.name, seconds(row.took), row.result());
        }
        println!("{:<10} {:>8}", "all", seconds(begun.elapsed()));
    }
    let mut code = ExitCode::SUCCESS;
    for Row { name, outcome, .. } in rows {
        if let Err(failure) = outcome {
            code = ExitCode::FAILURE;
            eprintln!("\n{name} failed: {failure}");
            if let Some(command) = alone {
                eprintln!("To run it alone: cargo xtask {command} {name}");
            }
        }
    }
    code
}

fn one(step: Step) -> Row {
    println!("\n── {}: {}", step.name, step.about);
    let started = Instant::now();
    let row = Row { name: step.name, outcome: (step.run)(), took: started.elapsed() };
    println!("── {}: {}, {}", row.name, row.result(), seconds(row.took));
    row
}

/// Runs each step in a process of its own. Those whose needs failed do not run.
fn side_by_side(steps: &[Step], alone: &str) -> Vec<Row> {
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    println!("\n── {AT_A_TIME} at a time: {}", names.join(", "));
    let queue = Queue::new(steps);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(name) = queue.next() {
                    let started = Instant::now();
                    let outcome = in_a_process(name, alone);
                    queue.ended(name, outcome.is_ok());
                    let row = Row { name, outcome, took: started.elapsed() };
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Concurrent steps, of which each is handed out once, when what it needs has passed.
struct Queue {
    steps: Mutex<Vec<Queued>>,
    changed: Condvar,
}

struct Queued {
    name: &'static str,
    needs: &'static [&'static str],
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Running,
    Passed,
    Failed,
}

impl Queue {
    fn new(steps: &[Step]) -> Self {
        let queued =
            |step: &Step| Queued { name: step.name, needs: step.needs, state: State::Waiting };
        Self { steps: Mutex::new(steps.iter().map(queued).collect()), changed: Condvar::new() }
    }

    /// The first step that can run, once there is one; none when all have run or never will.
    fn next(&self) -> Option<&'static str> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let passed = |name: &&str| {
                steps.iter().all(|step| step.name != *name || step.state == State::Passed)
            };
            let ready =
                |step: &Queued| step.state == State::Waiting && step.needs.iter().all(passed);
            if let Some(ready) = steps.iter().position(ready) {
                steps[ready].state = State::Running;
                return Some(steps[ready].name);
            }
            if steps.iter().all(|step| step.state != State::Running) {
                return None;
            }
            steps = self.changed.wait(steps).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ended(&self, name: &str, passed: bool) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = steps.iter_mut().find(|step| step.name == name) {
            step.state = if passed { State::Passed } else { State::Failed };
        }
        self.changed.notify_all();
    }
}

/// Runs a step as `cargo xtask COMMAND NAME` would, and prints all that it wrote when it has ended.
fn in_a_process(name: &str, alone: &str) -> Result<Outcome, Failure> {
    let command = format!("cargo xtask {alone} {name}");
    let failed = |error| Failure::Start { command: command.clone(), error };
    let folder = target_directory().join("xtask/output");
    let path = folder.join(name);
    let status = fs::create_dir_all(&folder)
        .and_then(|()| {
            let output = File::create(&path)?;
            Command::new(std::env::current_exe()?)
                .args([alone, name])
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .status()
        })
        .map_err(failed)?;
    let output = fs::read(&path).map_err(failed)?;
    io::stdout().write_all(&output).map_err(failed)?;
    if !status.success() {
        return Err(Failure::Exit { command, status });
    }
    // What `one` printed there: the reason, and how long it took.
    let skipped = format!("── {name}: skipped: ");
    let output = String::from_utf8_lossy(&output);
    let why = output.lines().rev().find_map(|line| line.strip_prefix(&skipped)?.rsplit_once(", "));
    let why = why.map(|(why, _)| why);
    Ok(why.map_or(Outcome::Passed, |why| Outcome::Skipped(why.to_owned())))
}

impl Row {
    fn result(&self) -> String {
        match &self.outcome {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
            Err(_) => "FAILED".to_owned(),
        }
    }
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
