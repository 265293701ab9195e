//! What is known of the jobs that are watched, and of the connection. No I/O, and the time is passed in.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use milepost_protocol::{Health, JobId, Position, State, Status, Timestamp};
use milepost_watcher::ConnectionError;

use super::family::Parent;
use crate::bars::{JobSummary, JobTimes, SILENCE, since};
use crate::exit::ExitCode;

/// After this, a job that the server does not know is shown as unknown. Before, it may be about to begin.
const UNKNOWN: Duration = Duration::from_secs(5);

/// One job that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) job: JobId,
    /// None if the server does not know it, or has not answered yet.
    pub(super) summary: Option<JobSummary>,
    pub(super) times: Option<JobTimes>,
    /// Of the latest state.
    position: Option<Position>,
    /// Those of its children that matter most, as they were listed last.
    pub(super) children: Vec<Child>,
    /// Since when the server answers that it does not know the job.
    unknown_since: Option<Instant>,
    /// It was not known for too long.
    given_up: bool,
    /// The server does not let it be watched.
    pub(super) refused: Option<String>,
    /// What the process exits with for it.
    refused_code: ExitCode,
    /// Whether the server cannot read the job now, so that states may be missing.
    is_unreadable: bool,
    /// When the worker's latest update was reported.
    heard: Option<Instant>,
    /// What the server says of its health.
    health: Option<Health>,
    answered: Answered,
}

/// What the present connection's server has said of a job last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// The first state may be an old one. A job that another connection's server did not know may be known.
    Nothing,
    State,
    Unknown,
}

impl Watched {
    /// The time since the start, and how long it still takes if the server has an estimate.
    pub(super) fn clock(&self) -> Option<String> {
        self.times?.clock(Timestamp::now())
    }

    /// What is known of the job, without what does not hold of a silent worker.
    pub(super) fn shown(&self, now: Instant) -> Option<Cow<'_, JobSummary>> {
        let summary = self.summary.as_ref()?;
        Some(match self.silent_for(now) {
            Some(_) => Cow::Owned(summary.clone().standing()),
            None => Cow::Borrowed(summary),
        })
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.summary.as_ref().map(|summary| summary.status)
    }

    /// The message of a job that was not known for too long.
    pub(super) fn given_up(&self) -> Option<&'static str> {
        let what = match self.summary {
            Some(_) => "forgotten by the server, given up",
            None => "not known, given up",
        };
        self.given_up.then_some(what)
    }

    fn is_unknown(&mut self, now: Instant) {
        self.unknown_since.get_or_insert(now);
        self.answered = Answered::Unknown;
    }

    fn is_unwell(&self) -> bool {
        !self.is_over() && self.summary.as_ref().is_some_and(|summary| summary.health.is_some())
    }

    pub(super) fn is_over(&self) -> bool {
        self.refused.is_some() || self.given_up || self.status().is_some_and(Status::is_end)
    }

    /// How long the server has not known the job, if that is long enough to be shown.
    pub(super) fn unknown_for(&self, now: Instant) -> Option<Duration> {
        let unknown = now.saturating_duration_since(self.unknown_since?);
        (unknown >= UNKNOWN).then_some(unknown)
    }

    /// What comes first where not all rows fit: what failed or is silent, then what runs, then what waits, then the rest.
    pub(super) fn rank(&self, now: Instant) -> u8 {
        match self.status() {
            Some(Status::Failed) => 0,
            _ if self.silent_for(now).is_some() || self.refused.is_some() => 0,
            Some(_) if self.is_unwell() => 0,
            Some(Status::Processing) => 1,
            Some(Status::Cancelled) => 2,
            None => 3,
            Some(Status::Queued) => 4,
            Some(Status::Completed) => 5,
        }
    }

    /// How long a running job has been silent, if that is to be shown.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.heard?);
        let is_shown = match self.health {
            Some(health) => health == Health::Lost,
            None => silent >= SILENCE && !self.has_running_children(),
        };
        let is_running = self.status() == Some(Status::Processing) && !self.is_over();
        (is_shown && is_running).then_some(silent)
    }

    /// Whether children run: meanwhile, their parent's worker may have nothing to report.
    fn has_running_children(&self) -> bool {
        let children = self.summary.as_ref().and_then(|summary| summary.children.as_ref());
        children.is_some_and(|children| children.processing > 0)
    }
}

/// A child of a job that is watched. It is not watched itself.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) job: JobId,
    pub(super) summary: JobSummary,
    pub(super) times: JobTimes,
}

/// Whether updates can arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// It never was up.
    Connecting,
    Up,
    Down {
        reason: String,
        was_up: bool,
    },
}

/// All jobs that are watched, in the order in which they were named.
#[derive(Debug)]
pub(super) struct WatchedJobs {
    watched: Vec<Watched>,
    pub(super) link: ConnectionState,
    /// Since when there is no connection.
    disconnected_since: Option<Instant>,
}

impl WatchedJobs {
    /// A job that is named twice is watched once.
    pub(super) fn new(jobs: Vec<JobId>, now: Instant) -> Self {
        let link = ConnectionState::Connecting;
        let mut all = Self { watched: Vec::new(), link, disconnected_since: Some(now) };
        for job in jobs {
            all.add(job);
        }
        all
    }

    /// A job that is watched already stays as it is.
    pub(super) fn add(&mut self, job: JobId) {
        if self.knows(&job) {
            return;
        }
        self.watched.push(Watched {
            job,
            summary: None,
            times: None,
            position: None,
            children: Vec::new(),
            unknown_since: None,
            given_up: false,
            refused: None,
            refused_code: ExitCode::Unreachable,
            is_unreadable: false,
            heard: None,
            health: None,
            answered: Answered::Nothing,
        });
    }

    pub(super) fn knows(&self, job: &JobId) -> bool {
        self.index(job).is_some()
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.watched.iter().map(|w| &w.job)
    }

    pub(super) fn watched(&self) -> &[Watched] {
        &self.watched
    }

    pub(super) fn connected(&mut self) {
        self.link = ConnectionState::Up;
        self.disconnected_since = None;
        for watched in &mut self.watched {
            watched.answered = Answered::Nothing;
        }
    }

    pub(super) fn lost(&mut self, reason: &ConnectionError, now: Instant) {
        let was_up = match self.link {
            ConnectionState::Up => true,
            ConnectionState::Connecting => false,
            ConnectionState::Down { was_up, .. } => was_up,
        };
        self.link = ConnectionState::Down { reason: reason.to_string(), was_up };
        self.disconnected_since.get_or_insert(now);
    }

    /// For how long there has been no connection.
    pub(super) fn disconnected_for(&self, now: Instant) -> Option<Duration> {
        self.disconnected_since.map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn disconnect_reason(&self) -> String {
        match &self.link {
            ConnectionState::Down { reason, .. } => reason.clone(),
            ConnectionState::Connecting | ConnectionState::Up => {
                "the server does not answer".to_owned()
            }
        }
    }

    /// `age`: how long ago that was reported, by its own timestamp; it counts for the first state that a connection
    /// brings, while later ones are new. The index of the job.
    pub(super) fn state(&mut self, state: &State, now: Instant, age: Duration) -> Option<usize> {
        let index = self.index(state.job())?;
        let watched = &mut self.watched[index];
        let before = std::mem::replace(&mut watched.answered, Answered::State);
        let age = if before == Answered::Nothing { age } else { Duration::ZERO };
        let heard = now.checked_sub(age);
        let times = JobTimes::of(state);
        // A state that time, a child or a request has made is no report of the worker.
        let is_report =
            times.seen.is_none() || watched.times.is_none_or(|it| it.seen != times.seen);
        // After a reconnect, the state may be the one from before, whose age is known better than by clocks.
        watched.heard = match watched.heard {
            Some(earlier) if !is_report => Some(earlier),
            earlier if age > Duration::ZERO => earlier.max(heard),
            _ => heard,
        };
        watched.health = state.health();
        watched.summary = Some(JobSummary::of(state));
        watched.times = Some(times);
        watched.position = Some(state.position());
        watched.unknown_since = None;
        watched.given_up = false;
        watched.is_unreadable = false;
        Some(index)
    }

    pub(super) fn unknown(&mut self, job: &JobId, now: Instant) {
        if let Some(index) = self.index(job) {
            self.watched[index].is_unknown(now);
        }
    }

    /// A list of all running jobs that match. Those that are missing do not match any more, or were forgotten.
    pub(super) fn listed(&mut self, jobs: &[JobId], now: Instant) {
        let listed: HashSet<&JobId> = jobs.iter().collect();
        for watched in &mut self.watched {
            if listed.contains(&watched.job) {
                watched.unknown_since = None;
            } else {
                watched.is_unknown(now);
            }
        }
    }

    /// Gives up the jobs that have been unknown for this long, while there is a connection.
    pub(super) fn give_up_unknown(&mut self, now: Instant, timeout: Duration) {
        self.give_up(now, timeout, |_| true);
    }

    /// Of these, only those that the server has known: others may be about to begin.
    pub(super) fn give_up_forgotten(&mut self, now: Instant, timeout: Duration) {
        self.give_up(now, timeout, |watched| watched.summary.is_some());
    }

    fn give_up(&mut self, now: Instant, timeout: Duration, applies: impl Fn(&Watched) -> bool) {
        if self.link != ConnectionState::Up {
            return;
        }
        for watched in self.watched.iter_mut().filter(|watched| applies(watched)) {
            let unknown = watched.unknown_since.map(|at| now.saturating_duration_since(at));
            watched.given_up |= watched.answered == Answered::Unknown && unknown >= Some(timeout);
        }
    }

    pub(super) fn refused(
        &mut self,
        job: &JobId,
        message: String,
        code: ExitCode,
    ) -> Option<usize> {
        let index = self.index(job)?;
        self.watched[index].refused = Some(message);
        self.watched[index].refused_code = code;
        Some(index)
    }

    pub(super) fn unreadable(&mut self, job: &JobId) {
        if let Some(index) = self.index(job) {
            self.watched[index].is_unreadable = true;
        }
    }

    /// The jobs with children that have not ended.
    pub(super) fn parents(&self) -> Vec<Parent> {
        let going = self.watched.iter().filter(|watched| !watched.is_over());
        let parents = going.filter_map(|watched| {
            let counts = watched.summary.as_ref()?.children?;
            Some(Parent { job: watched.job.clone(), position: watched.position?, counts })
        });
        parents.collect()
    }

    /// The children of a job that matter most, in their order.
    pub(super) fn children(&mut self, parent: &JobId, states: &[State]) {
        let Some(index) = self.index(parent) else { return };
        let children = states.iter().map(|state| Child {
            job: state.job().clone(),
            summary: JobSummary::of(state),
            times: JobTimes::of(state),
        });
        self.watched[index].children = children.collect();
    }

    fn index(&self, job: &JobId) -> Option<usize> {
        self.watched.iter().position(|w| w.job == *job)
    }

    /// The note beside a job's bar.
    pub(super) fn note(&self, watched: &Watched, now: Instant) -> Option<String> {
        if let Some(refused) = &watched.refused {
            return Some(format!("refused: {refused}"));
        }
        if let Some(given_up) = watched.given_up() {
            return Some(given_up.to_owned());
        }
        if watched.is_over() {
            return None;
        }
        let mut notes = Vec::new();
        match &self.link {
            ConnectionState::Connecting => notes.push("connecting…".to_owned()),
            ConnectionState::Down { was_up: true, .. } => {
                notes.push("connection lost, trying again".to_owned());
            }
            ConnectionState::Down { reason, was_up: false } => {
                notes.push(format!("{reason}; trying again"));
            }
            ConnectionState::Up if watched.unknown_since.is_some() && watched.summary.is_some() => {
                notes.push("forgotten by the server".to_owned());
            }
            ConnectionState::Up if watched.unknown_since.is_some() => {
                notes.push("not known yet".to_owned());
            }
            ConnectionState::Up if watched.is_unreadable => {
                notes.push("the server cannot read it".to_owned());
            }
            ConnectionState::Up => notes.extend(watched.silent_for(now).map(silence_text)),
        }
        (!notes.is_empty()).then(|| notes.join(" · "))
    }

    /// Once all are over.
    pub(super) fn exit_code(&self) -> Option<ExitCode> {
        let mut code = ExitCode::Success;
        for watched in &self.watched {
            match watched.status() {
                // A job's failure is the worst, then a cancellation; our own trouble is neither.
                Some(Status::Failed) => code = ExitCode::Failure,
                Some(Status::Cancelled) if code != ExitCode::Failure => code = ExitCode::Cancelled,
                _ if watched.refused.is_some() && code == ExitCode::Success => {
                    code = watched.refused_code;
                }
                _ if watched.given_up && code == ExitCode::Success => code = ExitCode::UnknownJob,
                _ if watched.refused.is_some() || watched.given_up => {}
                Some(Status::Completed | Status::Cancelled) => {}
                Some(Status::Queued | Status::Processing) | None => return None,
            }
        }
        Some(code)
    }
}

pub(super) fn silence_text(silent: Duration) -> String {
    format!("silent for {}", since(silent))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::watch) fn state(job: &str, rest: &str) -> State {
        let json = format!(
            r#"{{"job_id":"{job}",{rest},"timestamp":"2024-01-01T00:00:00Z","attempt":1,"position":"1-1"}}"#
        );
        State::parse(&json).unwrap()
    }

    fn watched_jobs(jobs: &[&str], now: Instant) -> WatchedJobs {
        WatchedJobs::new(jobs.iter().map(|j| JobId::parse(j).unwrap()).collect(), now)
    }

    const MOVING: &str = r#""status":"processing","stage":"s","progress":0.5"#;

    fn ended(status: &str) -> String {
        format!(r#""status":"{status}","stage":"s""#)
    }

    #[test]
    fn a_lost_connection_keeps_the_bar_and_says_so() {
        let t0 = Instant::now();
        let mut watched_jobs = watched_jobs(&["a"], t0);
        let note =
            |watched_jobs: &WatchedJobs, at| watched_jobs.note(&watched_jobs.watched()[0], at);
        assert_eq!(note(&watched_jobs, t0).unwrap(), "connecting…");
        watched_jobs.connected();
        watched_jobs.state(&state("a", MOVING), t0, Duration::ZERO);
        assert_eq!(note(&watched_jobs, t0), None);
        watched_jobs.lost(&ConnectionError::Broken("reset".into()), t0);
        assert_eq!(note(&watched_jobs, t0).unwrap(), "connection lost, trying again");
        assert_eq!(watched_jobs.watched()[0].summary.as_ref().unwrap().progress, Some(0.5));
        let later = t0 + Duration::from_secs(42);
        assert_eq!(
            note(&watched_jobs, later).unwrap(),
            "connection lost, trying again",
            "a lost connection is not the worker's silence"
        );
        assert_eq!(watched_jobs.disconnected_for(later), Some(Duration::from_secs(42)));
        watched_jobs.connected();
        assert_eq!(note(&watched_jobs, later).unwrap(), "silent for 42 s");
        assert_eq!(watched_jobs.disconnected_for(later), None);
    }

    #[test]
    fn only_the_first_state_of_a_connection_may_be_old() {
        let t0 = Instant::now();
        let mut watched_jobs = watched_jobs(&["a"], t0);
        watched_jobs.connected();
        watched_jobs.state(&state("a", MOVING), t0, Duration::from_secs(60));
        assert_eq!(watched_jobs.watched()[0].silent_for(t0), Some(Duration::from_secs(60)));
        watched_jobs.state(&state("a", MOVING), t0, Duration::from_secs(60));
        assert_eq!(
            watched_jobs.watched()[0].silent_for(t0),
            None,
            "a worker's clock that is wrong"
        );
        watched_jobs.state(&state("a", &ended("completed")), t0, Duration::ZERO);
        assert_eq!(
            watched_jobs.watched()[0].silent_for(t0 + Duration::from_secs(600)),
            None,
            "an end"
        );
    }

    #[test]
    fn silence_is_the_server_s_to_say_if_it_knows_the_health() {
        let t0 = Instant::now();
        let at = |second| t0 + Duration::from_secs(second);
        let seen = |rest: &str| {
            state("a", &format!(r#"{MOVING},"last_seen_at":"2024-01-01T00:00:00Z"{rest}"#))
        };
        let mut jobs = watched_jobs(&["a"], t0);
        jobs.connected();
        jobs.state(&seen(r#","health":"ok","heartbeat":60"#), t0, Duration::ZERO);
        assert_eq!(jobs.watched()[0].silent_for(at(100)), None, "its next report is due later");
        // That state is made by time alone: the worker has not reported.
        jobs.state(&seen(r#","health":"lost","heartbeat":60"#), at(180), Duration::ZERO);
        assert_eq!(jobs.watched()[0].silent_for(at(181)), Some(Duration::from_secs(181)));
        let queued = r#""status":"queued","stage":"s""#;
        let children = r#","children":{"expected":1,"queued":0,"processing":1,"completed":0,"failed":0,"cancelled":0,"lost":0}"#;
        for silent in [seen(children), state("a", queued)] {
            let mut jobs = watched_jobs(&["a"], t0);
            jobs.state(&silent, t0, Duration::ZERO);
            assert_eq!(jobs.watched()[0].silent_for(at(100)), None, "{silent:?}");
        }
        let mut jobs = watched_jobs(&["a"], t0);
        jobs.state(&seen(""), t0, Duration::ZERO);
        assert_eq!(jobs.watched()[0].silent_for(at(29)), None);
        assert_eq!(jobs.watched()[0].silent_for(at(30)), Some(SILENCE));
    }

    #[test]
    fn the_exit_code_is_the_worst_outcome() {
        let code = |ends: &[&str]| {
            let names: Vec<String> = (0..ends.len()).map(|n| n.to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut watched_jobs = watched_jobs(&names, Instant::now());
            for (job, status) in names.iter().zip(ends) {
                watched_jobs.state(&state(job, &ended(status)), Instant::now(), Duration::ZERO);
            }
            watched_jobs.exit_code()
        };
        assert_eq!(code(&["completed", "completed"]), Some(ExitCode::Success));
        assert_eq!(code(&["cancelled", "failed", "completed"]), Some(ExitCode::Failure));
        assert_eq!(code(&["failed", "cancelled"]), Some(ExitCode::Failure));
        assert_eq!(code(&["completed", "cancelled"]), Some(ExitCode::Cancelled));
        assert_eq!(code(&["completed", "processing"]), None);
    }

    #[test]
    fn an_unknown_job_times_out_without_failing() {
        let t0 = Instant::now();
        let mut jobs = watched_jobs(&["a", "b"], t0);
        jobs.connected();
        jobs.state(&state("a", &ended("completed")), t0, Duration::ZERO);
        let b = JobId::parse("b").unwrap();
        jobs.unknown(&b, t0);
        assert_eq!(jobs.watched()[1].unknown_for(t0 + Duration::from_secs(4)), None);
        assert!(jobs.watched()[1].unknown_for(t0 + Duration::from_secs(5)).is_some());
        let timeout = Duration::from_secs(10);
        jobs.give_up_unknown(t0 + Duration::from_secs(9), timeout);
        assert_eq!(jobs.exit_code(), None);
        jobs.give_up_unknown(t0 + timeout, timeout);
        assert_eq!(jobs.exit_code(), Some(ExitCode::UnknownJob));
        for code in [ExitCode::Unreachable, ExitCode::Forbidden] {
            jobs.refused(&b, "no".to_owned(), code);
            assert_eq!(jobs.exit_code(), Some(code), "no outcome of a job");
        }
    }

    #[test]
    fn a_job_that_was_forgotten_is_given_up() {
        let t0 = Instant::now();
        let at = |second| t0 + Duration::from_secs(second);
        let mut jobs = watched_jobs(&["a", "b"], t0);
        jobs.connected();
        jobs.state(&state("a", MOVING), t0, Duration::ZERO);
        jobs.state(&state("b", &ended("completed")), t0, Duration::ZERO);
        let a = JobId::parse("a").unwrap();
        jobs.unknown(&a, at(5));
        // Its worker reports it again in time.
        jobs.state(&state("a", MOVING), at(64), Duration::ZERO);
        jobs.give_up_forgotten(at(65), Duration::from_secs(60));
        assert_eq!(jobs.exit_code(), None);
        jobs.unknown(&a, at(70));
        jobs.give_up_forgotten(at(129), Duration::from_secs(60));
        assert_eq!(jobs.exit_code(), None);
        jobs.give_up_forgotten(at(130), Duration::from_secs(60));
        assert_eq!(jobs.exit_code(), Some(ExitCode::UnknownJob));
        let note = jobs.note(&jobs.watched()[0], at(130));
        assert_eq!(note.as_deref(), Some("forgotten by the server, given up"));
    }

    #[test]
    fn without_a_connection_no_job_is_given_up() {
        let t0 = Instant::now();
        let mut jobs = watched_jobs(&["a"], t0);
        let a = JobId::parse("a").unwrap();
        let given_up = |jobs: &mut WatchedJobs| {
            jobs.give_up_unknown(t0 + Duration::from_secs(60), Duration::from_secs(60));
            jobs.exit_code().is_some()
        };
        jobs.connected();
        jobs.unknown(&a, t0);
        jobs.lost(&ConnectionError::Broken("reset".into()), t0);
        assert!(!given_up(&mut jobs));
        jobs.connected();
        assert!(!given_up(&mut jobs), "it may have been reported meanwhile");
        jobs.unknown(&a, t0 + Duration::from_secs(60));
        assert!(given_up(&mut jobs));
    }

    #[test]
    fn a_job_named_twice_is_one() {
        assert_eq!(watched_jobs(&["a", "b", "a"], Instant::now()).jobs().count(), 2);
    }
}
