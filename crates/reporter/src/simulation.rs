//! When a reporter sends what, for Milepost's own simulation: no threads, no sockets, and time is passed in.

use std::time::{Duration, Instant};

use crate::outcome::Outcome;
use crate::schedule::{self, Lifetime, Pace};
use crate::snapshot::{Snapshot, StateId};

/// The schedule of a reporter.
#[derive(Debug)]
pub struct Schedule(schedule::Schedule);

/// A job as its worker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Changes with the job.
    pub version: u64,
    /// The attempt that the worker names.
    pub attempt: u32,
    /// Changes when watchers are to see the change at once.
    pub urgent: u64,
    /// Whether the attempt has ended.
    pub ended: bool,
}

/// What the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The update has a position.
    Accepted,
    /// The attempt has ended, or a later one has begun.
    AttemptOver,
}

impl Schedule {
    /// A schedule with the pace that reporters have by default.
    pub fn new(start: Instant, seed: u64) -> Self {
        let pace =
            Pace { interval: Duration::from_millis(200), heartbeat: Duration::from_secs(10) };
        Self(schedule::Schedule::new(pace, start, fastrand::Rng::with_seed(seed)))
    }

    /// A job has begun.
    pub fn add(&mut self, key: u64, now: Instant) {
        self.0.add(key, Lifetime::UntilEnd, None, now);
    }

    /// A job has changed in a way that is to be seen at once.
    pub fn ring(&mut self, key: u64, ended: bool, now: Instant) {
        self.0.wake(key, ended, now);
    }

    /// The jobs whose states are to be sent now.
    pub fn due(&mut self, now: Instant, mut look: impl FnMut(u64) -> Look) -> Vec<u64> {
        let snapshot = |key| {
            let Look { version, attempt, urgent, ended } = look(key);
            Snapshot { state: StateId { version, attempt, count: None }, urgent, ended }
        };
        self.0.due(now, snapshot).send
    }

    /// The server answered what was sent of a job.
    pub fn answered(&mut self, key: u64, answer: Answer, now: Instant) {
        self.0.answered();
        let outcome = match answer {
            Answer::Accepted => Outcome::Accepted { requested: None },
            Answer::AttemptOver => Outcome::AttemptOver { reason: String::new() },
        };
        self.0.settle(key, outcome, now);
    }

    /// No answer came.
    pub fn failed(&mut self, key: u64, now: Instant) {
        self.0.fail(&[key], None, now);
    }

    /// When there is something to do, if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        self.0.wake_at()
    }
}
