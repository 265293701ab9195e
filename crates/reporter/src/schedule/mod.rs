//! What to send, and when: no I/O and no clock.
//!
//! Updates are absolute, so each job has one delivery, however often its worker reports. The delivery records
//! which state the server has, and when to check the job again. The check finds changes, so a worker's `inc`
//! need not wake the sender.

mod delivery;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::cause::Cause;
use crate::outage::Outage;
use crate::outcome::Outcome;
use crate::snapshot::{Key, Snapshot};
use delivery::{Delivery, NextStep};

/// How long a delivery is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the job's end is acknowledged; meanwhile there are heartbeats.
    UntilEnd,
    /// Until the present state is acknowledged.
    UntilDelivered,
}

/// How often jobs are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The shortest time between two routine updates of a job.
    pub(crate) interval: Duration,
    /// The longest time between two updates of a job that does not change.
    pub(crate) heartbeat: Duration,
}

/// An outcome that is worth a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobNotice {
    Rejected { reason: String },
    Delayed { reason: String, cause: Cause },
    AttemptOver { reason: String },
}

/// The jobs to send now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) send: Vec<Key>,
    /// Jobs that have nothing more to send. The schedule has already removed them.
    pub(crate) done: Vec<(Key, Snapshot)>,
}

#[derive(Debug)]
struct Flush {
    deadline: Instant,
    left: HashSet<Key>,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    /// Before every time that is passed in: a check at this time is due at once.
    start: Instant,
    deliveries: HashMap<Key, Delivery>,
    checks: BTreeSet<(Instant, Key)>,
    last_pass: Option<Instant>,
    /// Send nothing before this time: the server did not answer, or sent `Retry-After`.
    hold: Option<Instant>,
    backoff: Backoff,
    outage: Outage,
    flush: Option<Flush>,
    random: fastrand::Rng,
    most: usize,
}

impl Schedule {
    /// Changes within this time are sent together, so that many jobs do not need many requests. A job whose
    /// stage changes all the time is sent at most this often.
    pub(crate) const GAP: Duration = Duration::from_millis(20);
    /// The longest `Retry-After` that counts.
    const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
    /// The longest wait between two tries during a flush.
    const FLUSH_RETRY: Duration = Duration::from_millis(250);
    /// The most updates in one request (a server accepts 10,000).
    pub(crate) const BATCH: usize = 1_000;

    pub(crate) fn new(pace: Pace, start: Instant, random: fastrand::Rng) -> Self {
        Self {
            pace,
            start,
            deliveries: HashMap::new(),
            checks: BTreeSet::new(),
            last_pass: None,
            hold: None,
            backoff: Backoff::default(),
            outage: Outage::default(),
            flush: None,
            random,
            most: Self::BATCH,
        }
    }

    /// A job has begun. Its first state is sent after `GAP`, so that it includes the worker's next calls, or
    /// when [woken](Self::wake).
    pub(crate) fn add(&mut self, key: Key, keep: Lifetime, after: Option<Key>, now: Instant) {
        let after = after.filter(|earlier| match self.deliveries.get_mut(earlier) {
            Some(delivery) => {
                delivery.then = Some(key);
                true
            }
            None => false,
        });
        self.deliveries.insert(key, Delivery::new(keep, after));
        self.plan_check(key, now + Self::GAP);
    }

    /// A job has changed in a way that watchers should see at once.
    pub(crate) fn wake(&mut self, key: Key, ended: bool, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        if ended {
            delivery.not_before = None;
        }
        let earliest = delivery.sent_at.map_or(self.start, |sent| sent + Self::GAP);
        let at = if ended || earliest <= now { self.start } else { earliest };
        self.plan_check(key, at);
    }

    /// The jobs to send now: those that were woken, then those that have waited longest. They are in flight
    /// until [`settle`](Self::settle) or [`fail`](Self::fail) is called for them.
    pub(crate) fn due(&mut self, now: Instant, mut snapshot: impl FnMut(Key) -> Snapshot) -> Due {
        let mut due = Due::default();
        if self.hold.is_some_and(|hold| now < hold) {
            return due;
        }
        self.last_pass = Some(now);
        while due.send.len() < self.most {
            let Some(&(at, key)) = self.checks.first().filter(|(at, _)| *at <= now) else { break };
            self.checks.remove(&(at, key));
            let flushing = self.flush.as_ref().is_some_and(|flush| flush.left.contains(&key));
            let Some(delivery) = self.deliveries.get_mut(&key) else { continue };
            delivery.check_at = None;
            let seen = snapshot(key);
            let verdict = delivery.consider(seen, now, self.pace, flushing);
            if delivery.settled == Some(seen.state) || delivery.over.is_some() {
                self.flushed(key);
            }
            match verdict {
                NextStep::Send => {
                    if let Some(delivery) = self.deliveries.get_mut(&key) {
                        delivery.in_flight = Some(seen);
                        delivery.sent_at = Some(now);
                    }
                    due.send.push(key);
                }
                NextStep::Check(at) => self.plan_check(key, at),
                NextStep::Done => {
                    self.remove(key, now);
                    due.done.push((key, seen));
                }
            }
        }
        due
    }

    /// Records the outcome of an update. Returns what is worth a notice.
    pub(crate) fn settle(&mut self, key: Key, outcome: Outcome, now: Instant) -> Option<JobNotice> {
        let delivery = self.deliveries.get_mut(&key)?;
        let sent = delivery.in_flight.take()?;
        let mut next = now + self.pace.interval;
        if sent.ended || delivery.keep == Lifetime::UntilDelivered {
            next = now;
        }
        let mut settled = true;
        let notice = match outcome {
            Outcome::Accepted { .. } => {
                delivery.backoff.reset();
                delivery.not_before = None;
                self.outage.accepted(key, sent.ended);
                None
            }
            Outcome::Rejected { reason } | Outcome::Reducible { reason, .. } => {
                self.outage.gone(key);
                let first = delivery.backoff.failures() == 0;
                delivery.not_before = Some(now + delivery.backoff.next(&mut self.random));
                first.then_some(JobNotice::Rejected { reason })
            }
            Outcome::Busy { retry_after, reason, full, cause } => {
                settled = false;
                let delay = match retry_after {
                    None if self.flush.is_some() => Self::FLUSH_RETRY.mul_f64(self.random.f64()),
                    retry_after => {
                        delivery.backoff.next(&mut self.random).max(retry_after.unwrap_or_default())
                    }
                };
                let delay = delay.min(Self::LONGEST_RETRY_AFTER);
                delivery.not_before = Some(now + delay);
                next = now + delay;
                let is_new = self.outage.delayed(key, sent.ended, full);
                is_new.then_some(JobNotice::Delayed { reason, cause })
            }
            Outcome::AttemptOver { reason } => {
                self.outage.gone(key);
                delivery.over = Some(sent.state.attempt);
                Some(JobNotice::AttemptOver { reason })
            }
        };
        if settled {
            delivery.settled = Some(sent.state);
            delivery.settled_urgent = Some(sent.urgent);
            self.flushed(key);
        }
        self.plan_check(key, next);
        notice
    }

    /// Whether the update in flight is the job's end; `None` if there is none.
    pub(crate) fn sent_end(&self, key: Key) -> Option<bool> {
        Some(self.deliveries.get(&key)?.in_flight?.ended)
    }

    /// The server did not accept the update in flight. It is sent again at once, in another form.
    pub(crate) fn send_again(&mut self, key: Key) {
        if let Some(delivery) = self.deliveries.get_mut(&key) {
            delivery.in_flight = None;
            delivery.sent_at = None;
            self.plan_check(key, self.start);
        }
    }

    /// A request was answered. Call [`settle`](Self::settle) for each outcome next.
    pub(crate) fn answered(&mut self) {
        self.backoff.reset();
        self.hold = None;
        self.most = (self.most * 2).min(Self::BATCH);
        self.outage.answered();
    }

    /// After the outcomes of a request: whether an outage has just ended.
    pub(crate) fn has_recovered(&mut self) -> bool {
        self.outage.is_over()
    }

    /// The request with these updates was not answered, or the server asked to retry later. All of them are
    /// due again. Returns whether an outage has just begun.
    pub(crate) fn fail(
        &mut self,
        keys: &[Key],
        retry_after: Option<Duration>,
        now: Instant,
    ) -> bool {
        self.put_back(keys, now);
        let flushing = self.flush.is_some();
        let delay = match retry_after {
            // Up to a quarter more, so that clients with the same `Retry-After` do not all return at once.
            Some(retry_after) => {
                retry_after.min(Self::LONGEST_RETRY_AFTER).mul_f64(1.0 + self.random.f64() / 4.0)
            }
            None if flushing => Self::FLUSH_RETRY.mul_f64(self.random.f64()),
            None => self.backoff.next(&mut self.random),
        };
        self.hold = Some(now + delay);
        self.outage.failed()
    }

    /// The server rejected a batch of this size. Its updates are due again, in batches of half the size.
    pub(crate) fn reduce(&mut self, keys: &[Key], now: Instant) {
        self.put_back(keys, now);
        self.most = (keys.len() / 2).max(1);
    }

    /// Sends all changes so far by `deadline`, without waiting for their usual times.
    pub(crate) fn flush(&mut self, now: Instant, deadline: Instant) {
        let left: HashSet<Key> = self.deliveries.keys().copied().collect();
        self.hold = None;
        for &key in &left {
            if let Some(delivery) = self.deliveries.get_mut(&key) {
                delivery.not_before = None;
            }
            self.plan_check(key, now);
        }
        self.flush = Some(Flush { deadline, left });
    }

    /// `None` during the flush; then the number of jobs that it has not sent. It is over when no job is pending, its
    /// time is up, or the server asked to wait for longer than that.
    pub(crate) fn flush_over(&mut self, now: Instant) -> Option<usize> {
        let flush = self.flush.as_ref()?;
        let hopeless = self.hold.is_some_and(|hold| hold >= flush.deadline);
        let over = flush.left.is_empty() || now >= flush.deadline || hopeless;
        over.then(|| self.flush.take().map_or(0, |flush| flush.left.len()))
    }

    /// How long a request may take during a flush.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.flush.as_ref().map(|flush| flush.deadline.saturating_duration_since(now))
    }

    /// When there is something to do, unless a call wakes the sender before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let deadline = self.flush.as_ref().map(|flush| flush.deadline);
        let Some(&(first, _)) = self.checks.first() else { return deadline };
        let mut at = first;
        if first > self.start {
            at = at.max(self.last_pass.map_or(first, |last| last + Self::GAP));
        }
        at = self.hold.map_or(at, |hold| hold.max(at));
        Some(deadline.map_or(at, |deadline| deadline.min(at)))
    }

    /// These were not sent after all.
    pub(crate) fn put_back(&mut self, keys: &[Key], now: Instant) {
        for &key in keys {
            let Some(delivery) = self.deliveries.get_mut(&key) else { continue };
            delivery.sent_at = None;
            let at = if delivery.in_flight.take().is_some_and(|sent| sent.ended) {
                self.start
            } else {
                now
            };
            self.plan_check(key, at);
        }
    }

    /// Checks a job at `at`, or earlier if that is planned already.
    fn plan_check(&mut self, key: Key, at: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        if delivery.after.is_some() || delivery.in_flight.is_some() {
            return;
        }
        if let Some(planned) = delivery.check_at {
            if planned <= at {
                return;
            }
            self.checks.remove(&(planned, key));
        }
        delivery.check_at = Some(at);
        self.checks.insert((at, key));
    }

    fn flushed(&mut self, key: Key) {
        if let Some(flush) = &mut self.flush {
            flush.left.remove(&key);
        }
    }

    fn remove(&mut self, key: Key, now: Instant) {
        self.flushed(key);
        self.outage.gone(key);
        let Some(delivery) = self.deliveries.remove(&key) else { return };
        if let Some(next) = delivery.then {
            if let Some(waiting) = self.deliveries.get_mut(&next) {
                waiting.after = None;
            }
            self.plan_check(next, now);
        }
    }
}

#[cfg(test)]
mod tests;
