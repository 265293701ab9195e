use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use milepost_protocol::MAX_UPDATE_BYTES;

use crate::cause::Cause;
use crate::inbox::{Contents, Inbox};
use crate::notice::{Notice, NoticeHook};
use crate::outcome::Outcome;
use crate::record::Record;
use crate::schedule::{JobNotice, Lifetime, Schedule};
use crate::snapshot::{Key, Snapshot};
use crate::transport::{Failure, Outgoing, Transport};
use crate::update::Truncated;

/// The background thread: it passes updates from the schedule to the transport, and outcomes back.
pub(crate) struct Sender<H> {
    inbox: Arc<Inbox<H>>,
    schedule: Schedule,
    transport: Box<dyn Transport>,
    records: HashMap<Key, Arc<Record>>,
    notices: NoticeHook,
    /// Bounds each request, so that a flush of that length does not wait for an earlier request alone.
    request_timeout: Duration,
    /// The flush in progress, by number.
    flush: Option<u64>,
    closing: bool,
    clock: Clock,
}

/// The clock.
pub(crate) type Clock = Box<dyn Fn() -> Instant + Send>;

/// The most bytes of updates in one request (a server accepts 8 MiB); one update is smaller.
const BATCH_BYTES: usize = 1 << 20;

impl<H> Sender<H> {
    pub(crate) fn new(
        inbox: Arc<Inbox<H>>,
        schedule: Schedule,
        transport: Box<dyn Transport>,
        notices: NoticeHook,
        request_timeout: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            inbox,
            schedule,
            transport,
            records: HashMap::new(),
            notices,
            request_timeout,
            flush: None,
            closing: false,
            clock,
        }
    }

    /// Runs until the reporter is closed and flushed.
    pub(crate) fn run(mut self) {
        let mut contents = Contents::default();
        while self.turn(contents) {
            contents = self.inbox.wait(self.schedule.wake_at());
        }
    }

    /// Handles the messages of the worker's calls, and sends what is due. Returns false after the last flush.
    fn turn(&mut self, contents: Contents) -> bool {
        self.take(contents, (self.clock)());
        self.send_due();
        if let Some(left) = self.schedule.flush_over((self.clock)()) {
            if self.closing && left > 0 {
                self.notices.notify(&Notice::Undelivered { jobs: left });
            }
            if let Some(number) = self.flush.take() {
                self.inbox.flush_is_over(number, left);
            }
            return !self.closing;
        }
        true
    }

    fn take(&mut self, contents: Contents, now: Instant) {
        for arrival in contents.arrived {
            let key = arrival.record.key;
            self.records.insert(key, arrival.record);
            self.schedule.add(key, arrival.keep, arrival.after, now);
        }
        for record in contents.woken {
            record.woken.store(false, Ordering::Release);
            self.schedule.wake(record.key, record.has_ended(), now);
        }
        if let Some(deadline) = contents.flush_by {
            self.closing |= contents.close;
            self.flush = Some(contents.flushes);
            self.schedule.flush(now, deadline);
        }
    }

    /// Sends what is due, in as many requests as needed.
    fn send_due(&mut self) {
        let now = (self.clock)();
        let records = &self.records;
        let mut due = self.schedule.due(now, |key| records[&key].snapshot());
        for (key, seen) in due.done {
            self.release(key, seen, now);
        }
        // Children first, so that the end of a parent that is sent with theirs shows them. A child that is a parent
        // itself began before its own children.
        due.send.sort_by_cached_key(|key| {
            let is_child = self.records[key].has_parent();
            (!is_child, is_child.then_some(Reverse(*key)))
        });
        let updates: Vec<(Key, Arc<Record>, Arc<str>)> =
            due.send.iter().map(|&key| self.encode(key, now)).collect();
        let mut rest = updates.as_slice();
        while !rest.is_empty() {
            let (request, after) = rest.split_at(fitting(rest));
            if !self.send(request) {
                let keys: Vec<Key> = after.iter().map(|(key, ..)| *key).collect();
                self.schedule.put_back(&keys, (self.clock)());
                return;
            }
            rest = after;
        }
    }

    fn encode(&self, key: Key, now: Instant) -> (Key, Arc<Record>, Arc<str>) {
        let record = Arc::clone(&self.records[&key]);
        let (json, truncated) = record.encode(now);
        notify_truncated(&self.notices, &record, &truncated);
        (key, record, json)
    }

    /// Returns whether to send more to the server now.
    fn send(&mut self, updates: &[(Key, Arc<Record>, Arc<str>)]) -> bool {
        let keys: Vec<Key> = updates.iter().map(|(key, ..)| *key).collect();
        let outgoing: Vec<Outgoing<'_>> =
            updates.iter().map(|(_, record, json)| Outgoing { job: &record.job, json }).collect();
        let left = self.schedule.time_left((self.clock)()).unwrap_or(self.request_timeout);
        let timeout = left.min(self.request_timeout).max(Duration::from_millis(1));
        let answer = self.transport.send(&outgoing, timeout);
        let now = (self.clock)();
        match answer {
            Ok(outcomes) => {
                self.schedule.answered();
                for ((key, record, _), outcome) in updates.iter().zip(outcomes) {
                    self.settle(*key, record, outcome, now);
                }
                if self.schedule.has_recovered() {
                    self.notices.notify(&Notice::Recovered);
                }
                true
            }
            Err(Failure::BatchRejected) => {
                self.schedule.reduce(&keys, now);
                false
            }
            Err(Failure::Lost { reason }) => {
                self.fail(&keys, None, (Cause::NoAnswer, reason), now);
                false
            }
            Err(Failure::Busy { retry_after, reason, cause }) => {
                self.fail(&keys, retry_after, (cause, reason), now);
                false
            }
        }
    }

    fn fail(
        &mut self,
        keys: &[Key],
        retry_after: Option<Duration>,
        (cause, reason): (Cause, String),
        now: Instant,
    ) {
        if self.schedule.fail(keys, retry_after, now) {
            self.notices.notify(&Notice::Failing { reason, cause });
        }
    }

    fn settle(&mut self, key: Key, record: &Record, outcome: Outcome, now: Instant) {
        let job = record.job.clone();
        let outcome = match outcome {
            Outcome::Reducible { reason, too_large, foreign } => {
                let Some(ended) = self.schedule.sent_end(key) else { return };
                // While the job runs, a notice names the invalid part so that its author can fix it. An end
                // must arrive.
                if (too_large || ended) && record.reduce(ended) {
                    record.set_rejected_part(reason);
                    self.schedule.send_again(key);
                    return;
                }
                if foreign {
                    let cause = Cause::NoAnswer;
                    Outcome::Busy { retry_after: None, reason, full: false, cause }
                } else {
                    Outcome::Rejected { reason }
                }
            }
            outcome => outcome,
        };
        if let Outcome::Accepted { requested } = &outcome {
            if let Some(reason) = record.take_rejected_part()
                && record.first_truncated()
            {
                let reason = format!("the server rejected it: {reason}");
                self.notices.notify(&Notice::Truncated { job: job.clone(), reason });
            }
            if requested.is_some() {
                record.requests.set(requested.clone());
            }
        }
        let notice = match self.schedule.settle(key, outcome, now) {
            None => return,
            Some(JobNotice::Rejected { reason }) => Notice::Rejected { job, reason },
            Some(JobNotice::Delayed { reason, cause }) => Notice::Delayed { job, reason, cause },
            Some(JobNotice::AttemptOver { reason }) => Notice::AttemptOver { job, reason },
        };
        self.notices.notify(&notice);
    }

    fn release(&mut self, key: Key, seen: Snapshot, now: Instant) {
        let Some(record) = self.records.get(&key).cloned() else { return };
        if self.inbox.release(&record, || record.snapshot() == seen) {
            self.records.remove(&key);
        } else {
            // The job has changed since the snapshot. Nobody else has this key.
            self.schedule.add(key, Lifetime::UntilDelivered, None, now);
            self.schedule.wake(key, record.has_ended(), now);
        }
    }
}

/// However the thread ends, the inbox is closed, so that nothing more is added to it.
impl<H> Drop for Sender<H> {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// How many of these updates go into one request; at least one.
fn fitting(updates: &[(Key, Arc<Record>, Arc<str>)]) -> usize {
    let mut bytes = 0;
    let fit = updates.iter().take_while(|(_, _, json)| {
        bytes += json.len() + 1;
        bytes <= BATCH_BYTES
    });
    fit.count().max(1)
}

/// Logs once for each job that a part of it cannot be sent.
pub(crate) fn notify_truncated(notices: &NoticeHook, record: &Record, truncated: &Truncated) {
    if !truncated.is_empty() && record.first_truncated() {
        let reason = format!("{truncated}: an update has at most {MAX_UPDATE_BYTES} bytes");
        notices.notify(&Notice::Truncated { job: record.job.clone(), reason });
    }
}

/// A progress that is at most this far outside of 0…1 was rounded; it is not in percent.
const ROUNDING: f64 = 0.001;

/// Notifies of a job's first progress that is outside of 0…1.
pub(crate) fn notify_out_of_range(notices: &NoticeHook, record: &Record, progress: f64) {
    let is_in_range = progress.is_nan() || (-ROUNDING..=1.0 + ROUNDING).contains(&progress);
    if !is_in_range && record.first_out_of_range() {
        let shown = progress.clamp(0.0, 1.0);
        let reason = format!(
            "progress must be between 0 and 1, so {progress} counts as {shown}; 50 % is 0.5"
        );
        notices.notify(&Notice::ProgressOutOfRange { job: record.job.clone(), reason });
    }
}

#[cfg(test)]
mod fixtures;
