//! What GitHub Actions makes of a log: groups, errors, and the summary of a step.
//!
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// GitHub takes no more of a step's summary.
const MAX_SUMMARY_BYTES: u64 = 1 << 20;

const HEADER: &str = "| Job | Outcome | Took | Stages |\n| --- | --- | --- | --- |\n";

/// Whether this runs in GitHub Actions.
pub(super) fn is_here() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// The line that begins a group in the log. It ends the one before only where that has been ended.
pub(super) fn group(title: &str) -> String {
    format!("::group::{}", data(title))
}

pub(super) const END_GROUP: &str = "::endgroup::";

/// The line that shows an error above the log.
pub(super) fn error(title: &str, message: &str) -> String {
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::error title={title}::{}", data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A job's row in the summary of its step.
#[derive(Debug)]
pub(super) struct SummaryRow<'a> {
    pub(super) job: &'a str,
    /// Its page.
    pub(super) link: Option<&'a str>,
    pub(super) outcome: &'a str,
    pub(super) took: &'a str,
    /// Each with its duration.
    pub(super) stages: &'a [(String, String)],
}

impl SummaryRow<'_> {
    /// Appends it to the file that GitHub named; the jobs of a step are rows of one table.
    pub(super) fn append_to(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.seek(SeekFrom::Start(0))?;
        let mut before = String::new();
        Read::by_ref(&mut file).take(MAX_SUMMARY_BYTES).read_to_string(&mut before)?;
        file.write_all(self.text(&before).as_bytes())
    }

    fn text(&self, before: &str) -> String {
        let mut text = String::new();
        let goes_on = before
            .rfind(HEADER)
            .is_some_and(|at| before[at..].lines().all(|line| line.starts_with("| ")));
        if !goes_on {
            let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n\n" };
            text.push_str(gap);
            text.push_str(HEADER);
        }
        let job = match self.link {
            Some(link) => format!("[{}]({link})", cell(self.job)),
            None => cell(self.job),
        };
        let stages: Vec<String> =
            self.stages.iter().map(|(stage, took)| format!("{} {took}", cell(stage))).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "| {job} | {} | {} | {} |",
            cell(self.outcome),
            self.took,
            stages.join(", ")
        );
        text
    }
}

/// A text that stays in its cell, and is not markup.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in text.chars() {
        match c {
            '|' | '[' | ']' | '`' | '*' | '_' | '\\' => cell.extend(['\\', c]),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_escaped() {
        assert_eq!(group("r1: 50%\n::x"), "::group::r1: 50%25%0A::x");
        assert_eq!(error("a: b, c", "one\ntwo"), "::error title=a%3A b%2C c::one%0Atwo");
    }

    #[test]
    fn the_jobs_of_a_step_are_rows_of_one_table() {
        let stages =
            [("fetch|x".to_owned(), "0:12".to_owned()), ("cut".to_owned(), "1:03".to_owned())];
        let row = |job| SummaryRow {
            job,
            link: Some("http://h/?job=a"),
            outcome: "completed",
            took: "1:15",
            stages: &stages,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary");
        row("a").append_to(&path).unwrap();
        row("<b>").append_to(&path).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"Others").unwrap();
        row("c").append_to(&path).unwrap();
        let rest = "| completed | 1:15 | fetch\\|x 0:12, cut 1:03 |\n";
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                "{HEADER}| [a](http://h/?job=a) {rest}| [&lt;b>](http://h/?job=a) {rest}Others\n\n{HEADER}| [c](http://h/?job=a) {rest}"
            )
        );
    }
}
