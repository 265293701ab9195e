use std::sync::Arc;

use console::measure_text_width;
use milepost_protocol::JobId;

use super::ci_log;
use super::pty::Pty;
use crate::bars::{Screen, Terminal, columns, sanitized};
use crate::exit::warn;

/// Prints Milepost's own messages, if there is a terminal or a CI system's log to print them to.
#[derive(Debug, Clone)]
pub(super) struct Announcer {
    pub(super) screen: Option<Arc<Screen>>,
    /// As lines: to a CI system's log, or a terminal that cannot draw.
    pub(super) logs: bool,
    quiet: bool,
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
        Self { screen, logs, quiet }
    }

    /// A mistake of who set this up: also where [`line`](Self::line) prints nothing, unless it is to be quiet.
    pub(super) fn mistake(&self, text: &str) {
        if self.screen.is_none() && !self.logs && !self.quiet {
            warn(text);
        } else {
            self.line(text);
        }
    }

    /// While the command runs.
    pub(super) fn line(&self, text: &str) {
        match &self.screen {
            Some(screen) => {
                let line = format!("milepost: {}", sanitized(text));
                for row in fitted(&line, columns()) {
                    screen.say(&row);
                }
            }
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
            Some(screen) => screen.say_last(&fitted(&format!("milepost: {text}"), columns())),
            None => self.line(text),
        }
    }
}

/// The text in one row, or with the link at its end in a row of its own if there is no room for both: a link in one piece
/// can be selected and opened.
fn fitted(text: &str, columns: usize) -> Vec<String> {
    match text.rsplit_once(' ') {
        Some((before, link)) if link.contains("://") && measure_text_width(text) > columns => {
            let before = before.strip_suffix(" ·").unwrap_or(before);
            vec![before.to_owned(), link.to_owned()]
        }
        _ => vec![text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_without_room_has_a_row_of_its_own() {
        let line = "milepost: a completed in 3.5 s · http://host/?job=a";
        assert_eq!(fitted(line, 80), [line]);
        assert_eq!(fitted(line, 40), ["milepost: a completed in 3.5 s", "http://host/?job=a"]);
        assert_eq!(fitted("milepost: a line without one", 10), ["milepost: a line without one"]);
    }
}
