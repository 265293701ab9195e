use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost_protocol::{JobId, Position};
use tokio::sync::Notify;

use crate::event::Event;
use crate::mailbox::Mailbox;
use crate::options::Mode;

/// What the caller and the watching task share. The lock is held only briefly.
pub(crate) struct Exchange {
    inner: Mutex<Inner>,
    /// Notified when the mailbox has an event, or the task has finished.
    pub(crate) for_caller: Notify,
    /// Notified when there are requests, or the caller closes.
    pub(crate) for_task: Notify,
}

pub(crate) struct Inner {
    pub(crate) mailbox: Mailbox,
    /// The jobs that the caller watches, of a [`Watches`](crate::Watches). At most [`MAX_JOBS`](crate::MAX_JOBS).
    pub(crate) jobs: HashSet<JobId>,
    /// The caller's latest request for each job, until the task takes it. At most three times [`MAX_JOBS`](crate::MAX_JOBS).
    pub(crate) requests: HashMap<JobId, Request>,
    pub(crate) closing: bool,
    pub(crate) finished: bool,
}

impl Inner {
    /// Once the caller knows that the session has stopped watching a job, it may watch it again.
    pub(crate) fn forget_ended(&mut self, event: &Event, close_at_end: bool) {
        match event {
            Event::JobRejected { job, .. } => {
                self.jobs.remove(job);
            }
            Event::State(state) if close_at_end && state.status().is_end() => {
                self.jobs.remove(state.job());
            }
            _ => {}
        }
    }
}

/// A caller's request for one job.
pub(crate) enum Request {
    Subscribe(Option<Position>),
    Unsubscribe,
}

impl Exchange {
    pub(crate) fn new(mode: Mode) -> Self {
        let inner = Inner {
            mailbox: Mailbox::new(mode),
            jobs: HashSet::new(),
            requests: HashMap::new(),
            closing: false,
            finished: false,
        };
        Self { inner: Mutex::new(inner), for_caller: Notify::new(), for_task: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under this lock leaves the data half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn emit(&self, event: Event) {
        let mut inner = self.lock();
        // The caller may have unsubscribed from the job, or subscribed again, while this event was on its way.
        if event.job().is_some_and(|job| inner.requests.contains_key(job)) {
            return;
        }
        let jobs = inner.jobs.len().max(1);
        inner.mailbox.push(event, jobs);
        drop(inner);
        self.for_caller.notify_one();
    }
}

/// Marks the exchange as finished when the task ends, however it ends.
pub(crate) struct FinishGuard(Arc<Exchange>);

impl FinishGuard {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self(exchange)
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0
    }
}

impl Drop for FinishGuard {
    fn drop(&mut self) {
        self.0.lock().finished = true;
        self.0.for_caller.notify_one();
    }
}
