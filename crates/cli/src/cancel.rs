//! `milepost cancel`, `pause` and `resume`: requests to a job's worker.

use std::io::{self, Write};

use milepost_protocol::{Action, JobId};
use serde_json::json;

use crate::client::{Client, RequestError, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, printed};

/// Request that a job be cancelled. Its worker decides; until then, watchers see the request.
#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    to: To,
    /// End a job whose worker has not answered a request to cancel it for five minutes
    #[arg(long)]
    abandon: bool,
}

/// Request that a job be paused.
#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    to: To,
}

/// Request that a paused job continue.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    to: To,
}

#[derive(Debug, clap::Args)]
struct To {
    /// The jobs' ids
    #[arg(required = true, value_name = "JOB", value_parser = JobId::parse, add = complete::job_ids())]
    jobs: Vec<JobId>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who requests it, for people
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl Cancel {
    pub(crate) fn run(self) -> ExitCode {
        self.to.request(if self.abandon { "abandon" } else { Action::Cancel.as_str() })
    }
}

impl Pause {
    pub(crate) fn run(self) -> ExitCode {
        self.to.request(Action::Pause.as_str())
    }
}

impl Resume {
    pub(crate) fn run(self) -> ExitCode {
        self.to.request(Action::Resume.as_str())
    }
}

impl To {
    /// All jobs are tried; the exit code is that of the first that fails.
    fn request(self, action: &str) -> ExitCode {
        let client = match Client::new(self.server.url()) {
            Ok(client) => client,
            Err(error) => return complain(&error, error.exit_code()),
        };
        let mut body = json!({ "action": action });
        let texts = [("by", self.by), ("reason", self.reason)];
        for (name, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                body[name] = text.into();
            }
        }
        let mut code = ExitCode::Success;
        for job in &self.jobs {
            let outcome = match client.request(job, &body) {
                Ok(_) => {
                    let done = if action == "abandon" { "abandoned" } else { "requested to" };
                    let what = if action == "abandon" { "" } else { action };
                    let line = format!("{job}: {done} {what}");
                    printed(writeln!(io::stdout(), "{}", line.trim_end()))
                }
                Err(error) => complain(format_args!("{job}: {error}"), exit_code(&error)),
            };
            if code == ExitCode::Success {
                code = outcome;
            }
        }
        code
    }
}

fn exit_code(error: &RequestError) -> ExitCode {
    if error.is_unknown_job() { ExitCode::UnknownJob } else { error.exit_code() }
}
