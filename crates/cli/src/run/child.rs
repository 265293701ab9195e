//! The command itself: started with its output piped, waited for, and signalled.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// A command that could not be started.
#[derive(Debug)]
pub(crate) struct CannotStart {
    program: OsString,
    error: io::Error,
}

impl CannotStart {
    pub(crate) fn new(program: &OsStr, error: io::Error) -> Self {
        Self { program: program.to_owned(), error }
    }

    /// As in shells: 127 if there is no such program, 126 if it cannot be run.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
    }
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.to_string_lossy();
        match self.error.kind() {
            io::ErrorKind::NotFound => write!(f, "{program}: command not found"),
            io::ErrorKind::PermissionDenied => write!(f, "{program}: permission denied"),
            _ => write!(f, "{program}: cannot be started: {}", self.error),
        }
    }
}

impl std::error::Error for CannotStart {}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    target: SignalTarget,
}

impl Running {
    /// Its stdin is inherited; its stdout and stderr are returned as pipes.
    pub(crate) fn start(
        program: &OsStr,
        mut command: Command,
    ) -> Result<(Self, ChildStdout, ChildStderr), CannotStart> {
        let piped =
            |command: &mut Command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let started = piped(&mut command).or_else(|error| match script(program, &error) {
            Some(script) => piped(&mut by_shell(&script, &command)),
            None => Err(error),
        });
        let mut child = started.map_err(|error| CannotStart::new(program, error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            unreachable!("both were asked for")
        };
        Ok((Self::new(child, false), stdout, stderr))
    }

    /// On a terminal of its own, in a session of its own.
    pub(super) fn on_pty(child: Child) -> Self {
        Self::new(child, true)
    }

    fn new(child: Child, has_own_session: bool) -> Self {
        let pid = Pid::from_child(&child);
        let target = SignalTarget { pid: Arc::new(Mutex::new(Some(pid))), has_own_session };
        Self { child, pid, target }
    }

    pub(crate) fn signal_target(&self) -> SignalTarget {
        self.target.clone()
    }

    /// Waits until it has exited. Other processes that hold its pipes may continue.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        // It is reaped only once it is signalled no more, because its id may then be reused.
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = rustix::process::waitid(WaitId::Pid(self.pid), exited) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        self.target.forget();
        self.child.wait()
    }
}

/// The path of a script without `#!`, which the kernel does not start but every shell runs. None for anything else.
fn script(program: &OsStr, error: &io::Error) -> Option<PathBuf> {
    const LOOKED_AT: u64 = 256;
    if error.raw_os_error() != Some(Errno::NOEXEC.raw_os_error()) {
        return None;
    }
    let path = if program.as_bytes().contains(&b'/') {
        PathBuf::from(program)
    } else {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|p| p.is_file())?
    };
    let mut start = Vec::new();
    File::open(&path).ok()?.take(LOOKED_AT).read_to_end(&mut start).ok()?;
    // A binary of another architecture, for example.
    (!start.contains(&0)).then_some(path)
}

/// The command, with that script run by the shell.
fn by_shell(script: &Path, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg(script).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Where signals for the command go, as long as it runs.
#[derive(Debug, Clone)]
pub(crate) struct SignalTarget {
    pid: Arc<Mutex<Option<Pid>>>,
    has_own_session: bool,
}

impl SignalTarget {
    /// Whether the kernel does not send it signals of this process' terminal.
    pub(crate) fn has_own_session(&self) -> bool {
        self.has_own_session
    }

    /// False if it has exited.
    pub(crate) fn send(&self, signal: i32) -> bool {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        match (*pid, Signal::from_named_raw(signal)) {
            (Some(pid), Some(signal)) => rustix::process::kill_process(pid, signal).is_ok(),
            _ => false,
        }
    }

    /// The command and all that it started, as far as known: its children, theirs, and so on.
    fn family(&self) -> Vec<Pid> {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        pid.map(family).unwrap_or_default()
    }

    /// Sends the signal to the command and all that it started. False if the command has exited.
    pub(crate) fn send_to_all(&self, signal: Signal) -> bool {
        let family = self.family();
        for pid in &family {
            // A process that is gone needs no signal.
            let _ = rustix::process::kill_process(*pid, signal);
        }
        !family.is_empty()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn forget(&self) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A process and its descendants. Known only on Linux; elsewhere, only the process itself.
fn family(of: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse::<i32>().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses, and may have some itself; then the state and the parent.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()?;
        Some((Pid::from_raw(pid)?, Pid::from_raw(parent)?))
    });
    let parents: Vec<(Pid, Pid)> = processes.collect();
    let mut family = vec![of];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        let children =
            parents.iter().filter(|(child, its)| *its == parent && !family.contains(child));
        let children: Vec<Pid> = children.map(|(child, _)| *child).collect();
        family.extend(children);
        next += 1;
    }
    family
}

/// 128+n after a signal, as shells have it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
