use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use milepost_protocol::{Action, JobId, Timestamp};

use crate::counter::Counter;
use crate::inbox::{Inbox, NotAccepted};
use crate::job_log::JobLogs;
use crate::notice::{Notice, NoticeHook};
use crate::record::{End, Record};
use crate::sender::{Sender, notify_out_of_range, notify_truncated};

/// Whoever has the last of it ends the thread.
pub(crate) struct Owner {
    inbox: Arc<Inbox<Handle>>,
    notices: NoticeHook,
    flush_timeout: Duration,
    max_jobs: usize,
    process: u32,
    logs: Arc<JobLogs>,
    sending: Mutex<Sending>,
    full_was_told: AtomicBool,
    closed_was_told: AtomicBool,
    fork_was_told: AtomicBool,
}

enum Sending {
    NotBegun(Box<Sender<Handle>>),
    Thread(JoinHandle<()>),
    Over,
}

/// The state that all handles on a job share.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) record: Arc<Record>,
    owner: Arc<Owner>,
    /// The job's own counter; stages may have others.
    pub(crate) counter: Arc<Counter>,
}

impl Owner {
    pub(crate) fn new(
        inbox: Arc<Inbox<Handle>>,
        sender: Sender<Handle>,
        logs: JobLogs,
        notices: NoticeHook,
        flush_timeout: Duration,
        max_jobs: usize,
    ) -> Self {
        Self {
            inbox,
            notices,
            flush_timeout,
            max_jobs,
            process: std::process::id(),
            logs: Arc::new(logs),
            sending: Mutex::new(Sending::NotBegun(Box::new(sender))),
            full_was_told: AtomicBool::new(false),
            closed_was_told: AtomicBool::new(false),
            fork_was_told: AtomicBool::new(false),
        }
    }

    /// The thread's work, for a caller that runs it with its own clock. Nothing else sends then.
    #[cfg(test)]
    pub(crate) fn take_sender(&self) -> Option<Box<Sender<Handle>>> {
        match std::mem::replace(&mut *self.sending.lock().unwrap(), Sending::Over) {
            Sending::NotBegun(sender) => Some(sender),
            Sending::Thread(_) | Sending::Over => None,
        }
    }

    pub(crate) fn inbox(&self) -> &Inbox<Handle> {
        &self.inbox
    }

    pub(crate) fn notices(&self) -> &NoticeHook {
        &self.notices
    }

    pub(crate) fn logs(&self) -> &Arc<JobLogs> {
        &self.logs
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// The parsed id, if the job can be reported.
    pub(crate) fn ready(&self, id: &str) -> Option<JobId> {
        // Before any lock: in a forked child, a lock may be held forever.
        if self.is_forked() {
            self.notify_once(&self.fork_was_told, &Notice::Forked);
            return None;
        }
        match JobId::parse(id) {
            Ok(id) => self.begin_sending().then_some(id),
            Err(reason) => {
                let given = id.chars().take(JobId::MAX_LEN).collect();
                self.notices.notify(&Notice::InvalidJobId { given, reason });
                None
            }
        }
    }

    fn begin_sending(&self) -> bool {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *sending, Sending::Over) {
            Sending::NotBegun(sender) => {
                let thread = thread::Builder::new().name("milepost-reporter".to_owned());
                match thread.spawn(move || sender.run()) {
                    Ok(thread) => *sending = Sending::Thread(thread),
                    Err(error) => {
                        drop(sending);
                        self.notices.notify(&Notice::NoThread { reason: error.to_string() });
                        return false;
                    }
                }
            }
            begun => *sending = begun,
        }
        true
    }

    pub(crate) fn notify_not_accepted(&self, why: NotAccepted) {
        match why {
            NotAccepted::Full => {
                self.notify_once(
                    &self.full_was_told,
                    &Notice::TooManyJobs { limit: self.max_jobs },
                );
            }
            NotAccepted::Closed => self.notify_once(&self.closed_was_told, &Notice::Closed),
        }
    }

    fn notify_once(&self, notified: &AtomicBool, notice: &Notice) {
        if !notified.swap(true, Ordering::Relaxed) {
            self.notices.notify(notice);
        }
    }

    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        // There was nothing to report, or the sending thread itself calls.
        match self.thread_id() {
            Some(id) if id != thread::current().id() && !self.is_forked() => {
                self.inbox.flush(deadline(timeout), false) == Some(0)
            }
            _ => true,
        }
    }

    fn thread_id(&self) -> Option<ThreadId> {
        match &*self.sending.lock().unwrap_or_else(PoisonError::into_inner) {
            Sending::Thread(thread) => Some(thread.thread().id()),
            Sending::NotBegun(_) | Sending::Over => None,
        }
    }

    pub(crate) fn close(&self) {
        if self.is_forked() {
            return;
        }
        let sending = std::mem::replace(
            &mut *self.sending.lock().unwrap_or_else(PoisonError::into_inner),
            Sending::Over,
        );
        let thread = match sending {
            Sending::Thread(thread) => thread,
            Sending::NotBegun(_) => return self.inbox.close(),
            // Another clone closes it, or has closed it.
            Sending::Over => return,
        };
        let by = deadline(self.flush_timeout);
        self.inbox.flush(by, true);
        // After the updates, so that the server knows the jobs.
        self.logs.close(by);
        // If a hook drops the last reporter, this runs on the sending thread, which then ends by itself. If
        // the thread panicked (in a hook), the panic has been printed already.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A timeout beyond the clock's range counts as a day.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400))
}

impl Handle {
    /// What owns the jobs of the same reporter.
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn new(record: Arc<Record>, owner: Arc<Owner>) -> Self {
        let counter = record.counter();
        Self { record, owner, counter }
    }

    /// Acknowledges a request.
    pub(crate) fn acknowledge(&self, action: Action) {
        if self.record.acknowledge(action) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.owner.inbox().wake(&self.record);
    }

    pub(crate) fn end(&self, end: End) {
        if let Some(truncated) = self.record.end(end) {
            notify_truncated(self.owner.notices(), &self.record, &truncated);
            self.wake();
        }
    }

    pub(crate) fn log(&self, text: &str) {
        self.owner.logs().write(&self.record.job, text, Timestamp::now());
    }

    #[cfg(feature = "tracing-layer")]
    pub(crate) fn span(&self) -> tracing::Span {
        let logs = Arc::downgrade(self.owner.logs());
        crate::log_layer::SpanLog { job: self.record.job.clone(), logs }.span()
    }

    pub(crate) fn check_progress(&self, progress: f64) {
        notify_out_of_range(self.owner.notices(), &self.record, progress);
    }

    pub(crate) fn notify_truncated(&self, reason: String) {
        if self.record.first_truncated() {
            let job = self.record.job.clone();
            self.owner.notices().notify(&Notice::Truncated { job, reason });
        }
    }
}

/// No handle is left that could set the job's outcome.
impl Drop for Handle {
    fn drop(&mut self) {
        // A forked child has a copy of the handle; the job belongs to its parent.
        if self.owner.is_forked() {
            return;
        }
        let error = if thread::panicking() {
            "the worker panicked: dropped without an outcome"
        } else {
            "dropped without an outcome"
        };
        self.end(End::Failed { error: error.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fork needs `unsafe`. A child differs from its parent in the process id, which this test changes.
    #[test]
    fn in_a_forked_child_nothing_is_reported_and_nothing_waits() {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&notices);
        let hook =
            NoticeHook::new(move |notice: &Notice| into.lock().unwrap().push(notice.clone()));
        let mut reporter = crate::Reporter::builder().connect("http://127.0.0.1:1").unwrap();
        let owner = reporter.owner.as_mut().and_then(Arc::get_mut).unwrap();
        owner.notices = hook;
        owner.process = owner.process.wrapping_add(1);
        assert_eq!(reporter.job("a").id(), None);
        assert_eq!(reporter.job("b").id(), None);
        assert!(reporter.flush(Duration::from_secs(60)));
        reporter.close();
        assert_eq!(*notices.lock().unwrap(), [Notice::Forked]);
    }
}
