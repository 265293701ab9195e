//! `milepost watch`: jobs as they go on, until they end.

mod child_rows;
mod family;
mod keys;
mod matching;
mod plain;
mod rows;
mod view;
mod watched_jobs;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, State, Timestamp};
use milepost_watcher::{Connection, Event, Rejection, Watcher, Watches};
use tokio::time::MissedTickBehavior;

use crate::bars::{JobTimes, Suspension, Terminal};
use crate::client::{Client, RequestError, ServerArgs, token};
use crate::complete;
use crate::exit::{ExitCode, complain, warn};
use crate::jobs::Filter;
use crate::serve::asked_to_stop;
use family::{Family, Parent};
use matching::{Listing, MAX_MATCHING, Matching};
use view::View;
use watched_jobs::{ConnectionState, WatchedJobs};

/// How often ages and spinners move.
const TICK: Duration = Duration::from_millis(100);

/// Without --timeout, a job that the list had and has no longer is given up after this. A worker that goes on would have been heard
/// by then.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// Some of the jobs that match at the start are not watched.
const TOO_MANY: &str = "there are more than 1,000 such jobs: those that began last are watched";

/// The same of jobs that began later.
const NO_ROOM: &str = "1,000 jobs are watched: those that begin later are not";

/// Watch jobs until they have ended.
///
/// On a terminal, each job has a bar. If not all bars fit, the arrow keys scroll and q leaves. Elsewhere, a line is printed for each
/// new stage, for each 5 % and for the outcome. After a lost connection, the last known state stays visible until the connection is back.
///
/// Instead of ids, --all, --prefix, --name, --tag, --parent and --q select among the jobs that have not ended. Jobs that begin later and match are
/// added, and the command ends when none is left.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 all jobs completed, 1 any failed, 3 any was cancelled and none failed, \
    4 no connection within --timeout, or the server rejects the watch, 5 a job is still unknown after --timeout, or the server \
    no longer lists a selected job, 64 wrong usage, \
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
    /// Give up after this many seconds without a connection, and on a job that has been unknown for as long
    /// [default: never]
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
            Ok((jobs, _)) if jobs.is_empty() => {
                warn("there is no such job that has not ended");
                return ExitCode::Success;
            }
            Ok(found) => found,
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
            let timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
            watch_listed(url, jobs, listing, self.json, timeout, stop).await
        });
        // A list that is under way is not waited for.
        runtime.shutdown_background();
        code
    }

    fn named_or_listed(&self, url: &str) -> Result<(Vec<JobId>, Option<Listing>), RequestError> {
        if !self.all && self.filter.is_empty() {
            return Ok((self.jobs.clone(), None));
        }
        let mut listing = Listing::new(Client::new(url)?, self.filter.clone());
        let matching = listing.first()?;
        if matching.more {
            warn(TOO_MANY);
            listing.said_more = true;
        }
        Ok((matching.jobs, Some(listing)))
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
            Some(token) => watcher.token(&token),
            None => watcher,
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
    let lists = Lists { listing, family };
    let code = follow(watches, &mut watched_jobs, lists, &mut view, timeout, stop).await;
    view.leave(&watched_jobs);
    code
}

/// What is asked of the server besides the states of the jobs.
struct Lists {
    /// More jobs to watch.
    listing: Option<Listing>,
    /// Children of those that are watched.
    family: Option<Family>,
}

async fn follow(
    mut watches: Watches,
    watched_jobs: &mut WatchedJobs,
    lists: Lists,
    view: &mut View,
    timeout: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    let Lists { mut listing, mut family } = lists;
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(TICK);
    // Those that were due while the process was stopped are one.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut suspension = if view.draws() { Suspension::catch() } else { Suspension::usual() };
    let mut refused = None;
    // All have ended, and the list is asked for once more.
    let mut is_closing = false;
    loop {
        let parents = watched_jobs.parents();
        let shown = tokio::select! {
            () = &mut stop => return ExitCode::Interrupted,
            () = suspension.requested() => view.suspend(watched_jobs),
            _ = ticks.tick() => {
                let now = Instant::now();
                let shown = view.tick(watched_jobs, now);
                let disconnected = watched_jobs.disconnected_for(now);
                if timeout.is_some_and(|timeout| disconnected.is_some_and(|since| since >= timeout)) {
                    return complain(watched_jobs.disconnect_reason(), ExitCode::Unreachable);
                }
                if let Some(patience) = timeout.or(listing.is_some().then_some(FORGOTTEN)) {
                    watched_jobs.give_up_unknown(now, patience);
                }
                shown
            }
            event = watches.next() => match event {
                None => return ended_early(refused),
                Some(Event::Connection(Connection::Rejected(reason))) => {
                    refused = Some(reason);
                    Ok(())
                }
                Some(event) => take(event, watched_jobs, view),
            },
            Some(listed) = next_children(family.as_mut(), &parents) => {
                for (parent, states) in listed {
                    watched_jobs.children(&parent.job, &states);
                }
                Ok(())
            }
            Some(listed) = next_list(listing.as_mut()) => {
                // Without an answer there is nothing to add; that the server is away is said of the connection.
                let joined = listed.map_or(Joined::None, |it| join(it, &watches, watched_jobs));
                if let (Joined::NotAll, Some(listing)) = (joined, &mut listing)
                    && !std::mem::replace(&mut listing.said_more, true)
                {
                    view.too_many(NO_ROOM);
                }
                if is_closing && joined != Joined::All {
                    listing = None;
                }
                Ok(())
            }
        };
        if shown.is_err() {
            return ExitCode::OutputClosed;
        }
        if view.is_quit() {
            return ExitCode::Interrupted;
        }
        // Not left to the watcher's `close_at_end`: a job may have ended before the last one is subscribed.
        match (watched_jobs.exit_code(), &mut listing) {
            (Some(code), None) => {
                watches.close().await;
                return code;
            }
            (Some(_), Some(listing)) if !is_closing => {
                is_closing = true;
                listing.ask();
            }
            (Some(_), Some(_)) => {}
            (None, _) => is_closing = false,
        }
    }
}

/// None without a list.
async fn next_list(listing: Option<&mut Listing>) -> Option<Result<Matching, RequestError>> {
    Some(listing?.next().await)
}

/// None where children are not shown.
async fn next_children(
    family: Option<&mut Family>,
    parents: &[Parent],
) -> Option<Vec<(Parent, Vec<State>)>> {
    Some(family?.next(parents).await)
}

/// What became of a list's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// All are watched already.
    None,
    All,
    /// There is no room for all of them.
    NotAll,
}

/// Watches the jobs that are listed and not watched yet, as far as there is room.
fn join(matching: Matching, watches: &Watches, watched_jobs: &mut WatchedJobs) -> Joined {
    let mut joined = Joined::None;
    if !matching.more {
        watched_jobs.listed(&matching.jobs, Instant::now());
    }
    for job in matching.jobs {
        if watched_jobs.knows(&job) {
            continue;
        }
        if watched_jobs.watched().len() >= MAX_MATCHING || watches.subscribe(job.clone()).is_err() {
            return Joined::NotAll;
        }
        watched_jobs.add(job);
        joined = Joined::All;
    }
    joined
}

/// The watcher's own end. Whatever it is, it is no job's outcome.
fn ended_early(refused: Option<Rejection>) -> ExitCode {
    match refused {
        Some(refused) => complain(refused, ExitCode::Unreachable),
        None => complain(
            "the server closed the connection before the jobs have ended",
            ExitCode::Unreachable,
        ),
    }
}

/// Keeps what an event says, and shows it.
fn take(event: Event, watched_jobs: &mut WatchedJobs, view: &mut View) -> io::Result<()> {
    let now = Instant::now();
    match event {
        Event::State(state) => {
            let index = watched_jobs.state(&state, now, age(&state));
            view.state(watched_jobs, index, &state)
        }
        Event::Unknown(job) => {
            watched_jobs.unknown(&job, now);
            Ok(())
        }
        Event::JobRejected { job, message, .. } => {
            let index = watched_jobs.refused(&job, message);
            view.refused(watched_jobs, index);
            Ok(())
        }
        Event::Unreadable { job, message } => {
            watched_jobs.unreadable(&job);
            view.unreadable(&job, &message);
            Ok(())
        }
        Event::Connection(Connection::Connected) => {
            view.connected(&watched_jobs.link);
            watched_jobs.connected();
            Ok(())
        }
        Event::Connection(Connection::Lost { reason, .. }) => {
            let is_news =
                matches!(watched_jobs.link, ConnectionState::Up | ConnectionState::Connecting);
            watched_jobs.lost(&reason, now);
            if is_news {
                view.lost(watched_jobs);
            }
            Ok(())
        }
        Event::Connection(Connection::Done | Connection::Rejected(_)) => Ok(()),
    }
}

/// How long ago that state was reported, by the server's clock if it says so, and ours. What lies in the future is now.
fn age(state: &State) -> Duration {
    let reported = JobTimes::of(state).reported;
    reported.map_or(Duration::ZERO, |reported| Timestamp::now().since(reported))
}
