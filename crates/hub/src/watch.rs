use std::sync::Arc;

use milepost_protocol::{Position, State};

use crate::hub::WatchError;
use crate::lease::Lease;
use crate::log::{Mode, Pending};
use crate::sync::Notify;
use crate::topic::Topic;

/// A watcher that is a future instead of a shard's socket: a cursor, and a wait for new states.
pub struct Watch {
    lease: Lease,
    notify: Arc<Notify>,
    cursor: u64,
    mode: Mode,
}

impl Watch {
    pub(crate) fn new(lease: Lease, since: Option<Position>, mode: Mode) -> Self {
        lease.add_watcher();
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

    /// Waits for pending states and returns them, at least one. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchError::LogsFull`] when the hub has shed the topic: the watcher has to leave, and may come back later.
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
            notified.await;
        }
    }

    /// Returns the pending states, if any, without waiting.
    pub fn poll(&mut self) -> Vec<Arc<State>> {
        let inner = self.lease.lock();
        let log = &inner.log;
        let states = match log.pending(self.cursor, self.mode) {
            Pending::Nothing => Vec::new(),
            Pending::From(from) => log.from(from).map(|(_, state)| Arc::clone(state)).collect(),
            Pending::Newest => {
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
        self.lease.remove_watcher();
    }
}
