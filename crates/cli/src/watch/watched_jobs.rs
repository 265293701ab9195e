//! What is known of the jobs that are watched, and of the connection. No I/O, and the time is passed in.

use std::time::{Duration, Instant};

use milepost_protocol::{JobId, State, Status};
use milepost_watcher::ConnectionError;

use crate::bars::{JobSummary, duration};
use crate::exit::ExitCode;

/// From then on it is said that nothing was heard. A worker's heartbeat comes every 10 s.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// One job that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) job: JobId,
    /// None: the server does not know it, or has not said yet.
    pub(super) summary: Option<JobSummary>,
    /// The server has said that it does not know the job.
    pub(super) unknown: bool,
    /// The server does not let it be watched.
    pub(super) refused: Option<String>,
    /// When the worker was last heard.
    heard: Option<Instant>,
    /// No state has come over this connection yet: the first may be an old one.
    fresh: bool,
}

impl Watched {
    pub(super) fn status(&self) -> Option<Status> {
        self.summary.as_ref().map(|summary| summary.status)
    }

    fn is_over(&self) -> bool {
        self.refused.is_some() || self.status().is_some_and(Status::is_end)
    }

    /// For how long nothing was heard of a job that goes on, if that is long.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.heard?);
        (silent >= SILENCE && !self.is_over()).then_some(silent)
    }
}

/// Whether news can arrive.
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
        let mut watched: Vec<Watched> = Vec::new();
        for job in jobs {
            if watched.iter().all(|w| w.job != job) {
                watched.push(Watched {
                    job,
                    summary: None,
                    unknown: false,
                    refused: None,
                    heard: None,
                    fresh: true,
                });
            }
        }
        Self { watched, link: ConnectionState::Connecting, disconnected_since: Some(now) }
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
            watched.fresh = true;
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
        let age = if std::mem::take(&mut watched.fresh) { age } else { Duration::ZERO };
        let heard = now.checked_sub(age);
        // After a reconnect the state may be the one that was heard before, and its age is known better than by clocks.
        watched.heard = if age > Duration::ZERO { watched.heard.max(heard) } else { heard };
        watched.summary = Some(JobSummary::of(state));
        watched.unknown = false;
        Some(index)
    }

    pub(super) fn unknown(&mut self, job: &JobId) -> Option<usize> {
        let index = self.index(job)?;
        self.watched[index].unknown = true;
        Some(index)
    }

    pub(super) fn refused(&mut self, job: &JobId, message: String) -> Option<usize> {
        let index = self.index(job)?;
        self.watched[index].refused = Some(message);
        Some(index)
    }

    fn index(&self, job: &JobId) -> Option<usize> {
        self.watched.iter().position(|w| w.job == *job)
    }

    /// What is to be said beside a job's bar.
    pub(super) fn note(&self, watched: &Watched, now: Instant) -> Option<String> {
        if let Some(refused) = &watched.refused {
            return Some(format!("refused: {refused}"));
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
            ConnectionState::Up if watched.unknown && watched.summary.is_some() => {
                notes.push("forgotten by the server".to_owned());
            }
            ConnectionState::Up if watched.unknown => notes.push("not known yet".to_owned()),
            ConnectionState::Up => {}
        }
        notes.extend(watched.silent_for(now).map(silence_text));
        (!notes.is_empty()).then(|| notes.join(" · "))
    }

    /// Once all are over.
    pub(super) fn exit_code(&self) -> Option<ExitCode> {
        let mut code = ExitCode::Success;
        for watched in &self.watched {
            match watched.status() {
                _ if watched.refused.is_some() => code = ExitCode::Failure,
                Some(Status::Failed) => code = ExitCode::Failure,
                Some(Status::Cancelled) if code == ExitCode::Success => code = ExitCode::Cancelled,
                Some(Status::Completed | Status::Cancelled) => {}
                Some(Status::Queued | Status::Processing) | None => return None,
            }
        }
        Some(code)
    }
}

pub(super) fn silence_text(silent: Duration) -> String {
    format!("no word for {}", duration(silent.as_secs_f64()))
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
            "connection lost, trying again · no word for 42 s"
        );
        assert_eq!(watched_jobs.disconnected_for(later), Some(Duration::from_secs(42)));
        watched_jobs.connected();
        assert_eq!(note(&watched_jobs, later).unwrap(), "no word for 42 s");
        assert_eq!(watched_jobs.disconnected_for(later), None);
    }

    #[test]
    fn the_first_state_of_a_connection_may_be_old_and_the_next_is_not() {
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
    fn a_job_named_twice_is_one() {
        assert_eq!(watched_jobs(&["a", "b", "a"], Instant::now()).jobs().count(), 2);
    }
}
