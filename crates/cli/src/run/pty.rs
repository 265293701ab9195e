//! A terminal of the command's own: `milepost run --pty`.
//!
//! The command leads a session on a pseudoterminal. Its output is relayed as from a pipe, and what is typed is passed on
//! to it. Meanwhile our own terminal is in raw mode, so Ctrl-C reaches the command's terminal, which sends the signal.
//! Only Ctrl-Z is handled here: no shell in the command's session could continue it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pty_process::blocking::Pts;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Signal, getpgrp, kill_process_group};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, Winsize, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr, tcsetwinsize,
};
use signal_hook::consts::{SIGINT, SIGQUIT};

use super::child::CannotStart;
use super::signals::StopRecorder;

/// The size if we run on no terminal.
const DEFAULT_SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// How often the size of our terminal is checked.
const CHECK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The most typed bytes that wait for the command's terminal.
const MAX_TYPED_BYTES: usize = 4096;

/// How long to wait for a full terminal, which polls as ready all the time.
const FULL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A pseudoterminal for a command that does not run yet.
pub(crate) struct Pty {
    /// Our end. Once it is dropped the terminal hangs up, so that all others only borrow it.
    master: Arc<File>,
    /// The command's end.
    slave: Pts,
}

impl fmt::Debug for Pty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pty").field("master", &self.master).finish_non_exhaustive()
    }
}

impl Pty {
    /// With the size and the modes of the terminal that we run on, if there is one.
    pub(crate) fn open() -> io::Result<Self> {
        let (master, slave) = pty_process::blocking::open().map_err(io_error)?;
        let master = File::from(OwnedFd::from(master));
        // What is typed at a command that does not read must not block us.
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        tcsetwinsize(&master, our_size().unwrap_or(DEFAULT_SIZE))?;
        if io::stdin().is_terminal() {
            tcsetattr(&slave, OptionalActions::Now, &tcgetattr(io::stdin())?)?;
        }
        Ok(Self { master: Arc::new(master), slave })
    }

    /// For reading the modes that the command sets.
    pub(crate) fn handle(&self) -> Weak<File> {
        Arc::downgrade(&self.master)
    }

    /// Starts the command. Its stdin is ours unless that is a terminal.
    pub(super) fn start(
        self,
        program: &OsStr,
        command: Command,
        stops: StopRecorder,
    ) -> Result<(Child, Arc<File>, Keyboard), CannotStart> {
        let failed = |error| CannotStart::new(program, error);
        let mut command = pty_process::blocking::Command::from(command);
        let modes = io::stdin().is_terminal().then(|| tcgetattr(io::stdin()).ok()).flatten();
        if modes.is_none() {
            command = command.stdin(Stdio::inherit());
        }
        let child = command.spawn(self.slave).map_err(|error| failed(io_error(error)))?;
        let terminal = Arc::downgrade(&self.master);
        let raw_mode = RawMode::new(modes);
        // Before any output of the command is shown: a Ctrl-C after that is for its terminal, not for our process
        // group.
        raw_mode.hold();
        let keyboard = Keyboard { terminal, raw_mode, stops };
        Ok((child, self.master, keyboard))
    }
}

fn io_error(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
    }
}

/// The size of the terminal that we run on.
fn our_size() -> Option<Winsize> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stderr()));
    size.or_else(|_| tcgetwinsize(io::stdin())).ok().filter(|size| size.ws_col > 0)
}

/// Passes what is typed, and the size of our terminal, on to the command's. Our terminal has its modes of before once this is
/// dropped.
#[derive(Debug)]
pub(super) struct Keyboard {
    terminal: Weak<File>,
    raw_mode: RawMode,
    stops: StopRecorder,
}

impl Keyboard {
    pub(super) fn raw_mode(&self) -> RawMode {
        self.raw_mode.clone()
    }

    /// Until `exited` becomes readable, or the command's terminal hangs up because the output is closed.
    pub(super) fn pass_on(self, exited: BorrowedFd<'_>) {
        let stdin = io::stdin();
        let mut typed: Vec<u8> = Vec::new();
        let mut can_read = true;
        let mut size = our_size();
        while let Some(terminal) = self.terminal.upgrade() {
            let now = our_size();
            if now != size {
                size = now;
                // A command that has just exited needs no size.
                let _ = tcsetwinsize(&terminal, size.unwrap_or(DEFAULT_SIZE));
            }
            let is_full = !write(&terminal, &mut typed);
            drop(terminal);
            let reads = self.raw_mode.hold() && can_read && !is_full;
            let mut polled = vec![PollFd::from_borrowed_fd(exited, PollFlags::IN)];
            if reads {
                polled.push(PollFd::new(&stdin, PollFlags::IN));
            }
            let ready = poll(&mut polled, Some(if is_full { &FULL } else { &CHECK_EVERY }));
            if !polled[0].revents().is_empty() {
                break;
            }
            if !reads || !matches!(ready, Ok(1..)) {
                continue;
            }
            let mut buffer = [0; MAX_TYPED_BYTES];
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(0) => can_read = false,
                Ok(read) => typed.extend(self.without_suspend(&buffer[..read])),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => can_read = false,
            }
        }
    }

    /// What was typed, but for the key that suspends: that stops us and the command. Keys that end it are noted.
    fn without_suspend(&self, typed: &[u8]) -> Vec<u8> {
        let modes = self.terminal.upgrade().and_then(|terminal| tcgetattr(&terminal).ok());
        let Some(modes) = modes else { return typed.to_vec() };
        if !modes.local_modes.contains(LocalModes::ISIG) {
            return typed.to_vec();
        }
        let key = |index| Some(modes.special_codes[index]).filter(|key| *key != 0);
        let suspend = key(SpecialCodeIndex::VSUSP);
        for byte in typed.iter().copied().map(Some) {
            if byte == suspend {
                // Like the terminal: to all in our process group. The signals' thread does the rest.
                let _ = kill_process_group(getpgrp(), Signal::TSTP);
            } else if byte == key(SpecialCodeIndex::VINTR) {
                self.stops.record(SIGINT);
            } else if byte == key(SpecialCodeIndex::VQUIT) {
                self.stops.record(SIGQUIT);
            }
        }
        typed.iter().copied().filter(|byte| Some(*byte) != suspend).collect()
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.raw_mode.release();
    }
}

/// Whether the terminal has taken all that was typed. What a terminal that is gone does not take is dropped.
fn write(mut terminal: &File, typed: &mut Vec<u8>) -> bool {
    while !typed.is_empty() {
        match terminal.write(typed) {
            Ok(written) => drop(typed.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => typed.clear(),
        }
    }
    true
}

/// The raw mode of the terminal behind stdin. Only the foreground may have it.
#[derive(Debug, Clone)]
pub(super) struct RawMode {
    /// The original modes; none if stdin is not a terminal.
    before: Option<Termios>,
    state: Arc<Mutex<RawModeState>>,
}

#[derive(Debug, Default)]
struct RawModeState {
    is_raw: bool,
    /// The process is about to stop, or has stopped.
    suspended: bool,
}

impl RawMode {
    fn new(before: Option<Termios>) -> Self {
        Self { before, state: Arc::default() }
    }

    /// Sets it if we are in the foreground. Whether stdin may be read.
    fn hold(&self) -> bool {
        let Some(before) = &self.before else { return false };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.suspended || !tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) {
            state.is_raw = false;
            return false;
        }
        if !state.is_raw {
            let mut raw = before.clone();
            raw.make_raw();
            state.is_raw = tcsetattr(io::stdin(), OptionalActions::Now, &raw).is_ok();
        }
        state.is_raw
    }

    /// Restores the modes of before.
    pub(super) fn release(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = self.before.as_ref().filter(|_| state.is_raw) {
            // If the terminal is gone it needs no modes.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        state.is_raw = false;
    }

    /// Before the process stops.
    pub(super) fn suspend(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).suspended = true;
        self.release();
    }

    /// Once the process is continued.
    pub(super) fn resume(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).suspended = false;
    }
}
