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

/// What the worker's calls leave for the sender to find. Bounded by the number of jobs: a job is in it
/// once, whatever is called. `H` is what handles on a job share.
#[derive(Debug)]
pub(crate) struct Inbox<H> {
    heartbeat: Duration,
    limit: usize,
    state: Mutex<State<H>>,
    /// Notified when there is something in the inbox.
    arrival: Condvar,
    /// Notified when a flush is over, or the sender is gone.
    flushed: Condvar,
}

#[derive(Debug)]
struct State<H> {
    mail: Mail,
    /// The latest job of each id, until the sender is done with it.
    latest: HashMap<JobId, Latest<H>>,
    occupied: usize,
    next_key: Key,
    flushes_asked: u64,
    flushes_done: u64,
    last_flush_left: usize,
    closing: bool,
    closed: bool,
}

#[derive(Debug)]
struct Latest<H> {
    record: Arc<Record>,
    /// None: given through the old names, which know no handle.
    handle: Option<Weak<H>>,
}

/// What the sender takes out, all at once.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) arrived: Vec<Arrival>,
    pub(crate) woken: Vec<Arc<Record>>,
    /// Flush by then. With several wishes, the longest, but closing goes before.
    pub(crate) flush_by: Option<Instant>,
    /// And that was the last.
    pub(crate) close: bool,
    /// How many flushes were asked for up to now.
    pub(crate) flushes: u64,
}

#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) record: Arc<Record>,
    pub(crate) keep: Lifetime,
    pub(crate) after: Option<Key>,
}

/// Why a job is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Closed,
}

impl<H> Inbox<H> {
    /// For at most `limit` jobs, which are reported every `heartbeat` at least.
    pub(crate) fn new(limit: usize, heartbeat: Duration) -> Self {
        let (arrival, flushed) = (Condvar::new(), Condvar::new());
        Self { limit, heartbeat, state: Mutex::default(), arrival, flushed }
    }

    /// Held for moments only, and nothing in here panics: what it guards is whole even then.
    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a job: another one of the same, if that is under way, or a new one made by `make`.
    pub(crate) fn open(
        &self,
        job: &JobId,
        make: impl FnOnce(Arc<Record>) -> Arc<H>,
    ) -> Result<Arc<H>, NotTaken> {
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

    /// An update that is to be sent as it is.
    pub(crate) fn give(
        &self,
        job: &JobId,
        update: Update,
    ) -> Result<(Arc<Record>, Truncated), NotTaken> {
        let mut state = self.state();
        if state.closed {
            return Err(NotTaken::Closed);
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
        let (at_once, truncated) = record.give(update);
        if at_once && !record.woken.swap(true, Ordering::AcqRel) {
            state.mail.woken.push(Arc::clone(&record));
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
            state.mail.woken.push(Arc::clone(record));
            self.arrival.notify_one();
        }
    }

    /// The sender is done with a job, unless something was given since it looked: then it stays.
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

    /// Waits until the sender has sent all that was reported before, or `deadline`. Returns how many jobs'
    /// states it has not sent; none if it did not say so in time.
    pub(crate) fn flush(&self, deadline: Instant, close: bool) -> Option<usize> {
        let mut state = self.state();
        if state.closed {
            return Some(0);
        }
        // Once it is closing, there is one flush left, and nobody makes that longer.
        if !state.closing {
            state.flushes_asked += 1;
            let longest = state.mail.flush_by.max(Some(deadline));
            state.mail.flush_by = if close { Some(deadline) } else { longest };
        }
        let mine = state.flushes_asked;
        state.closing |= close;
        state.mail.close |= close;
        self.arrival.notify_one();
        while state.flushes_done < mine {
            let left = deadline.saturating_duration_since(Instant::now());
            // The sender itself says when the time is over; this is for when it is still in a request.
            if left.is_zero() || state.closed {
                return None;
            }
            state =
                self.flushed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(state.last_flush_left)
    }

    /// Takes everything out, waiting for it until `until`; forever, if there is nothing to do.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Mail {
        let mut state = self.state();
        loop {
            if !state.mail.is_empty() {
                return state.take_mail();
            }
            let Some(until) = until else {
                state = self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Mail::default();
            }
            state =
                self.arrival.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The flush of that number, and all before it, are over; so many jobs' states were not sent.
    pub(crate) fn flush_is_over(&self, number: u64, left: usize) {
        let mut state = self.state();
        state.flushes_done = number;
        state.last_flush_left = left;
        self.flushed.notify_all();
    }

    /// Nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.mail = Mail::default();
        state.latest.clear();
        self.flushed.notify_all();
    }
}

impl<H> Default for State<H> {
    fn default() -> Self {
        Self {
            mail: Mail::default(),
            latest: HashMap::new(),
            occupied: 0,
            next_key: 0,
            flushes_asked: 0,
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
    ) -> Result<Arc<Record>, NotTaken> {
        if self.closed {
            return Err(NotTaken::Closed);
        }
        if self.occupied >= limit {
            return Err(NotTaken::Full);
        }
        self.occupied += 1;
        self.next_key += 1;
        let after = self.latest.get(job).map(|latest| latest.record.key);
        let counter = Arc::new(Counter::whole());
        let record = Arc::new(Record::new(job.clone(), self.next_key, counter));
        self.mail.arrived.push(Arrival { record: Arc::clone(&record), keep, after });
        Ok(record)
    }

    fn take_mail(&mut self) -> Mail {
        Mail { flushes: self.flushes_asked, ..std::mem::take(&mut self.mail) }
    }
}

impl Mail {
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
        let (record, _) = inbox.give(&job, update(&job, "one")).unwrap();
        let seen = record.snapshot();
        inbox.give(&job, update(&job, "two")).unwrap();
        assert!(!inbox.release(&record, || record.snapshot() == seen));
        let other = JobId::parse("b").unwrap();
        assert_eq!(inbox.give(&other, update(&other, "one")).err(), Some(NotTaken::Full));
        let seen = record.snapshot();
        assert!(inbox.release(&record, || record.snapshot() == seen));
        assert!(inbox.give(&other, update(&other, "one")).is_ok());
    }

    #[test]
    fn mail_is_bounded_by_the_jobs_not_by_the_calls() {
        let inbox = Inbox::<()>::new(10, Duration::from_secs(10));
        let job = JobId::parse("a").unwrap();
        for n in 0..1_000 {
            let (record, _) = inbox.give(&job, update(&job, &n.to_string())).unwrap();
            inbox.wake(&record);
        }
        let mail = inbox.wait(None);
        assert_eq!((mail.arrived.len(), mail.woken.len()), (1, 1));
    }

    #[test]
    fn a_close_does_not_wait_for_another_thread_s_long_flush() {
        let inbox = Inbox::<()>::new(10, Duration::from_secs(10));
        let now = Instant::now();
        let later = now + Duration::from_secs(3_600);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| inbox.flush(later, false));
            let mail = inbox.wait(None);
            assert_eq!(mail.flush_by, Some(later));
            // The deadline is past, so that this only leaves the wish.
            inbox.flush(now, true);
            let mail = inbox.wait(None);
            assert_eq!((mail.flush_by, mail.close, mail.flushes), (Some(now), true, 2));
            inbox.flush(now, false);
            assert!(inbox.wait(Some(now)).flush_by.is_none());
            inbox.flush_is_over(mail.flushes, 3);
            assert_eq!(waiting.join().unwrap(), Some(3));
        });
    }
}
