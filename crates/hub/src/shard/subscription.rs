//! The subscriptions of a shard's watchers.

use std::sync::Arc;

use hashbrown::HashTable;
use milepost_protocol::{JobId, View};
use slab::Slab;
use smallvec::SmallVec;

use super::{Shard, grow_by_an_eighth, key_u32};
use crate::lease::Lease;
use crate::log::Mode;
use crate::rate::Rate;
use crate::topic::Topic;
use crate::watcher::{Phase, Subscribe, WatcherKey, Wire};

pub(super) struct Subscription {
    pub(super) watcher: u32,
    pub(super) topic: u32,
    pub(super) cursor: u64,
    pub(super) rate: Option<Box<(u64, Rate)>>,
    pub(super) mode: Mode,
    pub(super) view: View,
    pub(super) close_at_end: bool,
    /// The number of the last notice of which the watcher was notified; 0 if there was none.
    pub(super) notices_seen: u32,
}

impl Subscription {
    pub(super) fn wants_all(&self) -> bool {
        self.mode == Mode::All && self.rate.is_none()
    }
}

/// A job that this shard's watchers watch.
pub(super) struct LocalTopic {
    pub(super) lease: Lease,
    pub(super) subscriptions: SmallVec<[u32; 2]>,
    /// The first subscription that the present pass has not served.
    pub(super) next: u32,
    /// How long the present pass has taken so far, in microseconds.
    pub(super) spent: u32,
    /// A pass is in progress, or queued.
    pub(super) queued: bool,
    /// States arrived since the pass began: another one has to follow.
    pub(super) needs_pass: bool,
}

/// All subscriptions of a shard, and the topics that name their jobs.
#[derive(Clone, Copy)]
pub(super) struct Subscriptions<'a> {
    pub(super) subscriptions: &'a Slab<Subscription>,
    pub(super) topics: &'a Slab<LocalTopic>,
}

impl<'a> Subscriptions<'a> {
    /// A subscription's watcher and job.
    pub(super) fn of(self, key: u32) -> (u32, &'a JobId) {
        let subscription = &self.subscriptions[key as usize];
        (subscription.watcher, self.topics[subscription.topic as usize].lease.job())
    }
}

impl<W: Wire> Shard<W> {
    /// Subscribes a watcher to a job. An existing subscription to that job is replaced.
    pub fn subscribe(&mut self, key: WatcherKey, lease: Lease, options: Subscribe) {
        self.unsubscribe(key, lease.job());
        let (cursor, ended, notices_seen) = {
            let inner = lease.lock();
            let log = &inner.log;
            let cursor = options.since.map_or_else(|| log.present(), |since| log.resume(since));
            let at_end = log.newest().is_some_and(|newest| newest.status().is_end());
            (cursor, at_end && cursor == log.end(), inner.notices_seen(options.expects_known))
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
            notices_seen,
        }));
        watcher.subscriptions.push(subscription);
        if watcher.many {
            let (subscriptions, topics) = (&self.subscriptions, &self.topics);
            self.by_job.insert(subscription, Subscriptions { subscriptions, topics });
        }
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
        let Some(found) = self.subscription_to(key, job) else { return false };
        let watcher = &mut self.watchers[key.0];
        if let Some(at) = watcher.subscriptions.iter().position(|other| *other == found) {
            watcher.subscriptions.swap_remove(at);
        }
        let many = watcher.many;
        self.end_subscription(found, many);
        true
    }

    fn subscription_to(&self, key: WatcherKey, job: &JobId) -> Option<u32> {
        let watcher = self.watchers.get(key.0)?;
        let all = Subscriptions { subscriptions: &self.subscriptions, topics: &self.topics };
        if watcher.many {
            self.by_job.find(key_u32(key.0), job, all)
        } else {
            watcher.subscriptions.iter().copied().find(|key| all.of(*key).1 == job)
        }
    }

    /// Ends all of a watcher's subscriptions.
    pub fn unsubscribe_all(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        let many = watcher.many;
        for subscription in std::mem::take(&mut watcher.subscriptions) {
            self.end_subscription(subscription, many);
        }
    }

    /// Ends a subscription that its watcher no longer has. `many`: whether the watcher may have many.
    pub(super) fn end_subscription(&mut self, key: u32, many: bool) {
        if many {
            let (subscriptions, topics) = (&self.subscriptions, &self.topics);
            self.by_job.remove(key, Subscriptions { subscriptions, topics });
        }
        let subscription = self.subscriptions.remove(key as usize);
        let topic = &mut self.topics[subscription.topic as usize];
        topic.lease.remove_watcher();
        if let Some(at) = topic.subscriptions.iter().position(|other| *other == key) {
            // Invariant: a pass in progress misses no subscription. The subscription that is moved into this place
            // stays on its side of `next`.
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

    pub(super) fn drop_topic(&mut self, key: u32) {
        let topic = self.topics.remove(key as usize);
        let hash = hash_of(topic.lease.topic());
        if let Ok(entry) = self.by_address.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        topic.lease.unwatch(self.index);
    }
}

/// The key of a topic that is among a shard's.
pub(super) fn local_key(
    keys: &HashTable<u32>,
    topics: &Slab<LocalTopic>,
    topic: &Arc<Topic>,
) -> Option<u32> {
    let is_it = |key: &u32| Arc::ptr_eq(topics[*key as usize].lease.topic(), topic);
    keys.find(hash_of(topic), is_it).copied()
}

/// A hash of a topic's address, which clients cannot choose.
fn hash_of(topic: &Arc<Topic>) -> u64 {
    /// 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (Arc::as_ptr(topic).addr() as u64).wrapping_mul(SPREAD);
    // The low bits of an address are zero, and so are those of the product.
    product ^ (product >> 32)
}
