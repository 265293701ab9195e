mod pass;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use milepost_broker::Clock;
use milepost_protocol::{JobId, State, Timestamp, View};
use slab::Slab;
use smallvec::SmallVec;

use crate::lease::Lease;
use crate::log::Mode;
use crate::ping::PingWheel;
use crate::rate::{Rate, RateTimers};
use crate::render::Rendered;
use crate::topic::{Topic, TopicMailbox};
use crate::watcher::{CloseReason, Phase, Subscribe, Watcher, WatcherKey, Wire, write};

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

struct Subscription {
    watcher: u32,
    topic: u32,
    cursor: u64,
    rate: Option<Box<(u64, Rate)>>,
    mode: Mode,
    view: View,
    close_at_end: bool,
    /// The last time that the job was unreadable of which the watcher was notified; 0 if there was none.
    unreadable: u32,
}

impl Subscription {
    fn wants_all(&self) -> bool {
        self.mode == Mode::All && self.rate.is_none()
    }
}

/// A job that this shard's watchers watch.
struct LocalTopic {
    lease: Lease,
    subscriptions: SmallVec<[u32; 2]>,
    /// The first subscription that the present pass has not served.
    next: u32,
    /// How long the present pass has taken so far, in microseconds.
    spent: u32,
    /// A pass is in progress, or queued.
    queued: bool,
    /// States arrived since the pass began: another one has to follow.
    needs_pass: bool,
}

/// How many watchers are served before other jobs get their turn.
const SLICE: usize = 64;

/// The most bytes buffered for a watcher whose wire accepts nothing. Its owner stops reading requests from it long before.
const MAX_UNSENT: usize = 256 << 10;

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

    /// Whether the watcher's wire accepts no bytes now. Meanwhile its owner reads no requests from it, so that answers
    /// do not pile up.
    pub fn is_blocked(&self, key: WatcherKey) -> bool {
        self.watchers.get(key.0).is_some_and(|watcher| watcher.blocked)
    }

    /// Holds back what is sent to a watcher, so that it leaves in one write, after `lead`. [`uncork`](Self::uncork) has to
    /// follow before anything else is served.
    pub fn cork(&mut self, key: WatcherKey, lead: Vec<u8>) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        watcher.blocked = true;
        watcher.unsent = Some(Box::new(lead));
    }

    /// Sends what was held back, and what is pending for the watcher.
    pub fn uncork(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if let [subscription] = watcher.subscriptions[..]
            && watcher.phase == Phase::Open
            && let Some(held) = watcher.unsent.take()
        {
            watcher.blocked = false;
            if self.serve_one_after(&held, subscription) {
                return;
            }
            // Nothing is pending, or the wire accepted nothing.
            let watcher = &mut self.watchers[key.0];
            watcher.blocked = true;
            watcher.unsent = Some(held);
        }
        self.writable(key);
    }

    /// Sends a control frame, after whatever is buffered.
    pub fn send(&mut self, key: WatcherKey, frame: &[u8]) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if watcher.phase == Phase::Failed {
            return;
        }
        watcher.sent_tick = self.pings.at(self.clock.elapsed());
        self.frames_sent += 1;
        let written = if watcher.blocked { Ok(0) } else { write(&mut watcher.wire, frame) };
        match written {
            Ok(written) if written == frame.len() => {}
            Ok(written) => {
                watcher.blocked = true;
                if watcher.buffer(&frame[written..]) > MAX_UNSENT {
                    let error = io::Error::other("it sends requests but does not read the answers");
                    watcher.fail(key, error, &mut self.closed);
                }
            }
            Err(error) => watcher.fail(key, error, &mut self.closed),
        }
    }

    /// Subscribes a watcher to a job. An existing subscription to that job is replaced.
    pub fn subscribe(&mut self, key: WatcherKey, lease: Lease, options: Subscribe) {
        self.unsubscribe(key, lease.job());
        let (cursor, ended) = {
            let log = &lease.lock().log;
            let cursor = options.since.map_or_else(|| log.present(), |since| log.resume(since));
            let at_end = log.newest().is_some_and(|newest| newest.status().is_end());
            (cursor, at_end && cursor == log.end())
        };
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        let topic = local_key(&self.by_address, &self.topics, lease.topic());
        let topic = topic.unwrap_or_else(|| {
            let hash = hash_of(lease.topic());
            lease.watch(self.index);
            grow_by_an_eighth(&mut self.topics);
            let topics = &mut self.topics;
            let key = key_u32(topics.insert(LocalTopic {
                lease,
                subscriptions: SmallVec::new(),
                next: 0,
                spent: 0,
                queued: false,
                needs_pass: false,
            }));
            let rehash = |key: &u32| hash_of(topics[*key as usize].lease.topic());
            self.by_address.insert_unique(hash, key, rehash);
            key
        });
        self.next_serial += 1;
        let rate = options.max_rate.map(|rate| Box::new((self.next_serial, Rate::new(rate))));
        grow_by_an_eighth(&mut self.subscriptions);
        let subscription = key_u32(self.subscriptions.insert(Subscription {
            watcher: key_u32(key.0),
            topic,
            cursor,
            rate,
            mode: options.mode,
            view: options.view,
            close_at_end: options.close_at_end,
            unreadable: 0,
        }));
        watcher.subscriptions.push(subscription);
        if ended && options.close_at_end && watcher.phase == Phase::Open {
            // It has been sent the end already.
            watcher.finish(key, &mut self.closed);
        }
        let topic = &mut self.topics[topic as usize];
        topic.subscriptions.push(subscription);
        topic.lease.add_watcher();
        self.serve_one(subscription);
    }

    /// Ends a watcher's subscription to a job; false if there was none.
    pub fn unsubscribe(&mut self, key: WatcherKey, job: &JobId) -> bool {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return false };
        let (subscriptions, topics) = (&self.subscriptions, &self.topics);
        let found = watcher.subscriptions.iter().position(|subscription| {
            let topic = subscriptions[*subscription as usize].topic;
            topics[topic as usize].lease.job() == job
        });
        let Some(found) = found else { return false };
        let subscription = watcher.subscriptions.swap_remove(found);
        self.end_subscription(subscription);
        true
    }

    /// Ends all of a watcher's subscriptions.
    pub fn unsubscribe_all(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        for subscription in std::mem::take(&mut watcher.subscriptions) {
            self.end_subscription(subscription);
        }
    }

    /// Removes a watcher and returns its wire.
    pub fn remove(&mut self, key: WatcherKey) -> Option<W> {
        let watcher = self.watchers.try_remove(key.0)?;
        for subscription in watcher.subscriptions {
            self.end_subscription(subscription);
        }
        self.closed.retain(|(closed, _)| *closed != key);
        Some(watcher.wire)
    }

    fn end_subscription(&mut self, key: u32) {
        let subscription = self.subscriptions.remove(key as usize);
        let topic = &mut self.topics[subscription.topic as usize];
        topic.lease.remove_watcher();
        if let Some(at) = topic.subscriptions.iter().position(|other| *other == key) {
            // Invariant: a pass in progress misses nobody. The subscription that is moved into this place stays on its side
            // of `next`.
            let next = topic.next as usize;
            if at < next {
                topic.next -= 1;
                topic.subscriptions.swap(at, next - 1);
                topic.subscriptions.swap_remove(next - 1);
            } else {
                topic.subscriptions.swap_remove(at);
            }
        }
        if topic.subscriptions.is_empty() && !topic.queued {
            self.drop_topic(subscription.topic);
        }
    }

    fn drop_topic(&mut self, key: u32) {
        let topic = self.topics.remove(key as usize);
        let hash = hash_of(topic.lease.topic());
        if let Ok(entry) = self.by_address.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        topic.lease.unwatch(self.index);
    }

    /// The watcher's wire may accept bytes again.
    pub fn writable(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if !watcher.blocked || watcher.phase == Phase::Failed {
            return;
        }
        let unsent = watcher.unsent.get_or_insert_default();
        let written = if unsent.is_empty() { Ok(0) } else { write(&mut watcher.wire, unsent) };
        match written {
            Ok(written) if written == unsent.len() => {
                watcher.unsent = None;
                watcher.blocked = false;
                watcher.sent_tick = self.pings.at(self.clock.elapsed());
                if watcher.phase == Phase::Flushing {
                    watcher.finish(key, &mut self.closed);
                }
                self.serve_watcher(key);
            }
            Ok(written) => {
                unsent.drain(..written);
            }
            Err(error) => watcher.fail(key, error, &mut self.closed),
        }
    }

    /// Sends a watcher what is pending for it, job by job, until its wire is full.
    fn serve_watcher(&mut self, key: WatcherKey) {
        let mut served = 0;
        while let Some(watcher) = self.watchers.get(key.0)
            && watcher.is_receptive()
            && let Some(subscription) = watcher.subscriptions.get(served)
        {
            self.serve_one(*subscription);
            served += 1;
        }
        // Next time it continues from there, so that a job with many updates cannot starve the others.
        if let Some(watcher) = self.watchers.get_mut(key.0)
            && served < watcher.subscriptions.len()
        {
            watcher.subscriptions.rotate_left(served);
        }
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
        let rest = self.paused.iter().map(|(until, _)| *until).min();
        [ping, rest, self.rates.next()].into_iter().flatten().min()
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

/// The key of a topic that is among a shard's.
fn local_key(keys: &HashTable<u32>, topics: &Slab<LocalTopic>, topic: &Arc<Topic>) -> Option<u32> {
    let is_it = |key: &u32| Arc::ptr_eq(topics[*key as usize].lease.topic(), topic);
    keys.find(hash_of(topic), is_it).copied()
}

/// A hash of a topic's address, which nobody outside chooses.
fn hash_of(topic: &Arc<Topic>) -> u64 {
    /// 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (Arc::as_ptr(topic).addr() as u64).wrapping_mul(SPREAD);
    // The low bits of an address are zero, and so are those of the product.
    product ^ (product >> 32)
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
