mod by_job;
mod pass;
mod subscription;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use milepost_broker::Clock;
use milepost_protocol::{JobId, State, Timestamp};
use slab::Slab;
use smallvec::SmallVec;

use crate::ping::PingWheel;
use crate::rate::RateTimers;
use crate::render::Rendered;
use crate::topic::{Topic, TopicMailbox};
use crate::watcher::{CloseReason, Phase, Watcher, WatcherKey, Wire};
use by_job::ByJob;
use subscription::{LocalTopic, Subscription, local_key};

/// A share of an instance's watchers. Its owner calls it; it performs no I/O of its own and never waits. See the crate's
/// documentation.
pub struct Shard<W> {
    index: usize,
    clock: Arc<dyn Clock>,
    mailbox: Arc<TopicMailbox>,
    watchers: Slab<Watcher<W>>,
    subscriptions: Slab<Subscription>,
    topics: Slab<LocalTopic>,
    /// The keys of `topics`, by the topic's address, which is unique while the lease is held.
    by_address: HashTable<u32>,
    by_job: ByJob,
    ready: VecDeque<u32>,
    paused: VecDeque<(Duration, u32)>,
    rates: RateTimers,
    pings: PingWheel,
    /// Watchers due for a ping at the present tick that have not been checked yet.
    due: Vec<u32>,
    /// Watchers whose connection has failed or that are finished, until they are taken.
    closed: Vec<(WatcherKey, CloseReason)>,
    frames_sent: u64,
    next_serial: u64,
    arrived: Vec<Arc<Topic>>,
    /// Buffers for what a slice, and what a single watcher, is sent.
    rendered: Rendered,
    rendered_one: Rendered,
}

/// How many watchers are served before other jobs get their turn.
const SLICE: usize = 64;

impl<W: Wire> Shard<W> {
    /// A shard that reads `mailbox`, which is the hub's at `index`.
    pub fn new(
        index: usize,
        mailbox: Arc<TopicMailbox>,
        clock: Arc<dyn Clock>,
        ping_interval: Duration,
    ) -> Self {
        let pings = PingWheel::new(ping_interval, clock.elapsed());
        Self {
            index,
            clock,
            mailbox,
            watchers: Slab::new(),
            subscriptions: Slab::new(),
            topics: Slab::new(),
            by_address: HashTable::new(),
            by_job: ByJob::default(),
            ready: VecDeque::new(),
            paused: VecDeque::new(),
            rates: RateTimers::default(),
            pings,
            due: Vec::new(),
            closed: Vec::new(),
            frames_sent: 0,
            next_serial: 0,
            arrived: Vec::new(),
            rendered: Rendered::default(),
            rendered_one: Rendered::default(),
        }
    }

    /// Adds a watcher. Nothing is sent to it before [`Shard::send`] or [`Shard::subscribe`].
    pub fn admit(&mut self, wire: W, many: bool) -> WatcherKey {
        if self.watchers.is_empty() {
            self.due.clear();
            self.pings.restart(self.clock.elapsed());
        }
        let tick = self.pings.now();
        let watcher = Watcher {
            wire,
            subscriptions: SmallVec::new(),
            unsent: None,
            blocked: false,
            many,
            phase: Phase::Open,
            sent_tick: tick,
            due_tick: 0,
        };
        grow_by_an_eighth(&mut self.watchers);
        let key = self.watchers.insert(watcher);
        self.watchers[key].due_tick = self.pings.insert(key_u32(key), tick);
        WatcherKey(key)
    }

    /// The watcher's wire.
    pub fn wire(&mut self, key: WatcherKey) -> Option<&mut W> {
        self.watchers.get_mut(key.0).map(|watcher| &mut watcher.wire)
    }

    /// How many watchers there are.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether there is no watcher.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// The keys of all watchers.
    pub fn keys(&self) -> Vec<WatcherKey> {
        self.watchers.iter().map(|(key, _)| WatcherKey(key)).collect()
    }

    /// How many jobs a watcher watches.
    pub fn subscribed(&self, key: WatcherKey) -> usize {
        self.watchers.get(key.0).map_or(0, |watcher| watcher.subscriptions.len())
    }

    /// The jobs that a watcher watches, each with its present state if it is known.
    pub fn states(&self, key: WatcherKey) -> Vec<(JobId, Option<Arc<State>>)> {
        let subscriptions = self.watchers.get(key.0).map(|watcher| &watcher.subscriptions);
        let lease = |subscription: &u32| {
            let topic = self.subscriptions[*subscription as usize].topic;
            &self.topics[topic as usize].lease
        };
        let leases = subscriptions.into_iter().flatten().map(lease);
        leases.map(|lease| (lease.job().clone(), lease.state())).collect()
    }

    /// How many frames were sent since the last call.
    pub fn take_frames_sent(&mut self) -> u64 {
        std::mem::take(&mut self.frames_sent)
    }

    /// Watchers that have to be removed, and why. Each is returned once.
    pub fn take_closed(&mut self) -> Vec<(WatcherKey, CloseReason)> {
        std::mem::take(&mut self.closed)
    }

    /// Removes a watcher and returns its wire.
    pub fn remove(&mut self, key: WatcherKey) -> Option<W> {
        let watcher = self.watchers.try_remove(key.0)?;
        for subscription in watcher.subscriptions {
            self.end_subscription(subscription, watcher.many);
        }
        self.closed.retain(|(closed, _)| *closed != key);
        Some(watcher.wire)
    }

    /// For a thread that has notified the shard: does the pending work if it is little, at most a slice. False if the
    /// shard's own task has to be woken.
    pub fn serve_in_place(&mut self) -> bool {
        self.read_mailbox();
        let topics = self.ready.iter().take(SLICE + 1);
        let pending: usize =
            topics.map(|key| self.topics[*key as usize].subscriptions.len().max(1)).sum();
        pending <= SLICE && !self.serve()
    }

    /// Does one slice of the pending work; true if there is more.
    pub fn serve(&mut self) -> bool {
        self.read_mailbox();
        let now = self.clock.elapsed();
        self.resume_paused(now);
        self.serve_rate_limited(now);
        self.ping(now);
        let mut budget = SLICE;
        while budget > 0
            && let Some(topic) = self.ready.pop_front()
        {
            budget = budget.saturating_sub(self.serve_slice(topic, budget));
        }
        let overdue = self.wake_at().is_some_and(|at| at <= now);
        !self.ready.is_empty() || !self.due.is_empty() || overdue
    }

    /// When to call [`serve`](Self::serve) again even if no state arrives, on the clock's `elapsed`.
    pub fn wake_at(&self) -> Option<Duration> {
        let ping = (!self.watchers.is_empty()).then(|| self.pings.next());
        let paused = self.paused.iter().map(|(until, _)| *until).min();
        [ping, paused, self.rates.next()].into_iter().flatten().min()
    }

    fn read_mailbox(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.mailbox.take(&mut arrived);
        for topic in arrived.drain(..) {
            let Some(key) = local_key(&self.by_address, &self.topics, &topic) else { continue };
            let local = &mut self.topics[key as usize];
            if std::mem::replace(&mut local.queued, true) {
                local.needs_pass = true;
            } else {
                self.ready.push_back(key);
            }
        }
        self.arrived = arrived;
    }

    fn resume_paused(&mut self, now: Duration) {
        let (ready, paused) = (&mut self.ready, &mut self.paused);
        paused.retain(|(until, topic)| {
            let over = *until <= now;
            if over {
                ready.push_back(*topic);
            }
            !over
        });
    }

    /// Serves the subscriptions whose rate limit allows it again, at most a slice.
    fn serve_rate_limited(&mut self, now: Duration) {
        for _ in 0..SLICE {
            let Some((key, serial)) = self.rates.take(now) else { return };
            let Some(subscription) = self.subscriptions.get_mut(key as usize) else { continue };
            let Some(rate) = subscription.rate.as_mut().filter(|rate| rate.0 == serial) else {
                continue;
            };
            rate.1.timer_taken();
            self.serve_one(key);
        }
    }

    /// Pings the watchers that are due, at most a slice.
    fn ping(&mut self, now: Duration) {
        while self.due.is_empty() {
            let Some(due) = self.pings.advance(now) else { return };
            self.due = due;
        }
        let now = self.clock.now();
        let slice = self.due.len().saturating_sub(SLICE)..;
        for key in self.due.split_off(slice.start) {
            self.ping_one(key, now);
        }
    }

    fn ping_one(&mut self, key: u32, now: Timestamp) {
        let tick = self.pings.now();
        let Some(watcher) = self.watchers.get_mut(key as usize) else { return };
        if watcher.due_tick > tick {
            return;
        }
        let silent = self.pings.is_over(watcher.sent_tick);
        let sent = if silent { tick } else { watcher.sent_tick };
        watcher.due_tick = self.pings.insert(key, sent);
        if silent && watcher.is_receptive() {
            let only = watcher.subscriptions.first().filter(|_| !watcher.many);
            let job = only.map(|subscription| {
                let topic = self.subscriptions[*subscription as usize].topic;
                self.topics[topic as usize].lease.job()
            });
            let mut frame = Vec::with_capacity(192);
            W::ping(job, now, &mut frame);
            self.send(WatcherKey(key as usize), &frame);
        }
    }
}

/// Reserves capacity for an eighth more, instead of doubling it: for idle watchers, spare capacity is most of the cost.
fn grow_by_an_eighth<T>(slab: &mut Slab<T>) {
    if slab.len() == slab.capacity() {
        slab.reserve_exact((slab.len() / 8).max(16));
    }
}

/// Keys are stored in 32 bits: there are fewer watchers than open files.
fn key_u32(key: usize) -> u32 {
    u32::try_from(key).expect("fewer than 2^32 watchers")
}
