//! `milepost watch`: jobs as they go on, until they end.

mod plain;
mod view;
mod watched_jobs;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, State, Timestamp};
use milepost_watcher::{Connection, Event, Watcher, Watches};

use crate::bars::Terminal;
use crate::client::ServerArgs;
use crate::exit::{ExitCode, complain};
use crate::serve::asked_to_stop;
use view::View;
use watched_jobs::{ConnectionState, WatchedJobs};

/// How often ages and spinners move.
const TICK: Duration = Duration::from_millis(100);

/// Watch jobs until they have ended.
///
/// On a terminal: a bar each. Elsewhere: a line for each new stage, each 5 % and the outcome. A lost connection is
/// made anew; the last that was heard stays visible.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 all jobs completed, 1 any failed, 3 any was cancelled and none failed, \
    4 no connection within --timeout, 64 wrong usage, 130 interrupted."
)]
pub(crate) struct Args {
    /// The jobs' ids
    #[arg(required = true, value_name = "JOB", value_parser = JobId::parse)]
    jobs: Vec<JobId>,
    /// Print each state as JSON, on a line of its own
    #[arg(long)]
    json: bool,
    /// Give up when there is no connection for so many seconds [default: never]
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
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(format_args!("cannot start: {error}"), ExitCode::Failure);
            }
        };
        runtime.block_on(async {
            let stop = match asked_to_stop() {
                Ok(stop) => stop,
                Err(error) => {
                    return complain(
                        format_args!("cannot catch signals: {error}"),
                        ExitCode::Failure,
                    );
                }
            };
            let timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
            watch(url, self.jobs, self.json, timeout, stop).await
        })
    }
}

/// Shows the jobs on this server until they have ended, or `stop` is done.
pub(crate) async fn watch(
    url: &str,
    jobs: Vec<JobId>,
    json: bool,
    timeout: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    let watcher = match Watcher::new(url) {
        Ok(watcher) => watcher,
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
    let mut view = View::new(json, terminal, &watched_jobs);
    let code = follow(watches, &mut watched_jobs, &mut view, timeout, stop).await;
    view.leave(&watched_jobs);
    code
}

async fn follow(
    mut watches: Watches,
    watched_jobs: &mut WatchedJobs,
    view: &mut View,
    timeout: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(TICK);
    let mut refused = None;
    loop {
        let event = tokio::select! {
            () = &mut stop => return ExitCode::Interrupted,
            _ = ticks.tick() => {
                let now = Instant::now();
                if view.tick(watched_jobs, now).is_err() {
                    return ExitCode::OutputClosed;
                }
                if timeout.is_some_and(|timeout| watched_jobs.disconnected_for(now).is_some_and(|down| down >= timeout)) {
                    return complain(watched_jobs.disconnect_reason(), ExitCode::Unreachable);
                }
                continue;
            }
            event = watches.next() => event,
        };
        let now = Instant::now();
        let shown = match event {
            None => break,
            Some(Event::State(state)) => {
                let index = watched_jobs.state(&state, now, age(&state));
                view.state(watched_jobs, index, &state)
            }
            Some(Event::Unknown(job)) => {
                let index = watched_jobs.unknown(&job);
                view.unknown(watched_jobs, index)
            }
            Some(Event::JobRejected { job, message, .. }) => {
                let index = watched_jobs.refused(&job, message);
                view.refused(watched_jobs, index);
                Ok(())
            }
            Some(Event::Connection(Connection::Connected)) => {
                view.connected(&watched_jobs.link);
                watched_jobs.connected();
                Ok(())
            }
            Some(Event::Connection(Connection::Lost { reason, .. })) => {
                let is_news =
                    matches!(watched_jobs.link, ConnectionState::Up | ConnectionState::Connecting);
                watched_jobs.lost(&reason, now);
                if is_news {
                    view.lost(watched_jobs);
                }
                Ok(())
            }
            Some(Event::Connection(Connection::Rejected(reason))) => {
                refused = Some(reason);
                Ok(())
            }
            Some(Event::Connection(Connection::Done)) => Ok(()),
        };
        if shown.is_err() {
            return ExitCode::OutputClosed;
        }
        // Not left to the watcher's `close_at_end`: a job may have ended before the last one is subscribed.
        if let Some(code) = watched_jobs.exit_code() {
            watches.close().await;
            return code;
        }
    }
    match refused {
        Some(refused) => complain(refused, ExitCode::Failure),
        None => complain(
            "the server closed the connection before the jobs have ended",
            ExitCode::Unreachable,
        ),
    }
}

/// How long ago the worker reported that state, by its clock and ours. What lies in the future is now.
fn age(state: &State) -> Duration {
    let reported = state.view().timestamp.and_then(|t| Timestamp::parse(&t));
    reported.map_or(Duration::ZERO, |reported| Timestamp::now().since(reported))
}
