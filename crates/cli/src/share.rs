//! `milepost share`: a link to a job's page that lets whoever has it watch.

use std::io::{self, Write};
use std::time::Duration;

use milepost_access::{Pattern, Permissions};
use milepost_protocol::{JobId, View};

use crate::client::{Client, RequestError, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, printed, warn};
use crate::run::page;
use crate::token::{NOTHING_TO_SIGN_WITH, Signer, duration};

const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// Print a link with which everybody who has it can watch a job, for a while.
///
/// The link leads to the job's page and contains a token that allows only to watch this job. The page shows how far the job is; with
/// --full, also its metadata, result, error and log. The token is signed like those of milepost token. If the server requires no
/// credentials, the link has no token.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    /// How long the link works: 90s, 15m, 12h, 7d [default: 7d]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime: Option<Duration>,
    /// Show everything of the job
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    signer: Signer,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let url = match self.server.http_url() {
            Ok(url) => url,
            Err(error) => return complain(&error, error.exit_code()),
        };
        let link = page(url, &self.job);
        if !self.signer.has_key() {
            return self.share_plainly(url, &link);
        }
        // The id of a job may read like a pattern of another kind: tag:…, parent:….
        let pattern = Pattern::parse(self.job.as_str()).ok();
        let Some(pattern) = pattern.filter(|pattern| pattern.matches(self.job.as_str())) else {
            let problem = format_args!("no token can name the job {} alone", self.job);
            return complain(problem, ExitCode::Usage);
        };
        let view = if self.full { View::Full } else { View::Public };
        let watch = vec![pattern];
        let permissions = Permissions { watch, view, ..Permissions::default() };
        let token = match self.signer.token(permissions, None, self.lifetime.unwrap_or(LIFETIME)) {
            Ok(token) => token,
            Err(problem) => return complain(problem, ExitCode::Usage),
        };
        // With the token itself, so that a link that cannot work is not printed.
        match Client::with_token(url, Some(&token)).and_then(|client| client.state(&self.job)) {
            Ok(Some(_)) => {}
            Ok(None) => warn(format_args!("the job {} is not known yet", self.job)),
            Err(error @ RequestError::Unreachable { .. }) => {
                warn(format_args!("{error}; whether the link works is not known"));
            }
            Err(error) => return complain(&error, error.exit_code()),
        }
        printed(writeln!(io::stdout(), "{link}#token={token}"))
    }

    /// The link without a token, if everybody may watch the job.
    fn share_plainly(&self, url: &str, link: &str) -> ExitCode {
        let job = &self.job;
        match Client::with_token(url, None).and_then(|client| client.state(job)) {
            Ok(Some(_)) if self.lifetime.is_some() => {
                let problem = "the server requires no credentials, so the link would not expire: leave out --for";
                complain(problem, ExitCode::Usage)
            }
            Ok(Some(_)) => printed(writeln!(io::stdout(), "{link}")),
            Ok(None) => complain(format_args!("the job {job} is not known"), ExitCode::UnknownJob),
            Err(error @ RequestError::Refused(_)) => {
                complain(format_args!("{error}; {NOTHING_TO_SIGN_WITH}"), ExitCode::Usage)
            }
            Err(error) => complain(&error, error.exit_code()),
        }
    }
}
