//! Follows jobs from event to event, until they have ended.

use std::io;
use std::time::{Duration, Instant};

use milepost_protocol::{ProblemType, State, Timestamp};
use milepost_watcher::{Connection, Event, Rejection, Watches};
use tokio::time::MissedTickBehavior;

use super::family::{Family, Parent};
use super::matching::{Listing, MAX_MATCHING, Matching};
use super::view::View;
use super::watched_jobs::{ConnectionState, WatchedJobs};
use crate::bars::{JobTimes, Suspension};
use crate::client::RequestError;
use crate::exit::{ExitCode, complain};

/// How often ages and spinners move.
const TICK: Duration = Duration::from_millis(100);

/// Without --timeout, a job that is no longer listed is given up after this. A running worker would have reported by
/// then.
const UNLISTED: Duration = Duration::from_secs(15);

/// Without --timeout, a job that was named and that the server has forgotten is given up after this. After an outage, in which a server
/// without a data directory forgets all jobs, a reporter tries again within 30 s.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(60);

/// Some of the jobs that began later are not watched.
const NO_ROOM: &str = "1,000 jobs are watched: those that begin later are not";

/// Jobs that are followed.
pub(super) struct Follow<'a> {
    pub(super) watches: Watches,
    pub(super) watched_jobs: &'a mut WatchedJobs,
    pub(super) view: &'a mut View,
    /// Lists more jobs to watch.
    pub(super) listing: Option<Listing>,
    /// Lists the children of the watched jobs.
    pub(super) family: Option<Family>,
    /// How long to wait without a connection, and for an unknown job.
    pub(super) timeout: Option<Duration>,
    /// Why the server rejects the watcher.
    pub(super) rejected: Option<Rejection>,
    /// All jobs have ended, and more jobs are listed a last time.
    pub(super) is_closing: bool,
}

impl Follow<'_> {
    /// Shows the jobs until they have ended, or `stop` is done.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> ExitCode {
        tokio::pin!(stop);
        let mut ticks = tokio::time::interval(TICK);
        // Ticks that were due while the process was stopped are one.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut suspension =
            if self.view.draws() { Suspension::catch() } else { Suspension::usual() };
        loop {
            let parents = self.watched_jobs.parents();
            let step = tokio::select! {
                () = &mut stop => Err(ExitCode::Interrupted),
                () = suspension.requested() => written(self.view.suspend(self.watched_jobs)),
                _ = ticks.tick() => self.tick(Instant::now()),
                event = self.watches.next() => self.event(event),
                Some(listed) = next_children(self.family.as_mut(), &parents) => {
                    for (parent, states) in listed {
                        self.watched_jobs.children(&parent.job, &states);
                    }
                    Ok(())
                }
                Some(listed) = next_list(self.listing.as_mut()) => {
                    self.listed(listed);
                    Ok(())
                }
            };
            if let Err(code) = step {
                return code;
            }
            if self.view.is_quit() {
                return ExitCode::Interrupted;
            }
            if let Some(code) = self.exit_code() {
                self.watches.close().await;
                return code;
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), ExitCode> {
        let shown = self.view.tick(self.watched_jobs, now);
        if let (Some(timeout), Some(disconnected)) =
            (self.timeout, self.watched_jobs.disconnected_for(now))
            && disconnected >= timeout
        {
            let reason = self.watched_jobs.disconnect_reason();
            return Err(complain(reason, ExitCode::Unreachable));
        }
        match self.timeout.or(self.listing.is_some().then_some(UNLISTED)) {
            Some(patience) => self.watched_jobs.give_up_unknown(now, patience),
            None => self.watched_jobs.give_up_forgotten(now, FORGOTTEN),
        }
        written(shown)
    }

    fn event(&mut self, event: Option<Event>) -> Result<(), ExitCode> {
        match event {
            None => Err(ended_early(self.rejected.take())),
            Some(Event::Connection(Connection::Rejected(reason))) => {
                self.rejected = Some(reason);
                Ok(())
            }
            Some(event) => written(show(event, self.watched_jobs, self.view)),
        }
    }

    fn listed(&mut self, listed: Result<Matching, RequestError>) {
        // Without a response, there is nothing to add. That the server is away shows in the connection.
        let joined = listed.map_or(Joined::None, |matching| self.join(matching));
        if let (Joined::NotAll, Some(listing)) = (joined, &mut self.listing)
            && !std::mem::replace(&mut listing.said_more, true)
        {
            self.view.too_many(NO_ROOM);
        }
        if self.is_closing && joined != Joined::All {
            self.listing = None;
        }
    }

    /// Watches the listed jobs that are not watched yet, as far as there is room.
    fn join(&mut self, matching: Matching) -> Joined {
        let mut joined = Joined::None;
        if !matching.more {
            self.watched_jobs.listed(&matching.jobs, Instant::now());
        }
        for job in matching.jobs {
            if self.watched_jobs.knows(&job) {
                continue;
            }
            if self.watched_jobs.watched().len() >= MAX_MATCHING
                || self.watches.subscribe(job.clone()).is_err()
            {
                return Joined::NotAll;
            }
            self.watched_jobs.add(job);
            joined = Joined::All;
        }
        joined
    }

    /// Set once all jobs have ended, and the list has no more. The watcher's `close_at_end` does not suffice: a job may
    /// end before the last one is subscribed.
    fn exit_code(&mut self) -> Option<ExitCode> {
        let code = self.watched_jobs.exit_code();
        match (code, &mut self.listing) {
            (Some(_), None) => return code,
            (Some(_), Some(listing)) if !self.is_closing => {
                self.is_closing = true;
                listing.ask();
            }
            (Some(_), Some(_)) => {}
            (None, _) => self.is_closing = false,
        }
        None
    }
}

/// A failed write of the output ends the command.
fn written(result: io::Result<()>) -> Result<(), ExitCode> {
    result.map_err(|_| ExitCode::OutputClosed)
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

/// Whether the jobs of a list could be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// All are watched already.
    None,
    All,
    /// There is no room for all of them.
    NotAll,
}

/// The watcher has ended before the jobs. That is not the outcome of a job.
fn ended_early(rejected: Option<Rejection>) -> ExitCode {
    match rejected {
        Some(rejection) => {
            let code = match rejection {
                Rejection::Http { status: 401 | 403, .. }
                | Rejection::Closed { code: 4401 | 4403, .. } => ExitCode::Forbidden,
                _ => ExitCode::Unreachable,
            };
            complain(rejection, code)
        }
        None => complain(
            "the server closed the connection before the jobs have ended",
            ExitCode::Unreachable,
        ),
    }
}

/// Applies an event, and shows it.
fn show(event: Event, watched_jobs: &mut WatchedJobs, view: &mut View) -> io::Result<()> {
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
        Event::JobRejected { job, problem, message } => {
            let is_forbidden = [ProblemType::Forbidden, ProblemType::Unauthenticated]
                .iter()
                .any(|kind| kind.name() == problem);
            let code = if is_forbidden { ExitCode::Forbidden } else { ExitCode::Unreachable };
            let index = watched_jobs.refused(&job, message, code);
            view.refused(watched_jobs, index);
            Ok(())
        }
        Event::Unreadable { job, message } => {
            watched_jobs.unreadable(&job);
            view.unreadable(&job, &message);
            Ok(())
        }
        Event::Connection(Connection::Connected) => {
            view.connected(&watched_jobs.link, now);
            watched_jobs.connected();
            Ok(())
        }
        Event::Connection(Connection::Lost { reason, .. }) => {
            let is_new =
                matches!(watched_jobs.link, ConnectionState::Up | ConnectionState::Connecting);
            watched_jobs.lost(&reason, now);
            if is_new {
                view.lost(watched_jobs);
            }
            Ok(())
        }
        Event::Connection(Connection::Done | Connection::Rejected(_)) => Ok(()),
    }
}

/// How long ago the state was reported, by the server's clock if the state has its time. Zero if that is in the future.
fn age(state: &State) -> Duration {
    let reported = JobTimes::of(state).reported;
    reported.map_or(Duration::ZERO, |reported| Timestamp::now().since(reported))
}
