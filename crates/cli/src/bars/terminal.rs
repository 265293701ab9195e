//! The terminal behind stderr: its size, and whether anybody else uses it now.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Weak;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

/// Columns where the size cannot be found out.
const DEFAULT_COLUMNS: usize = 80;
const DEFAULT_ROWS: usize = 24;

/// What was true of the terminal at the start.
#[derive(Debug)]
pub(crate) struct Terminal {
    echoes: bool,
    /// The terminal that programs prompt on; none: this one.
    prompts_on: Option<Weak<File>>,
}

impl Terminal {
    /// The terminal behind stderr, if bars can be drawn on it.
    pub(crate) fn for_bars() -> Option<Self> {
        (is_able() && io::stderr().is_terminal())
            .then(|| Self { echoes: echoes(io::stderr()).unwrap_or(true), prompts_on: None })
    }

    /// Whether stderr is a terminal on which nothing can be drawn: lines are all that it shows.
    pub(crate) fn is_dumb() -> bool {
        !is_able() && io::stderr().is_terminal()
    }

    /// Whether stdout and stdin are a terminal, so that bars are seen and keys can be pressed.
    pub(crate) fn is_interactive() -> bool {
        is_able() && io::stdout().is_terminal() && io::stdin().is_terminal()
    }

    /// The program that shares it has a terminal of its own.
    pub(crate) fn shared_with(self, pty: Option<Weak<File>>) -> Self {
        Self { prompts_on: pty, ..self }
    }

    /// Whether a program asks for a secret: it has switched the echo off and still reads whole lines. A program that reads
    /// single keys, as ffmpeg does for as long as it runs, switches off both.
    pub(crate) fn is_prompting(&self) -> bool {
        let modes = match &self.prompts_on {
            Some(pty) => pty.upgrade().and_then(echoes),
            None => echoes(io::stderr()),
        };
        self.echoes && modes == Some(false)
    }

    /// Whether our job is in the foreground; in the background the terminal belongs to others.
    #[expect(clippy::unused_self, reason = "asked of a terminal only")]
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
    }
}

/// `TERM=dumb` and none at all cannot move the cursor.
fn is_able() -> bool {
    std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether what is typed is shown, or each key is read by itself.
fn echoes(terminal: impl AsFd) -> Option<bool> {
    let modes = tcgetattr(terminal).ok()?.local_modes;
    Some(modes.contains(LocalModes::ECHO) || !modes.contains(LocalModes::ICANON))
}

/// Columns of the terminal behind stderr.
pub(crate) fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(DEFAULT_COLUMNS, |(_, columns)| columns.into())
}

/// Rows of the terminal behind stderr.
pub(crate) fn rows() -> usize {
    console::Term::stderr().size_checked().map_or(DEFAULT_ROWS, |(rows, _)| rows.into())
}

/// Whether stderr gets colours: a terminal, without `NO_COLOR`.
pub(crate) fn colours() -> bool {
    console::colors_enabled_stderr()
}

/// The taskbar's progress (OSC 9;4), for terminals that have it; others may show it as a notification.
pub(crate) fn has_taskbar_progress() -> bool {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    !var("WT_SESSION").is_empty()
        || var("ConEmuANSI") == "ON"
        || matches!(var("TERM_PROGRAM").as_str(), "WezTerm" | "ghostty")
        || var("VTE_VERSION").parse::<u32>().is_ok_and(|version| version >= 8000)
}
