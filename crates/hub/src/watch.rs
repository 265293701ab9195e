use std::sync::Arc;

use milepost_broker::Unavailable;
use milepost_protocol::{Position, State, View};

use crate::lease::Lease;
use crate::log::{Mode, Pending};
use crate::sync::Notify;
use crate::topic::{Notice, Topic};

/// Why a watch cannot begin, or has no states to show now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// The broker is unavailable.
    Unavailable(Unavailable),
    /// The hub holds its maximum of topics, which is given.
    Full(usize),
    /// The logs hold their maximum of bytes, which is given.
    LogsFull(usize),
    /// Something is to be said of the job; the watch goes on.
    Notice(Notice),
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
    /// The number of the last notice of which this was notified; 0 if there was none.
    notices_seen: u32,
}

impl Watch {
    pub(crate) fn new(lease: Lease, since: Option<Position>, mode: Mode) -> Self {
        lease.add_watcher();
        let notify = lease.notify();
        let (cursor, notices_seen) = {
            let inner = lease.lock();
            let log = &inner.log;
            let cursor = since.map_or_else(|| log.present(), |since| log.resume(since));
            (cursor, inner.notices_seen(false))
        };
        Self { lease, notify, cursor, mode, view: View::Full, notices_seen }
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
    /// [`WatchError::Notice`] once each time that there is one: the watcher may wait on.
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
            if let Some(notice) = self.take_notice() {
                return Err(WatchError::Notice(notice));
            }
            notified.await;
        }
    }

    /// What holds of the job now, if this was not notified of it before.
    fn take_notice(&mut self) -> Option<Notice> {
        let given = self.lease.lock().given()?;
        let is_due = given.is_due(self.cursor, self.notices_seen);
        self.notices_seen = given.number;
        is_due.then_some(given.notice)
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
