//! `milepost status`: a job's present state, once.

use std::fmt::Write as _;
use std::io::{self, Write};

use milepost_protocol::{JobId, State};

use serde_json::value::RawValue;

use crate::bars::{JobSummary, sanitized};
use crate::client::{Client, ServerArgs};
use crate::exit::{ExitCode, complain, printed};

/// Show a job's present state.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse)]
    job: JobId,
    /// As JSON, on one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        match Client::new(self.server.url()).and_then(|client| client.state(&self.job)) {
            Ok(Some(state)) => {
                let text = if self.json { format!("{}\n", state.json()) } else { in_words(&state) };
                printed(io::stdout().write_all(text.as_bytes()))
            }
            Ok(None) => {
                complain(format_args!("the job {} is not known", self.job), ExitCode::UnknownJob)
            }
            Err(error) => complain(&error, error.exit_code()),
        }
    }
}

fn in_words(state: &State) -> String {
    let summary = JobSummary::of(state);
    let view = state.view();
    let mut text = format!("{}: {}", state.job(), state.status());
    if let Some(progress) = summary.progress.filter(|_| !state.status().is_end()) {
        let _ = write!(text, ", {}", crate::bars::percent(progress).trim_start());
    }
    text.push('\n');
    let mut field = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            let _ = writeln!(text, "{name:>10}  {}", sanitized(value));
        }
    };
    field("stage", Some(&summary.stage));
    // A legacy worker's message is its error once more.
    let repeats = |message: &&str| {
        summary.error.as_deref().is_some_and(|error| message.trim_start_matches("Error: ") == error)
    };
    field("message", summary.message.as_deref().filter(|message| !repeats(message)));
    field("error", summary.error.as_deref());
    field(
        "metadata",
        view.metadata.map(RawValue::get).filter(|json| !matches!(*json, "null" | "{}")),
    );
    field("result", view.result.map(RawValue::get).filter(|json| *json != "null"));
    field(
        "attempt",
        Some(&state.attempt().to_string()).filter(|_| state.attempt() > 1).map(String::as_str),
    );
    field("reported", view.timestamp.as_deref());
    field("position", Some(&state.position().to_string()));
    text
}
