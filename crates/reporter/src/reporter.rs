use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use milepost_protocol::JobId;

use crate::builder::Builder;
use crate::inbox::{Inbox, NotTaken};
use crate::job::{Handle, Job};
use crate::notice::{Notice, NoticeHook};
use crate::sender::{Sender, tell_left_out};
use crate::server::InvalidUrl;
use crate::update::Update;

/// Where a worker's jobs are reported to. One for a program is enough; clones are the same reporter.
///
/// A thread of its own sends what the [`Job`]s say, begun with the first of them. The last handle of all, be
/// it a reporter or a job, waits when it is dropped until the jobs' last states have arrived, at most for
/// the flush timeout (2 s, [`Builder::flush_timeout`]), and for the thread. In an async program, where
/// nothing is to wait in a task, call [`close`](Self::close) by a `spawn_blocking` of the runtime.
///
/// After a fork without an exec the thread is in the parent only. The child is to make a reporter of its
/// own; a job that it begins with its parent's is not reported, with a notice.
#[derive(Clone)]
pub struct Reporter {
    /// None: nothing is reported.
    owner: Option<Arc<Owner>>,
}

/// Whoever has the last of it ends the thread.
pub(crate) struct Owner {
    inbox: Arc<Inbox>,
    notices: NoticeHook,
    flush_timeout: Duration,
    max_jobs: usize,
    process: u32,
    sending: Mutex<Sending>,
    full_was_told: AtomicBool,
    closed_was_told: AtomicBool,
    fork_was_told: AtomicBool,
}

enum Sending {
    NotBegun(Box<Sender>),
    Thread(JoinHandle<()>),
    Over,
}

impl Reporter {
    /// Reports to `MILEPOST_URL`, else to `REDIS_URL`. With neither set (or empty) nothing is reported,
    /// quietly; with one that cannot be used nothing is reported either, and a [`Notice`] says so.
    pub fn from_env() -> Self {
        Builder::default().from_env()
    }

    /// Reports to the server at `url`, as [`Builder::connect`] does. Nothing is sent yet: a server that is down is found
    /// by the jobs.
    ///
    /// # Errors
    /// When `url` is none that [`Builder::connect`] knows.
    pub fn connect(url: &str) -> Result<Self, InvalidUrl> {
        Builder::default().connect(url)
    }

    /// To set how, before where.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reports nothing.
    pub fn silent() -> Self {
        Self { owner: None }
    }

    pub(crate) fn new(owner: Owner) -> Self {
        Self { owner: Some(Arc::new(owner)) }
    }

    /// What the thread would run, for whoever runs it on a clock of its own. Nothing is sent beside it.
    #[cfg(test)]
    pub(crate) fn take_sender(&self) -> Option<Box<Sender>> {
        let sending = &self.owner.as_ref()?.sending;
        match std::mem::replace(&mut *sending.lock().unwrap(), Sending::Over) {
            Sending::NotBegun(sender) => Some(sender),
            Sending::Thread(_) | Sending::Over => None,
        }
    }

    /// Begins a job, or gives another handle on one that is under way. Never fails: with an id that is not
    /// allowed, or when as many jobs as may be are under way ([`Builder::max_jobs`]), the handle reports
    /// nothing and a [`Notice`] says so.
    pub fn job(&self, id: &str) -> Job {
        let Some(owner) = &self.owner else { return Job::silent() };
        let Some(id) = owner.ready(id) else { return Job::silent() };
        let make = |record| Arc::new(Handle::new(record, Arc::clone(owner)));
        match owner.inbox.open(&id, make) {
            Ok(handle) => Job::new(handle),
            Err(why) => {
                owner.tell_not_taken(why);
                Job::silent()
            }
        }
    }

    /// An update that is sent as it is.
    pub(crate) fn give(&self, id: &str, update: impl FnOnce(&JobId) -> Update) {
        let Some(owner) = &self.owner else { return };
        let Some(id) = owner.ready(id) else { return };
        match owner.inbox.give(&id, update(&id)) {
            Ok((record, left_out)) => tell_left_out(&owner.notices, &record, &left_out),
            Err(why) => owner.tell_not_taken(why),
        }
    }

    /// Waits until all that was said so far has arrived, at most for `timeout`. Returns whether it has (or
    /// was refused by the server).
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

impl Owner {
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        sender: Sender,
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
            sending: Mutex::new(Sending::NotBegun(Box::new(sender))),
            full_was_told: AtomicBool::new(false),
            closed_was_told: AtomicBool::new(false),
            fork_was_told: AtomicBool::new(false),
        }
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn notices(&self) -> &NoticeHook {
        &self.notices
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// The id as parsed, if there is anybody to report its job.
    fn ready(&self, id: &str) -> Option<JobId> {
        // Before any lock: in a forked child, one may be held for ever.
        if self.is_forked() {
            self.tell_once(&self.fork_was_told, &Notice::Forked);
            return None;
        }
        match JobId::parse(id) {
            Ok(id) => self.begin_sending().then_some(id),
            Err(reason) => {
                let given = id.chars().take(JobId::MAX_LEN).collect();
                self.notices.tell(&Notice::InvalidJobId { given, reason });
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
                        self.notices.tell(&Notice::NoThread { reason: error.to_string() });
                        return false;
                    }
                }
            }
            begun => *sending = begun,
        }
        true
    }

    fn tell_not_taken(&self, why: NotTaken) {
        match why {
            NotTaken::Full => {
                self.tell_once(&self.full_was_told, &Notice::TooManyJobs { limit: self.max_jobs });
            }
            NotTaken::Closed => self.tell_once(&self.closed_was_told, &Notice::Closed),
        }
    }

    fn tell_once(&self, told: &AtomicBool, notice: &Notice) {
        if !told.swap(true, Ordering::Relaxed) {
            self.notices.tell(notice);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        // Nothing was ever said, or the thread itself asks.
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

    fn close(&self) {
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
            // Another clone closes it, or has.
            Sending::Over => return,
        };
        self.inbox.flush(deadline(self.flush_timeout), true);
        // A hook that drops the last reporter does so on the thread itself, which then ends by itself. If the
        // thread panicked (in a hook), the panic was shown already.
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

/// A timeout beyond what a clock can tell is a day.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fork needs `unsafe`; what a child sees of its parent's reporter is another process id.
    #[test]
    fn in_a_forked_child_nothing_is_reported_and_nothing_waits() {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&notices);
        let hook =
            NoticeHook::new(move |notice: &Notice| into.lock().unwrap().push(notice.clone()));
        let mut reporter = Reporter::builder().connect("http://127.0.0.1:1").unwrap();
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
