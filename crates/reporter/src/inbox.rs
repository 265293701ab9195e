use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use milepost_protocol::JobId;

use crate::counter::Counter;
use crate::record::Record;
use crate::schedule::Lifetime;
use crate::snapshot::Key;
use crate::update::{Truncated, Update};

/// The sender's inbox: messages from the worker's calls. Bounded by the number of jobs: each job is in it at
/// most once. `H` is the state that the handles on a job share.
#[derive(Debug)]
pub(crate) struct Inbox<H> {
    heartbeat: Duration,
    limit: usize,
    state: Mutex<State<H>>,
    /// Notified when there is something in the inbox.
    arrival: Condvar,
    /// Notified when a flush is over, or the sender has ended.
    flushed: Condvar,
}

#[derive(Debug)]
struct State<H> {
    contents: Contents,
    /// The latest job of each id, until it has nothing more to send.
    latest: HashMap<JobId, Latest<H>>,
    occupied: usize,
    next_key: Key,
    flushes_requested: u64,
    flushes_done: u64,
    last_flush_left: usize,
    closing: bool,
    closed: bool,
}

#[derive(Debug)]
struct Latest<H> {
    record: Arc<Record>,
    /// `None` for updates of the legacy methods, which have no handle.
    handle: Option<Weak<H>>,
}

/// Everything that the sender takes out at once.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) arrived: Vec<Arrival>,
    pub(crate) woken: Vec<Arc<Record>>,
    /// The deadline of a flush. Of several requests, the latest deadline counts, but that of closing
    /// overrides them.
    pub(crate) flush_by: Option<Instant>,
    /// Whether this is the last flush.
    pub(crate) close: bool,
    /// How many flushes have been requested.
    pub(crate) flushes: u64,
}

#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) record: Arc<Record>,
    pub(crate) keep: Lifetime,
    pub(crate) after: Option<Key>,
}

/// Why a job was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    Full,
    Closed,
}

impl<H> Inbox<H> {
    /// For at most `limit` jobs; a running job is reported at least once in `heartbeat`.
    pub(crate) fn new(limit: usize, heartbeat: Duration) -> Self {
        let (arrival, flushed) = (Condvar::new(), Condvar::new());
        Self { limit, heartbeat, state: Mutex::default(), arrival, flushed }
    }

    /// Held briefly. Nothing panics while it is held, so a poisoned lock guards consistent data.
    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a job: a new handle on the same job if it is running, otherwise one made by `make`.
    pub(crate) fn open(
        &self,
        job: &JobId,
        make: impl FnOnce(Arc<Record>) -> Arc<H>,
    ) -> Result<Arc<H>, NotAccepted> {
        let mut state = self.state();
        if let Some(handle) = state.running(job) {
            return Ok(handle);
        }
        let record = state.begin(job, Lifetime::UntilEnd, self.limit)?;
        record.heartbeat(self.heartbeat);
        let handle = make(Arc::clone(&record));
        let latest = Latest { record, handle: Some(Arc::downgrade(&handle)) };
        state.latest.insert(job.clone(), latest);
        self.arrival.notify_one();
        Ok(handle)
    }

    /// Reports a whole update.
    pub(crate) fn report_whole(
        &self,
        job: &JobId,
        update: Update,
    ) -> Result<(Arc<Record>, Truncated), NotAccepted> {
        let mut state = self.state();
        if state.closed {
            return Err(NotAccepted::Closed);
        }
        let open = state.latest.get(job).filter(|latest| !latest.record.has_ended());
        let record = if let Some(latest) = open {
            Arc::clone(&latest.record)
        } else {
            let record = state.begin(job, Lifetime::UntilDelivered, self.limit)?;
            let latest = Latest { record: Arc::clone(&record), handle: None };
            state.latest.insert(job.clone(), latest);
            record
        };
        let (at_once, truncated) = record.set_whole(update);
        if at_once && !record.woken.swap(true, Ordering::AcqRel) {
            state.contents.woken.push(Arc::clone(&record));
        }
        self.arrival.notify_one();
        Ok((record, truncated))
    }

    /// Asks the sender to check a job at once.
    pub(crate) fn wake(&self, record: &Arc<Record>) {
        if record.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.state();
        if !state.closed {
            state.contents.woken.push(Arc::clone(record));
            self.arrival.notify_one();
        }
    }

    /// Removes a job that has nothing more to send. Returns false if it has changed since `seen`.
    pub(crate) fn release(&self, record: &Arc<Record>, is_done: impl FnOnce() -> bool) -> bool {
        let mut state = self.state();
        if !is_done() {
            return false;
        }
        state.occupied -= 1;
        if state.latest.get(&record.job).is_some_and(|latest| Arc::ptr_eq(&latest.record, record)) {
            state.latest.remove(&record.job);
        }
        true
    }

    /// Waits until the sender has sent all updates so far, or until `deadline`. Returns how many jobs' states
    /// were not sent, or `None` if the sender did not answer in time.
    pub(crate) fn flush(&self, deadline: Instant, close: bool) -> Option<usize> {
        let mut state = self.state();
        if state.closed {
            return Some(0);
        }
        // After closing, one last flush remains, and later calls do not extend it.
        if !state.closing {
            state.flushes_requested += 1;
            let longest = state.contents.flush_by.max(Some(deadline));
            state.contents.flush_by = if close { Some(deadline) } else { longest };
        }
        let mine = state.flushes_requested;
        state.closing |= close;
        state.contents.close |= close;
        self.arrival.notify_one();
        while state.flushes_done < mine {
            let left = deadline.saturating_duration_since(Instant::now());
            // The sender finishes the flush at its deadline. The extra time is for a request that is still
            // running then.
            if left.is_zero() || state.closed {
                return None;
            }
            state =
                self.flushed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(state.last_flush_left)
    }

    /// Takes everything out. If the inbox is empty, waits until `until`, or forever if that is `None`.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Contents {
        let mut state = self.state();
        loop {
            if !state.contents.is_empty() {
                return state.take_contents();
            }
            let Some(until) = until else {
                state = self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Contents::default();
            }
            state =
                self.arrival.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The flush of that number, and all before it, are over; `pending` jobs' states were not sent.
    pub(crate) fn flush_is_over(&self, number: u64, left: usize) {
        let mut state = self.state();
        state.flushes_done = number;
        state.last_flush_left = left;
        self.flushed.notify_all();
    }

    /// Accepts no more jobs.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.contents = Contents::default();
        state.latest.clear();
        self.flushed.notify_all();
    }
}

impl<H> Default for State<H> {
    fn default() -> Self {
        Self {
            contents: Contents::default(),
            latest: HashMap::new(),
            occupied: 0,
            next_key: 0,
            flushes_requested: 0,
            flushes_done: 0,
            last_flush_left: 0,
            closing: false,
            closed: false,
        }
    }
}

impl<H> State<H> {
    fn running(&self, job: &JobId) -> Option<Arc<H>> {
        let latest = self.latest.get(job)?;
        if latest.record.has_ended() {
            return None;
        }
        latest.handle.as_ref()?.upgrade()
    }

    fn begin(
        &mut self,
        job: &JobId,
        keep: Lifetime,
        limit: usize,
    ) -> Result<Arc<Record>, NotAccepted> {
        if self.closed {
            return Err(NotAccepted::Closed);
        }
        if self.occupied >= limit {
            return Err(NotAccepted::Full);
        }
        self.occupied += 1;
        self.next_key += 1;
        let after = self.latest.get(job).map(|latest| latest.record.key);
        let counter = Arc::new(Counter::whole());
        let record = Arc::new(Record::new(job.clone(), self.next_key, counter));
        self.contents.arrived.push(Arrival { record: Arc::clone(&record), keep, after });
        Ok(record)
    }

    fn take_contents(&mut self) -> Contents {
        Contents { flushes: self.flushes_requested, ..std::mem::take(&mut self.contents) }
    }
}

impl Contents {
    pub(crate) fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.woken.is_empty() && self.flush_by.is_none() && !self.close
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_protocol::Status;

    fn update(job: &JobId, stage: &str) -> Update {
        Update {
            stage: Some(stage.to_owned()),
            ..Update::new(job, Status::Processing, String::new())
        }
    }

    #[test]
    fn what_is_given_while_the_sender_finishes_is_not_lost() {
        let inbox = Inbox::<()>::new(1, Duration::from_secs(10));
        let job = JobId::parse("a").unwrap();
        let (record, _) = inbox.report_whole(&job, update(&job, "one")).unwrap();
        let seen = record.snapshot();
        inbox.report_whole(&job, update(&job, "two")).unwrap();
        assert!(!inbox.release(&record, || record.snapshot() == seen));
        let other = JobId::parse("b").unwrap();
        assert_eq!(
            inbox.report_whole(&other, update(&other, "one")).err(),
            Some(NotAccepted::Full)
        );
        let seen = record.snapshot();
        assert!(inbox.release(&record, || record.snapshot() == seen));
        assert!(inbox.report_whole(&other, update(&other, "one")).is_ok());
    }

    #[test]
    fn the_inbox_is_bounded_by_the_jobs_not_by_the_calls() {
        let inbox = Inbox::<()>::new(10, Duration::from_secs(10));
        let job = JobId::parse("a").unwrap();
        for n in 0..1_000 {
            let (record, _) = inbox.report_whole(&job, update(&job, &n.to_string())).unwrap();
            inbox.wake(&record);
        }
        let contents = inbox.wait(None);
        assert_eq!((contents.arrived.len(), contents.woken.len()), (1, 1));
    }

    #[test]
    fn a_close_does_not_wait_for_another_thread_s_long_flush() {
        let inbox = Inbox::<()>::new(10, Duration::from_secs(10));
        let now = Instant::now();
        let later = now + Duration::from_secs(3_600);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| inbox.flush(later, false));
            let contents = inbox.wait(None);
            assert_eq!(contents.flush_by, Some(later));
            // The deadline has passed, so this only leaves the request.
            inbox.flush(now, true);
            let contents = inbox.wait(None);
            assert_eq!((contents.flush_by, contents.close, contents.flushes), (Some(now), true, 2));
            inbox.flush(now, false);
            assert!(inbox.wait(Some(now)).flush_by.is_none());
            inbox.flush_is_over(contents.flushes, 3);
            assert_eq!(waiting.join().unwrap(), Some(3));
        });
    }
}
