//! `milepost open`: a job's page in the browser.

use std::process::{Command, Stdio};

use milepost_protocol::JobId;

use crate::client::ServerArgs;
use crate::complete;
use crate::exit::{ExitCode, complain};
use crate::run::page;

/// Open a job's page in the browser: $BROWSER, or the system's default.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let url = match self.server.http_url() {
            Ok(url) => page(url, &self.job),
            Err(error) => return complain(&error, error.exit_code()),
        };
        let browser = std::env::var_os("BROWSER").filter(|browser| !browser.is_empty());
        let default = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let mut command = Command::new(browser.unwrap_or_else(|| default.into()));
        command.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => ExitCode::Success,
            _ => complain(
                format_args!("no browser could be opened; the page is {url}"),
                ExitCode::Failure,
            ),
        }
    }
}
