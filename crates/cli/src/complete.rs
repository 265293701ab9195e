//! What a shell offers for a job's id: the ids that the server knows.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use crate::bars::{JobSummary, percent, sanitized};
use crate::client::{Client, DEFAULT_URL, listed};

/// Set by the shell's code that `milepost completions` prints, when it completes.
pub(crate) const VARIABLE: &str = "_MILEPOST_COMPLETE";

/// Somebody waits at the prompt.
const TIMEOUT: Duration = Duration::from_secs(1);

/// No shell shows more.
const MAX_CANDIDATES: &str = "200";

/// Completes an argument that is the id of a known job.
pub(crate) fn job_ids() -> ArgValueCompleter {
    ArgValueCompleter::new(known_ids)
}

/// The ids that begin so, of the server in `MILEPOST_URL`; none if it does not answer, because a shell shows no errors
/// here.
fn known_ids(begin: &OsStr) -> Vec<CompletionCandidate> {
    let url = std::env::var("MILEPOST_URL").ok().filter(|url| !url.trim().is_empty());
    let url = url.unwrap_or_else(|| DEFAULT_URL.to_owned());
    let prefix = begin.to_string_lossy();
    let query = [("prefix", &*prefix), ("limit", MAX_CANDIDATES)];
    let states = Client::with_timeout(url.trim(), TIMEOUT)
        .and_then(|client| client.jobs(&query))
        .and_then(|json| listed(&json))
        .unwrap_or_default();
    let candidate = |state: &milepost_protocol::State| {
        let summary = JobSummary::of(state);
        let progress = summary.progress.map(|progress| format!(", {}", percent(progress).trim()));
        let help = format!("{}{}", state.status(), progress.unwrap_or_default());
        CompletionCandidate::new(state.job().as_str())
            .help(Some(sanitized(&help).into_owned().into()))
    };
    states.iter().map(candidate).collect()
}
