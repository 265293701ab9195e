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
    /// Each key with a part of its id's hash. A table that grows needs all hashes at once, and reading the ids of a hundred
    /// thousand jobs would hold up reports for many milliseconds.
    by_id: HashTable<(u32, Key)>,
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
        let hash = self.hash(id);
        let is_it =
            |(other, key): &(u32, Key)| *other == hash && self.slab[*key as usize].id == *id;
        self.by_id.find(spread(hash), is_it).map(|(_, key)| *key)
    }

    fn hash(&self, id: &JobId) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(id).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    /// The job with that id. If there is none, adds one that is neither known nor listened to.
    pub(crate) fn find_or_insert(&mut self, id: &JobId) -> (Key, &mut Job) {
        let key = self.find(id).unwrap_or_else(|| self.insert(id.clone()));
        (key, &mut self.slab[key as usize])
    }

    fn insert(&mut self, id: JobId) -> Key {
        let hash = self.hash(&id);
        let slab = &mut self.slab;
        if slab.len() == slab.capacity() {
            // Grows by an eighth instead of doubling: for idle jobs, spare capacity is a large part of the cost.
            slab.reserve_exact((slab.len() / 8).max(16));
        }
        let key = Key::try_from(slab.insert(Job { id, known: None, listener: None }));
        let key = key.expect("fewer than 2^32 jobs fit into memory");
        self.by_id.insert_unique(spread(hash), (hash, key), |(hash, _)| spread(*hash));
        key
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let Some(job) = self.slab.try_remove(key as usize) else { return };
        let hash = self.hash(&job.id);
        if let Ok(entry) = self.by_id.find_entry(spread(hash), |(_, other)| *other == key) {
            entry.remove();
        }
        if self.slab.is_empty() {
            // Memory is released after a peak.
            *self = Self { hasher: self.hasher.clone(), ..Self::default() };
        }
    }
}

/// A hash as long as the table wants it: it uses bits from both of its ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}
