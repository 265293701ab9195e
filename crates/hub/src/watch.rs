use std::sync::Arc;

use milepost_protocol::{Position, State};

use crate::lease::Lease;
use crate::log::{Mode, Next};
use crate::sync::Notify;
use crate::topic::Topic;

/// A watcher that waits by itself, rather than being served by a shard: a cursor and a future.
pub struct Watch {
    lease: Lease,
    notify: Arc<Notify>,
    cursor: u64,
    mode: Mode,
}

impl Watch {
    pub(crate) fn new(lease: Lease, since: Option<Position>, mode: Mode) -> Self {
        lease.watcher_came();
        let notify = lease.notify();
        let cursor = {
            let log = &lease.lock().log;
            since.map_or_else(|| log.present(), |since| log.resume(since))
        };
        Self { lease, notify, cursor, mode }
    }

    /// The job that is watched.
    pub fn topic(&self) -> &Topic {
        &self.lease
    }

    /// The states to show next, at least one. Safe to drop and call again.
    pub async fn next(&mut self) -> Vec<Arc<State>> {
        loop {
            // Waiting begins before the log is read, so that nothing comes in between unnoticed.
            let notify = Arc::clone(&self.notify);
            let mut told = std::pin::pin!(notify.notified());
            told.as_mut().enable();
            let states = self.poll();
            if !states.is_empty() {
                return states;
            }
            told.await;
        }
    }

    /// The states to show now, if there are any.
    pub fn poll(&mut self) -> Vec<Arc<State>> {
        let inner = self.lease.lock();
        let log = &inner.log;
        let states = match log.next(self.cursor, self.mode) {
            Next::Nothing => Vec::new(),
            Next::From(from) => log.from(from).map(|(_, state)| Arc::clone(state)).collect(),
            Next::Newest => {
                let ends = log.ends_before_newest(self.cursor).map(|(_, end)| end);
                ends.chain(log.newest()).cloned().collect()
            }
        };
        self.cursor = log.end();
        states
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lease.watcher_left();
    }
}
