//! `milepost log`: what a job's worker wrote.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use milepost_protocol::JobId;
use serde::Deserialize;

use crate::bars::sanitized;
use crate::client::{Client, RequestError, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, printed, warn};

/// Print a job's log: the latest lines that its worker wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_name = "JOB", value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    /// Print new lines as they are written, until the job has ended. A job that is not known yet is waited for
    #[arg(long, short)]
    follow: bool,
    /// At most this many of the existing lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=5_000))]
    lines: u32,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Page {
    lines: Vec<Line>,
    next: Option<String>,
    #[serde(default)]
    log_gap: bool,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(default)]
    cut: bool,
}

/// How long to wait after a response without lines.
const PAUSE: Duration = Duration::from_millis(300);

/// How long to wait for a server that is away, and for a job that it does not know yet.
const WAIT: Duration = Duration::from_secs(1);

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        match self.print() {
            Ok(code) => code,
            Err(error) if error.is_unknown_job() => complain(&error, ExitCode::UnknownJob),
            Err(error) => complain(&error, error.exit_code()),
        }
    }

    fn print(&self) -> Result<ExitCode, RequestError> {
        let client = Client::new(self.server.url())?;
        let limit = self.lines.to_string();
        let mut since: Option<String> = None;
        let (mut was_reached, mut was_known, mut has_ended) = (false, false, false);
        loop {
            let newest = [("limit", limit.as_str())];
            let after = since.as_deref().map(|since| [("since", since)]);
            let query = after.as_ref().map_or(&newest[..], |after| &after[..]);
            let page = match client.log(&self.job, query) {
                // While it follows, it waits for the server as `watch` does.
                Err(RequestError::Unreachable { .. } | RequestError::BrokenAnswer { .. })
                    if was_reached && self.follow =>
                {
                    thread::sleep(WAIT);
                    continue;
                }
                Err(error) if error.is_unknown_job() && self.follow && !was_known => {
                    if !std::mem::replace(&mut was_reached, true) {
                        warn(format_args!("{} is not known yet: waiting", self.job));
                    }
                    thread::sleep(WAIT);
                    continue;
                }
                page => page?,
            };
            (was_reached, was_known) = (true, true);
            let page: Page =
                serde_json::from_str(&page).map_err(|_| RequestError::UnreadableLog)?;
            if page.log_gap {
                warn("lines are missing here: the log keeps only the latest");
            }
            let quiet = page.lines.is_empty();
            let code = printed(print(&page.lines, io::stdout().lock()));
            if code != ExitCode::Success || !self.follow {
                return Ok(code);
            }
            since = page.next.or(since.filter(|_| !page.log_gap));
            if !quiet {
                continue;
            }
            if has_ended {
                return Ok(code);
            }
            let state = client.state(&self.job);
            has_ended = state.is_ok_and(|state| state.is_none_or(|state| state.status().is_end()));
            thread::sleep(if has_ended { 3 * PAUSE } else { PAUSE });
        }
    }
}

/// A line may have any content. It must not control this terminal.
fn print(lines: &[Line], mut out: impl Write) -> io::Result<()> {
    for line in lines {
        let end = if line.cut { "…" } else { "" };
        writeln!(out, "{}{end}", sanitized(&line.text))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_taken_out() {
        let line = |text: &str| Line { text: text.to_owned(), cut: true };
        let mut out = Vec::new();
        let lines =
            ["\u{1b}[1;31mred\u{1b}[0m\tplain", "a\u{1b}[2Jb", "\u{1b}]0;t\u{7}\u{202e}\u{9b}2J"];
        print(&lines.map(line), &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.starts_with("red plain…\nab…\n"), "{shown:?}");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']), "{shown:?}");
    }
}
