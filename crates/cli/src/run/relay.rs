//! Passes one of the command's streams on, byte for byte, and lets a reader look at it on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::bars::Screen;

/// How long a line that has not ended may wait to be read as it is.
const PAUSE: Duration = Duration::from_millis(200);

/// How long to wait, once the command has exited, for other processes that hold its output, such as `> >(tee log)`.
/// After that, a `cat` takes over: `run` exits with its command, and what the command left in the background still
/// writes to the same place.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// How long to wait before reading a terminal that no process has open: until one opens it, reading fails at once.
const REOPEN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

const BUFFER_BYTES: usize = 64 * 1024;

/// Where the command's output goes.
#[derive(Debug)]
pub(crate) enum Destination<'a> {
    /// As it is.
    File(File),
    /// A terminal that has a bar as well.
    Terminal(File, &'a Screen),
    /// Nowhere.
    Nothing,
}

impl Destination<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => Blocking(file).write_all(bytes),
            Self::Terminal(file, screen) => screen.write(&mut Blocking(file), bytes),
            Self::Nothing => Ok(()),
        }
    }

    /// Leaves the rest of `source` to a process that copies it to here, however long that takes.
    fn leave_to_cat(self, source: &impl AsFd) {
        let (Self::File(file) | Self::Terminal(file, _)) = self else { return };
        let Ok(source) = source.as_fd().try_clone_to_owned() else { return };
        // `cat` does not expect a source that does not block, as a terminal of the command's own is.
        if let Ok(flags) = fcntl_getfl(&source) {
            let _ = fcntl_setfl(&source, flags - OFlags::NONBLOCK);
        }
        let cat = Command::new("cat").stdin(source).stdout(file).stderr(Stdio::null()).spawn();
        // Without a `cat` the writers lose their reader. It outlives this process, so nothing waits for it.
        drop(cat);
    }
}

/// What looks at the stream.
pub(crate) trait OutputObserver {
    fn observe(&mut self, bytes: &[u8]);
    /// Nothing came for a moment.
    fn pause(&mut self) {}
    /// The stream has ended.
    fn end(&mut self) {}
}

/// Passes `source` on until it ends. `exited` becomes readable when the command has exited.
///
/// If the output is closed, this stops and drops `source`. The command notices that by its pipe or terminal, as it
/// would without Milepost.
pub(crate) fn relay(
    mut source: impl Read + AsFd,
    exited: BorrowedFd<'_>,
    mut destination: Destination<'_>,
    mut observer: impl OutputObserver,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut give_up: Option<Instant> = None;
    let mut paused = true;
    loop {
        let now = Instant::now();
        let limit = match give_up {
            Some(at) if at <= now => {
                observer.end();
                return destination.leave_to_cat(&source);
            }
            Some(at) => Some(at - now),
            None if paused => None,
            None => Some(PAUSE),
        };
        match wait(source.as_fd(), exited, give_up.is_some(), limit) {
            Ok(Ready::Source) => {}
            Ok(Ready::Exited) => {
                give_up = Some(Instant::now() + AFTER_EXIT);
                continue;
            }
            Ok(Ready::Nothing) => {
                if !paused {
                    observer.pause();
                    paused = true;
                }
                continue;
            }
            Err(_) => break,
        }
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if destination.write(&buffer[..n]).is_err() {
                    break;
                }
                observer.observe(&buffer[..n]);
                paused = false;
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR | Errno::AGAIN) => {}
                // Nobody has the command's terminal open. The command may open it again, as `/dev/tty`.
                Some(Errno::IO) if give_up.is_none() && !has_exited(exited, REOPEN) => {}
                _ => break,
            },
        }
    }
    observer.end();
}

/// Waits for `limit`, or until the command has exited. Returns whether it has.
fn has_exited(exited: BorrowedFd<'_>, limit: Timespec) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(exited, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&limit)), Ok(1..))
}

enum Ready {
    Source,
    Exited,
    Nothing,
}

fn wait(
    source: BorrowedFd<'_>,
    exited: BorrowedFd<'_>,
    has_exited: bool,
    limit: Option<Duration>,
) -> io::Result<Ready> {
    let mut fds = [
        PollFd::from_borrowed_fd(source, PollFlags::IN),
        PollFd::from_borrowed_fd(exited, PollFlags::IN),
    ];
    let fds = if has_exited { &mut fds[..1] } else { &mut fds[..] };
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(fds, limit.as_ref()) {
        Ok(_) if !fds[0].revents().is_empty() => Ok(Ready::Source),
        Ok(0) | Err(Errno::INTR) => Ok(Ready::Nothing),
        Ok(_) => Ok(Ready::Exited),
        Err(error) => Err(error.into()),
    }
}

/// Writes to a file that someone else may have made non-blocking (terminals are shared), as if it were not.
struct Blocking<'a>(&'a mut File);

impl Write for Blocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&*self.0, PollFlags::OUT)], None);
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
