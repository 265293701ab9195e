use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost_protocol::{JobId, Position};
use tokio::sync::Notify;

use crate::event::Event;
use crate::mailbox::Mailbox;
use crate::options::Mode;

/// What the caller and the task that watches share. The lock is held for moments only.
pub(crate) struct Exchange {
    inner: Mutex<Inner>,
    /// There is something in the mailbox, or nothing will be any more.
    pub(crate) for_caller: Notify,
    /// There are wishes, or the caller wants to close.
    pub(crate) for_task: Notify,
}

pub(crate) struct Inner {
    pub(crate) mailbox: Mailbox,
    /// The jobs that the caller watches, of a [`Watches`](crate::Watches). At most [`MAX_JOBS`](crate::MAX_JOBS).
    pub(crate) jobs: HashSet<JobId>,
    /// What the caller wants and the task has not seen yet: the latest wish for each job. At most three times as many.
    pub(crate) wishes: HashMap<JobId, Wish>,
    pub(crate) closing: bool,
    pub(crate) finished: bool,
}

impl Inner {
    /// A job that the session has left by itself may be watched again, once the caller knows.
    pub(crate) fn leave_what_is_over(&mut self, event: &Event, close_at_end: bool) {
        match event {
            Event::JobRefused { job, .. } => {
                self.jobs.remove(job);
            }
            Event::State(state) if close_at_end && state.status().is_end() => {
                self.jobs.remove(state.job());
            }
            _ => {}
        }
    }
}

/// What the caller wants done about one job.
pub(crate) enum Wish {
    Watch(Option<Position>),
    Leave,
}

impl Exchange {
    pub(crate) fn new(mode: Mode) -> Self {
        let inner = Inner {
            mailbox: Mailbox::new(mode),
            jobs: HashSet::new(),
            wishes: HashMap::new(),
            closing: false,
            finished: false,
        };
        Self { inner: Mutex::new(inner), for_caller: Notify::new(), for_task: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock leaves it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut inner = self.lock();
        // The caller may have left the job, or left it and come back, while this was on its way.
        if event.job().is_some_and(|job| inner.wishes.contains_key(job)) {
            return;
        }
        let jobs = inner.jobs.len().max(1);
        inner.mailbox.push(event, jobs);
        drop(inner);
        self.for_caller.notify_one();
    }
}

/// Tells the caller that nothing follows, however the task ends.
pub(crate) struct Finish(Arc<Exchange>);

impl Finish {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self(exchange)
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.lock().finished = true;
        self.0.for_caller.notify_one();
    }
}
