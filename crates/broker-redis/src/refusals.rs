use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use milepost_protocol::JobId;

/// Data of single jobs in Redis that could not be used. It is counted, and logged once a minute for each job, because whoever
/// wrote it gets no reply.
#[derive(Default)]
pub(crate) struct Refusals {
    updates: AtomicU64,
    unreadable: AtomicU64,
    /// When each job was logged last, by the clock's `elapsed`.
    logged: Mutex<HashMap<JobId, Duration>>,
}

/// How long until the same job is logged again.
const EVERY: Duration = Duration::from_secs(60);
/// How many jobs are logged within that time. All are counted.
const MAX_LOGGED: usize = 256;

impl Refusals {
    /// Counts and logs a rejected update of a legacy worker.
    pub(crate) fn update(&self, job: &JobId, reason: &dyn fmt::Display, now: Duration) {
        self.updates.fetch_add(1, Ordering::Relaxed);
        if self.is_to_be_logged(job, now) {
            tracing::warn!(%job, %reason, "refused an update that a legacy worker wrote to Redis");
        }
    }

    /// Counts that a job's keys could not be read.
    pub(crate) fn count_unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs why a job cannot be read.
    pub(crate) fn log_unreadable(&self, job: &JobId, reason: &dyn fmt::Display, now: Duration) {
        if self.is_to_be_logged(job, now) {
            tracing::warn!(%job, %reason, "cannot read a job in Redis");
        }
    }

    /// How many updates were rejected, and how often a job could not be read, since start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.updates.load(Ordering::Relaxed), self.unreadable.load(Ordering::Relaxed))
    }

    fn is_to_be_logged(&self, job: &JobId, now: Duration) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: Duration| now.saturating_sub(at) < EVERY;
        if logged.get(job).is_some_and(|at| is_recent(*at)) {
            return false;
        }
        if logged.len() >= MAX_LOGGED {
            logged.retain(|_, at| is_recent(*at));
        }
        let has_room = logged.len() < MAX_LOGGED;
        if has_room {
            logged.insert(job.clone(), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_logged_once_a_minute_and_few_jobs() {
        let refusals = Refusals::default();
        let job = |n: usize| JobId::parse(&format!("j{n}")).unwrap();
        assert!(refusals.is_to_be_logged(&job(0), Duration::ZERO));
        assert!(!refusals.is_to_be_logged(&job(0), EVERY / 2));
        assert!(refusals.is_to_be_logged(&job(0), EVERY));
        let logged =
            (0..2 * MAX_LOGGED).filter(|n| refusals.is_to_be_logged(&job(*n), EVERY)).count();
        assert_eq!(logged, MAX_LOGGED - 1);
        assert!(refusals.is_to_be_logged(&job(MAX_LOGGED + 5), EVERY * 2), "later there is room");
    }
}
