//! Keys that are pressed while jobs are watched on a terminal.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Quit,
}

/// Reads single keys from the terminal behind stdin, which is as it was before once this is dropped.
#[derive(Debug)]
pub(super) struct Keys {
    before: Termios,
}

impl Keys {
    /// None if stdin is not a terminal.
    pub(super) fn new() -> Option<Self> {
        let stdin = io::stdin();
        let before = stdin.is_terminal().then(|| tcgetattr(&stdin).ok())??;
        Some(Self { before })
    }

    /// The keys that were pressed since; it does not wait. Only for a process in the foreground.
    pub(super) fn pressed(&self) -> Vec<Key> {
        let stdin = io::stdin();
        // After Ctrl-Z the shell has set its own modes.
        let mut modes = self.before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        if tcgetattr(&stdin).is_ok_and(|now| now.local_modes != modes.local_modes) {
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut buffer = [0; 64];
        match poll(&mut polled, Some(&at_once)) {
            Ok(1) => {
                let read = rustix::io::read(&stdin, &mut buffer).unwrap_or(0);
                parse(&buffer[..read])
            }
            _ => Vec::new(),
        }
    }

    /// Restores the modes of before, until keys are read again. In the background they are the shell's, and setting them would
    /// stop this process.
    pub(super) fn release(&self) {
        if tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.release();
    }
}

/// Other keys are passed over.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 21] = [
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"k", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"j", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"b", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b" ", Key::PageDown),
        (b"\x1b[H", Key::First),
        (b"\x1bOH", Key::First),
        (b"\x1b[1~", Key::First),
        (b"g", Key::First),
        (b"\x1b[F", Key::Last),
        (b"\x1bOF", Key::Last),
        (b"\x1b[4~", Key::Last),
        (b"G", Key::Last),
        (b"q", Key::Quit),
        (b"Q", Key::Quit),
        // Ctrl-D.
        (b"\x04", Key::Quit),
    ];
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        match SEQUENCES.iter().find(|(sequence, _)| bytes.starts_with(sequence)) {
            Some((sequence, key)) => {
                keys.push(*key);
                bytes = &bytes[sequence.len()..];
            }
            None => bytes = &bytes[1..],
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinguished_and_others_ignored() {
        assert_eq!(parse(b"\x1b[A\x1b[Bjk"), [Key::Up, Key::Down, Key::Down, Key::Up]);
        assert_eq!(parse(b"\x1b[5~x\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(parse(b"gGq\xff"), [Key::First, Key::Last, Key::Quit]);
        assert!(parse(b"").is_empty());
    }
}
