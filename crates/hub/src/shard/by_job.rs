//! Finds the subscription of a watcher to a job, among many.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use milepost_protocol::JobId;

use super::subscription::Subscriptions;

/// The subscriptions of the watchers that may have many, by watcher and job. Without it, a client with many subscriptions would have
/// all of them compared for each one that it adds or ends.
#[derive(Default)]
pub(super) struct ByJob {
    keys: HashTable<u32>,
    /// Keyed with random numbers: clients choose the ids of the jobs that they subscribe to.
    hasher: RandomState,
}

impl ByJob {
    pub(super) fn find(&self, watcher: u32, job: &JobId, all: Subscriptions<'_>) -> Option<u32> {
        let hash = self.hasher.hash_one((watcher, job));
        self.keys.find(hash, |key| all.of(*key) == (watcher, job)).copied()
    }

    pub(super) fn insert(&mut self, key: u32, all: Subscriptions<'_>) {
        let hash_of = |key: &u32| self.hasher.hash_one(all.of(*key));
        self.keys.insert_unique(hash_of(&key), key, hash_of);
    }

    /// Removes a subscription, which is still among `all`.
    pub(super) fn remove(&mut self, key: u32, all: Subscriptions<'_>) {
        let hash = self.hasher.hash_one(all.of(key));
        if let Ok(entry) = self.keys.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
    }
}
