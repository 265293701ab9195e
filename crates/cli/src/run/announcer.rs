use std::sync::Arc;

use milepost_protocol::JobId;

use super::ci_log;
use super::pty::Pty;
use crate::bars::{Screen, Terminal, sanitized};
use crate::exit::warn;

/// Prints Milepost's own messages, if there is a terminal or a CI system's log to print them to.
#[derive(Debug, Clone)]
pub(super) struct Announcer {
    pub(super) screen: Option<Arc<Screen>>,
    /// As lines: to a CI system's log, or a terminal that cannot draw.
    pub(super) logs: bool,
}

impl Announcer {
    /// A quiet one prints nothing. With `pty`, the command's terminal gets the size of ours.
    pub(super) fn new(job: &JobId, quiet: bool, pty: Option<&Pty>) -> Self {
        let terminal = Terminal::for_bars().filter(|_| !quiet);
        let screen = terminal.map(|terminal| {
            let terminal = terminal.shared_with(pty.map(Pty::handle));
            Arc::new(Screen::new(terminal, job.as_str()))
        });
        let logs = screen.is_none() && !quiet && (ci_log::is_ci() || Terminal::is_dumb());
        Self { screen, logs }
    }

    /// While the command runs.
    pub(super) fn line(&self, text: &str) {
        match &self.screen {
            Some(screen) => screen.say(&format!("milepost: {}", sanitized(text))),
            None if self.logs => warn(text),
            None => {}
        }
    }

    /// [`line`](Self::line), for another thread.
    pub(super) fn into_line(self) -> impl Fn(&str) + Send + 'static {
        move |text| self.line(text)
    }

    /// After the command has ended.
    pub(super) fn last_line(&self, text: &str) {
        match &self.screen {
            Some(screen) => screen.say_last(&format!("milepost: {text}")),
            None => self.line(text),
        }
    }
}
