use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use milepost_protocol::JobId;
use tokio::sync::Notify;

/// The jobs that a subscriber has to read, subscribe to or unsubscribe from, oldest first.
///
/// Bounded: each job is in the queue at most once, and only jobs that are watched on this instance, or were a moment ago, are
/// added.
#[derive(Default)]
pub(crate) struct JobQueue {
    jobs: Mutex<(VecDeque<JobId>, HashSet<JobId>)>,
    added: Notify,
}

impl JobQueue {
    pub(crate) fn push(&self, job: JobId) {
        {
            let (order, members) = &mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            if members.insert(job.clone()) {
                order.push_back(job);
            }
        }
        self.added.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<JobId> {
        let (order, members) = &mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = order.pop_front()?;
        members.remove(&job);
        Some(job)
    }

    /// Waits until a job has been pushed since the last call.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}
