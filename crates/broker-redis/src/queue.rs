use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use milepost_protocol::JobId;
use tokio::sync::Notify;

/// The jobs that a link has to look at: to subscribe, to read, or to leave. Each stands in it once, so it is no
/// longer than the number of jobs that are, or were a moment ago, watched here.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: Mutex<(VecDeque<JobId>, HashSet<JobId>)>,
    added: Notify,
}

impl Queue {
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

    /// Waits until something was pushed since the last time.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}
