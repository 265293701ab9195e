use std::sync::Arc;

use milepost_broker::Unavailable;
use milepost_protocol::{Position, State, View};

use crate::lease::Lease;
use crate::log::{Mode, Pending};
use crate::sync::Notify;
use crate::topic::Topic;

/// Why a job cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// The broker is unavailable.
    Unavailable(Unavailable),
    /// The hub holds its maximum of topics, which is given.
    Full(usize),
    /// The logs hold their maximum of bytes, which is given.
    LogsFull(usize),
    /// The broker cannot read the job now, so that states may be missing.
    Unreadable,
}

impl From<Unavailable> for WatchError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// A watcher that is a future instead of a shard's socket: a cursor, and a wait for new states.
pub struct Watch {
    lease: Lease,
    notify: Arc<Notify>,
    cursor: u64,
    mode: Mode,
    view: View,
    /// The last time that the job was unreadable of which this was notified; 0 if there was none.
    unreadable: u32,
}

impl Watch {
    pub(crate) fn new(lease: Lease, since: Option<Position>, mode: Mode) -> Self {
        lease.add_watcher();
        let notify = lease.notify();
        let cursor = {
            let log = &lease.lock().log;
            since.map_or_else(|| log.present(), |since| log.resume(since))
        };
        Self { lease, notify, cursor, mode, view: View::Full, unreadable: 0 }
    }

    /// Shows this view of the states instead of all of them.
    #[must_use]
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// The job that is watched.
    pub fn topic(&self) -> &Topic {
        &self.lease
    }

    /// Waits for pending states and returns them, at least one. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchError::LogsFull`] when the hub has shed the topic: the watcher has to leave, and may reconnect later.
    /// [`WatchError::Unreadable`] once each time that the broker can no longer read the job: the watcher may wait on.
    pub async fn next(&mut self) -> Result<Vec<Arc<State>>, WatchError> {
        loop {
            // The wait begins before the log is read, so that no state arrives unnoticed in between.
            let notify = Arc::clone(&self.notify);
            let mut notified = std::pin::pin!(notify.notified());
            notified.as_mut().enable();
            let states = self.poll();
            if !states.is_empty() {
                return Ok(states);
            }
            if self.lease.is_shed() {
                return Err(WatchError::LogsFull(self.lease.shared.log_bytes.limit()));
            }
            if self.becomes_unreadable() {
                return Err(WatchError::Unreadable);
            }
            notified.await;
        }
    }

    /// Whether the job is unreadable, and this was not reported yet.
    fn becomes_unreadable(&mut self) -> bool {
        let Some(number) = self.lease.lock().unreadable() else { return false };
        std::mem::replace(&mut self.unreadable, number) != number
    }

    /// Returns the pending states, if any, without waiting.
    pub fn poll(&mut self) -> Vec<Arc<State>> {
        let mut inner = self.lease.lock();
        inner.prepare(self.cursor, self.mode, self.view, &self.lease.shared);
        let log = &inner.log;
        let shown = |(number, state)| log.shown(number, state, self.view).into_owned();
        let states = match log.pending(self.cursor, self.mode) {
            Pending::Nothing => Vec::new(),
            Pending::From(from) => log.from(from).map(shown).collect(),
            Pending::Newest => {
                let newest = log.newest().map(|newest| (log.end() - 1, newest));
                log.ends_before_newest(self.cursor).chain(newest).map(shown).collect()
            }
        };
        self.cursor = log.end();
        states
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lease.remove_watcher();
    }
}
