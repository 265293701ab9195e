//! `milepost jobs`: what a server knows, as a table.

use std::io::{self, IsTerminal, Write};

use milepost_protocol::{State, Status, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bars::{JobSummary, sanitized};
use crate::client::{Client, RequestError, ServerArgs};
use crate::exit::{ExitCode, complain, printed, warn};
use crate::report::status;

/// The most that a server gives at once.
const PAGE: usize = 1000;

/// List the jobs that the server knows, the most recently begun first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those with this status; may be given several times, or with commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    status: Vec<Status>,
    /// Only those whose id begins so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// As JSON, a state on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `spec/README.md`, section 10.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
    next: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let client = match Client::new(self.server.url()) {
            Ok(client) => client,
            Err(error) => return complain(&error, error.exit_code()),
        };
        let mut left = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut after = None;
        let mut table = Table::default();
        loop {
            let json = match self.page(&client, left.min(PAGE), after.as_deref()) {
                Ok(json) => json,
                Err(error) => return complain(&error, error.exit_code()),
            };
            let Ok(page) = serde_json::from_str::<Page<'_>>(&json) else {
                return complain(RequestError::UnreadableList, ExitCode::Failure);
            };
            left = left.saturating_sub(page.jobs.len());
            for job in &page.jobs {
                if self.json {
                    if let Err(error) = writeln!(io::stdout(), "{}", job.get()) {
                        return printed(Err(error));
                    }
                } else if let Ok(state) = State::parse(job.get()) {
                    table.add(&state);
                }
            }
            after = page.next;
            if left == 0 || after.is_none() || page.jobs.is_empty() {
                break;
            }
        }
        if table.rows.is_empty() && !self.json {
            warn("no such jobs are known");
        }
        let width =
            io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1));
        printed(io::stdout().write_all(table.text(width).as_bytes()))
    }

    fn page(
        &self,
        client: &Client,
        limit: usize,
        after: Option<&str>,
    ) -> Result<String, RequestError> {
        let limit = limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(self.status.iter().map(|s| ("status", s.as_str())));
        query.extend(self.prefix.as_deref().map(|p| ("prefix", p)));
        query.extend(after.map(|a| ("after", a)));
        client.jobs(&query)
    }
}

/// The states of a page, those that can be read.
pub(crate) fn listed(json: &str) -> Result<Vec<State>, RequestError> {
    let page: Page<'_> = serde_json::from_str(json).map_err(|_| RequestError::UnreadableList)?;
    Ok(page.jobs.iter().filter_map(|job| State::parse(job.get()).ok()).collect())
}

/// How long ago the job was reported, in its largest unit.
fn age(state: &State) -> String {
    let reported = state.view().timestamp.and_then(|text| Timestamp::parse(&text));
    let Some(reported) = reported else { return String::new() };
    let seconds = Timestamp::now().since(reported).as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[derive(Default)]
struct Table {
    rows: Vec<[String; 5]>,
}

impl Table {
    fn add(&mut self, state: &State) {
        let summary = JobSummary::of(state);
        let progress = summary
            .progress
            .map_or_else(String::new, |p| crate::bars::percent(p).trim_start().to_owned());
        let row = [
            state.job().to_string(),
            state.status().to_string(),
            progress,
            age(state),
            sanitized(&summary.details()).into_owned(),
        ];
        self.rows.push(row);
    }

    /// Nothing at all if there are no rows.
    fn text(&self, width: Option<usize>) -> String {
        let header = ["JOB", "STATUS", "DONE", "UPDATED", "DETAILS"].map(str::to_owned);
        let rows = || std::iter::once(&header).chain(&self.rows);
        let widths: [usize; 4] = std::array::from_fn(|column| {
            rows().map(|row| console::measure_text_width(&row[column])).max().unwrap_or(0)
        });
        let mut text = String::new();
        for row in rows().filter(|_| !self.rows.is_empty()) {
            let mut line = String::new();
            for (column, width) in widths.iter().enumerate() {
                line.push_str(&console::pad_str(
                    &row[column],
                    *width,
                    console::Alignment::Left,
                    None,
                ));
                line.push_str("  ");
            }
            line.push_str(&row[4]);
            let line = width.map_or_else(
                || line.as_str().into(),
                |width| console::truncate_str(&line, width, "…"),
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}
