//! What to send, and when: no I/O and no clock.
//!
//! A job has one delivery, whatever its worker does, since updates are absolute: it records what of the job has
//! arrived, and when to check the job again. A check finds out whether it has changed; so a worker's `inc`
//! need not wake anybody.

mod delivery;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::outage::Outage;
use crate::outcome::Outcome;
use crate::snapshot::{Key, Snapshot};
use delivery::{Delivery, NextStep};

/// How long a delivery is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the job's end has arrived; meanwhile there are heartbeats.
    UntilEnd,
    /// Until what was given has arrived.
    UntilDelivered,
}

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two routine updates of a job, at least.
    pub(crate) interval: Duration,
    /// Between two updates of a job that does not change, at most.
    pub(crate) heartbeat: Duration,
}

/// What of an outcome is worth saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobNotice {
    Rejected { reason: String },
    Delayed { reason: String },
    AttemptOver { reason: String },
}

/// Who is to be sent now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) send: Vec<Key>,
    /// Slots that are done with. They are forgotten here already.
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
    /// Earlier than every moment that is passed in: a check at this time is due at once.
    start: Instant,
    deliveries: HashMap<Key, Delivery>,
    checks: BTreeSet<(Instant, Key)>,
    last_pass: Option<Instant>,
    /// Nothing is sent before: the server did not answer, or asked for it.
    hold: Option<Instant>,
    backoff: Backoff,
    outage: Outage,
    flush: Option<Flush>,
    random: fastrand::Rng,
    most: usize,
}

impl Schedule {
    /// What comes within this time is sent together, so that many jobs do not mean many requests; also, as
    /// often as this at most is a job sent whose stage changes all the time.
    pub(crate) const GAP: Duration = Duration::from_millis(20);
    /// The longest that a `Retry-After` is believed.
    const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
    /// Between two tries during a flush, at most: there is no time for more.
    const FLUSH_RETRY: Duration = Duration::from_millis(250);
    /// Updates in one request, at most (a server takes 10,000).
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

    /// A job has begun. Its first state is sent after a moment, so that what the worker says next is in it,
    /// or when [woken](Self::wake).
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

    /// A job has changed in a way that is to be seen at once.
    pub(crate) fn wake(&mut self, key: Key, ended: bool, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        if ended {
            delivery.not_before = None;
        }
        let earliest = delivery.sent_at.map_or(self.start, |sent| sent + Self::GAP);
        let at = if ended || earliest <= now { self.start } else { earliest };
        self.plan_check(key, at);
    }

    /// Whom to send now, those that were woken first, then the ones that have waited longest. They are in
    /// flight until [`settle`](Self::settle) or [`fail`](Self::fail) is called for them.
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
                NextStep::Look(at) => self.plan_check(key, at),
                NextStep::Done => {
                    self.remove(key, now);
                    due.done.push((key, seen));
                }
            }
        }
        due
    }

    /// The server said this of an update. Returns what is worth saying of it.
    pub(crate) fn settle(&mut self, key: Key, outcome: Outcome, now: Instant) -> Option<JobNotice> {
        let delivery = self.deliveries.get_mut(&key)?;
        let sent = delivery.in_flight.take()?;
        let mut next = now + self.pace.interval;
        if sent.ended || delivery.keep == Lifetime::UntilDelivered {
            next = now;
        }
        let mut settled = true;
        let remark = match outcome {
            Outcome::Accepted { .. } => {
                delivery.backoff.reset();
                delivery.not_before = None;
                self.outage.taken(key, sent.ended);
                None
            }
            Outcome::Rejected { reason } | Outcome::Reducible { reason, .. } => {
                self.outage.gone(key);
                let first = delivery.backoff.failures() == 0;
                delivery.not_before = Some(now + delivery.backoff.next(&mut self.random));
                first.then_some(JobNotice::Rejected { reason })
            }
            Outcome::Busy { retry_after, reason, full } => {
                settled = false;
                let delay = match retry_after {
                    None if self.flush.is_some() => Self::FLUSH_RETRY.mul_f64(self.random.f64()),
                    told => delivery.backoff.next(&mut self.random).max(told.unwrap_or_default()),
                };
                let delay = delay.min(Self::LONGEST_RETRY_AFTER);
                delivery.not_before = Some(now + delay);
                next = now + delay;
                self.outage.delayed(key, sent.ended, full).then_some(JobNotice::Delayed { reason })
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
        remark
    }

    /// Whether the update that is in flight is the job's end; none if nothing is.
    pub(crate) fn sent_end(&self, key: Key) -> Option<bool> {
        Some(self.deliveries.get(&key)?.in_flight?.ended)
    }

    /// The update that is in flight was not taken, and is to be sent at once in another form.
    pub(crate) fn send_again(&mut self, key: Key) {
        if let Some(delivery) = self.deliveries.get_mut(&key) {
            delivery.in_flight = None;
            delivery.sent_at = None;
            self.plan_check(key, self.start);
        }
    }

    /// A request was answered; its outcomes are to be [settled](Self::settle).
    pub(crate) fn answered(&mut self) {
        self.backoff.reset();
        self.hold = None;
        self.most = (self.most * 2).min(Self::BATCH);
        self.outage.answered();
    }

    /// After the outcomes of a request: whether it is news that the server takes updates again.
    pub(crate) fn has_recovered(&mut self) -> bool {
        self.outage.is_over()
    }

    /// The request with these updates was not answered, or the server asks to come back later. All of them
    /// are due again. Returns whether that is news.
    pub(crate) fn fail(
        &mut self,
        keys: &[Key],
        retry_after: Option<Duration>,
        now: Instant,
    ) -> bool {
        self.put_back(keys, now);
        let flushing = self.flush.is_some();
        let delay = match retry_after {
            // A quarter more at most, so that not everybody who was given the same time comes at once.
            Some(told) => {
                told.min(Self::LONGEST_RETRY_AFTER).mul_f64(1.0 + self.random.f64() / 4.0)
            }
            None if flushing => Self::FLUSH_RETRY.mul_f64(self.random.f64()),
            None => self.backoff.next(&mut self.random),
        };
        self.hold = Some(now + delay);
        self.outage.failed()
    }

    /// The server took no batch of this size. They are due again, in smaller ones: at last one by one.
    pub(crate) fn reduce(&mut self, keys: &[Key], now: Instant) {
        self.put_back(keys, now);
        self.most = (keys.len() / 2).max(1);
    }

    /// All that has changed so far is to be sent by `deadline`, without waiting for its time.
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

    /// How many jobs the flush has not sent yet, once it is over: none left, no time left, or the server
    /// wants to be left alone for longer than that.
    pub(crate) fn flush_over(&mut self, now: Instant) -> Option<usize> {
        let flush = self.flush.as_ref()?;
        let hopeless = self.hold.is_some_and(|hold| hold >= flush.deadline);
        let over = flush.left.is_empty() || now >= flush.deadline || hopeless;
        over.then(|| self.flush.take().map_or(0, |flush| flush.left.len()))
    }

    /// How long a request may take: a flush leaves only so much.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.flush.as_ref().map(|flush| flush.deadline.saturating_duration_since(now))
    }

    /// When there is something to do, if nobody rings before.
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

    /// Looks at a job at `at`, or earlier if that is planned already.
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
