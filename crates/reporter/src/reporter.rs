use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::JobId;

use crate::job::Job;
use crate::owner::Owner;
use crate::sender::{notify_out_of_range, notify_truncated};
use crate::update::{Progress, Update};

/// Where a worker's jobs are reported to. One for a program is enough; clones are the same reporter.
///
/// A thread of its own sends what the [`Job`]s say, begun with the first of them. The last handle of all, be
/// it a reporter or a job, waits when it is dropped until the jobs' last states have arrived, at most for
/// the flush timeout (2 s, [`Builder::flush_timeout`](crate::Builder::flush_timeout)), and for the thread. In an async program, where
/// nothing is to wait in a task, call [`close`](Self::close) by a `spawn_blocking` of the runtime.
///
/// After a fork without an exec the thread is in the parent only. The child is to make a reporter of its
/// own; a job that it begins with its parent's is not reported, with a notice.
#[derive(Clone)]
pub struct Reporter {
    /// None: nothing is reported.
    pub(crate) owner: Option<Arc<Owner>>,
}

impl Reporter {
    /// Reports nothing.
    pub fn silent() -> Self {
        Self { owner: None }
    }

    pub(crate) fn new(owner: Owner) -> Self {
        Self { owner: Some(Arc::new(owner)) }
    }

    /// Begins a job, or gives another handle on one that is under way. Never fails: with an id that is not
    /// allowed, or when as many jobs as may be are under way ([`Builder::max_jobs`](crate::Builder::max_jobs)), the handle reports
    /// nothing and a [`Notice`](crate::Notice) says so.
    pub fn job(&self, id: &str) -> Job {
        self.owner.as_ref().map_or_else(Job::silent, |owner| Job::open(owner, id))
    }

    /// An update that is sent as it is, but with its progress clamped to 0…1.
    pub(crate) fn report_whole(&self, id: &str, update: impl FnOnce(&JobId) -> Update) {
        let Some(owner) = &self.owner else { return };
        let Some(id) = owner.ready(id) else { return };
        let mut update = update(&id);
        let given = update.progress.and_then(|Progress(given)| given);
        update.progress =
            update.progress.map(|_| Progress(given.map(|given| given.clamp(0.0, 1.0))));
        match owner.inbox().report_whole(&id, update) {
            Ok((record, truncated)) => {
                notify_truncated(owner.notices(), &record, &truncated);
                if let Some(given) = given {
                    notify_out_of_range(owner.notices(), &record, given);
                }
            }
            Err(why) => owner.notify_not_accepted(why),
        }
    }

    /// Waits until all updates so far have arrived, at most for `timeout`. Returns whether it has (or was refused by
    /// the server).
    pub fn flush(&self, timeout: Duration) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.flush(timeout))
    }

    /// Flushes, at most for the flush timeout, and ends the thread. Jobs that are still under way, and
    /// clones of this reporter, report nothing from then on.
    pub fn close(self) {
        if let Some(owner) = &self.owner {
            owner.close();
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("silent", &self.owner.is_none()).finish_non_exhaustive()
    }
}
