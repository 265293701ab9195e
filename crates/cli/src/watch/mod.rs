//! `milepost watch`: shows jobs until they have ended.

mod child_rows;
mod childless;
mod family;
mod follow;
mod keys;
mod matching;
mod plain;
mod rows;
mod view;
mod watched_jobs;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use milepost_protocol::JobId;
use milepost_watcher::Watcher;

use crate::bars::Terminal;
use crate::client::{Client, RequestError, ServerArgs, token};
use crate::complete;
use crate::exit::{ExitCode, complain, warn};
use crate::jobs::Filter;
use crate::serve::asked_to_stop;
use childless::{NONE_LEFT, Waited};
use family::Family;
use follow::Follow;
use matching::Listing;
use view::View;
use watched_jobs::WatchedJobs;

/// Some of the jobs that match at the start are not watched.
const TOO_MANY: &str = "there are more than 1,000 such jobs: those that began last are watched";

/// Watch jobs until they have ended.
///
/// On a terminal, each job has a bar. If not all bars fit, the arrow keys scroll and q leaves. Elsewhere, a line is printed for each
/// new stage, for each 5 % and for the outcome. After a lost connection, the last known state stays visible until the connection is back.
///
/// Instead of ids, --all, --prefix, --name, --tag, --parent and --q select among the jobs that have not ended. Jobs that begin later and match are
/// added, and the command ends when none is left. If none has begun, --parent waits for the children of a job that has not ended, also of one that
/// is not known yet; of one that has ended, the exit code says how.
///
/// A job that is not known yet is waited for. A job that the server forgets before it has ended, because its worker died and its time to
/// live is over, or because it was deleted, is given up, and the exit code is 5.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 all jobs completed, 1 any failed, 3 any was cancelled and none failed, \
    4 no connection within --timeout, or the server cannot serve the watch, 5 a job is still unknown after --timeout, or was forgotten \
    before it ended, 64 wrong usage, 77 the credential is refused or does not allow to watch a job, \
    130 interrupted. 1 always means that a job failed."
)]
pub(crate) struct Args {
    /// The jobs' ids
    #[arg(required_unless_present_any = ["all", "prefix", "name", "tags", "parent", "q"], value_name = "JOB", value_parser = JobId::parse, add = complete::job_ids(),
        conflicts_with_all = ["all", "prefix", "name", "tags", "parent", "q"])]
    jobs: Vec<JobId>,
    /// All jobs that have not ended, 1,000 at most
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Print each state as a line of JSON
    #[arg(long)]
    json: bool,
    /// Give up after this many seconds without a connection, and on a job that has been unknown for as long [default: never; after a
    /// minute on a job that the server has forgotten before it ended]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let url = match self.server.http_url() {
            Ok(url) => url,
            Err(error) => return complain(&error, error.exit_code()),
        };
        let (jobs, listing) = match self.named_or_listed(url) {
            Ok(Selected::Jobs(jobs, listing)) => (jobs, listing),
            Ok(Selected::Nothing(why, code)) => return complain(why, code),
            Err(error) => return complain(&error, error.exit_code()),
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(format_args!("cannot start: {error}"), ExitCode::Unreachable);
            }
        };
        let code = runtime.block_on(async {
            let stop = match asked_to_stop() {
                Ok(stop) => stop,
                Err(error) => {
                    return complain(
                        format_args!("cannot catch signals: {error}"),
                        ExitCode::Unreachable,
                    );
                }
            };
            watch_listed(url, jobs, listing, self.json, self.timeout(), stop).await
        });
        // A list that is under way is not waited for.
        runtime.shutdown_background();
        code
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn named_or_listed(&self, url: &str) -> Result<Selected, RequestError> {
        if !self.all && self.filter.is_empty() {
            return Ok(Selected::Jobs(self.jobs.clone(), None));
        }
        let mut listing = Listing::new(Client::new(url)?, self.filter.clone());
        let mut matching = listing.first()?;
        if matching.jobs.is_empty() {
            let Some(parent) = self.filter.parent() else {
                return Ok(Selected::Nothing(NONE_LEFT.to_owned(), ExitCode::Success));
            };
            match childless::wait(&listing, &Client::new(url)?, parent, self.timeout())? {
                Waited::For(children) => matching = children,
                Waited::Over(why, code) => return Ok(Selected::Nothing(why, code)),
            }
        }
        if matching.more {
            warn(TOO_MANY);
            listing.said_more = true;
        }
        Ok(Selected::Jobs(matching.jobs, Some(listing)))
    }
}

/// What the arguments select.
enum Selected {
    Jobs(Vec<JobId>, Option<Listing>),
    /// Nothing that could be watched, and why.
    Nothing(String, ExitCode),
}

/// Shows the jobs on this server until they have ended, or `stop` is done.
pub(crate) async fn watch(
    url: &str,
    jobs: Vec<JobId>,
    json: bool,
    timeout: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    watch_listed(url, jobs, None, json, timeout, stop).await
}

/// Like [`watch`]; also the jobs that a later list has.
async fn watch_listed(
    url: &str,
    jobs: Vec<JobId>,
    listing: Option<Listing>,
    json: bool,
    timeout: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    let watcher = match Watcher::new(url) {
        Ok(watcher) => match token() {
            Ok(Some(token)) => watcher.token(&token),
            Ok(None) => watcher,
            Err(error) => return complain(&error, error.exit_code()),
        },
        Err(error) => return complain(error, ExitCode::Usage),
    };
    let mut watched_jobs = WatchedJobs::new(jobs, Instant::now());
    let watches = watcher.watch_many();
    for job in watched_jobs.jobs() {
        if let Err(error) = watches.subscribe(job.clone()) {
            return complain(error, ExitCode::Usage);
        }
    }
    let terminal = Terminal::for_bars().filter(|_| io::stdout().is_terminal());
    let mut view = View::new(json, terminal);
    // Only bars have room for children.
    let family = Client::new(url).ok().filter(|_| view.draws()).map(Family::new);
    let (watched_jobs, view) = (&mut watched_jobs, &mut view);
    let follow = Follow {
        watches,
        watched_jobs,
        view,
        listing,
        family,
        timeout,
        rejected: None,
        is_closing: false,
    };
    let code = follow.run(stop).await;
    view.leave(watched_jobs);
    code
}
