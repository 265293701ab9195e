use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use milepost_protocol::JobId;
use slab::Slab;

use crate::job::Job;

/// A job's place in its stripe, until the job is removed. Takes four bytes, where its id would take sixteen.
pub(crate) type Key = u32;

/// The jobs of a stripe, by id and by key.
#[derive(Default)]
pub(crate) struct Jobs {
    slab: Slab<Job>,
    by_id: HashTable<Key>,
    hasher: RandomState,
}

impl Jobs {
    pub(crate) fn get(&self, key: Key) -> Option<&Job> {
        self.slab.get(key as usize)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Job> {
        self.slab.get_mut(key as usize)
    }

    pub(crate) fn find(&self, id: &JobId) -> Option<Key> {
        let is_it = |key: &Key| self.slab[*key as usize].id == *id;
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The job with that id. If there is none, adds one that is neither known nor listened to.
    pub(crate) fn find_or_insert(&mut self, id: &JobId) -> (Key, &mut Job) {
        let key = self.find(id).unwrap_or_else(|| self.insert(id.clone()));
        (key, &mut self.slab[key as usize])
    }

    fn insert(&mut self, id: JobId) -> Key {
        let Self { slab, by_id, hasher } = self;
        if slab.len() == slab.capacity() {
            // Grows by an eighth instead of doubling: for idle jobs, spare capacity is a large part of the cost.
            slab.reserve_exact((slab.len() / 8).max(16));
        }
        let hash = hasher.hash_one(&id);
        let key = Key::try_from(slab.insert(Job { id, known: None, listener: None }));
        let key = key.expect("fewer than 2^32 jobs fit into memory");
        by_id.insert_unique(hash, key, |key| hasher.hash_one(&slab[*key as usize].id));
        key
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let Some(job) = self.slab.try_remove(key as usize) else { return };
        let hash = self.hasher.hash_one(&job.id);
        if let Ok(entry) = self.by_id.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        if self.slab.is_empty() {
            // Memory is released after a peak.
            *self = Self { hasher: self.hasher.clone(), ..Self::default() };
        }
    }
}
