use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::Mutex;

/// The topics (`T`) that lost their last lease, in that order, and how many topics have one.
///
/// Bounded: topics are removed after the linger time, and each needs a watcher that comes and goes to get here.
pub(crate) struct IdleTopics<T> {
    /// With the topic's `times_idle` at that moment. If it has changed since, the entry is out of date.
    topics: Mutex<VecDeque<(T, u32)>>,
    watched: AtomicUsize,
}

impl<T> Default for IdleTopics<T> {
    fn default() -> Self {
        Self { topics: Mutex::default(), watched: AtomicUsize::new(0) }
    }
}

impl<T> IdleTopics<T> {
    /// How many topics have a lease.
    pub(crate) fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    /// A topic has its first lease.
    pub(crate) fn begin_watched(&self) {
        self.watched.fetch_add(1, Ordering::Relaxed);
    }

    /// A topic has lost its last lease.
    pub(crate) fn end_watched(&self, topic: T, times_idle: u32) {
        self.watched.fetch_sub(1, Ordering::Relaxed);
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.push_back((topic, times_idle));
    }

    pub(crate) fn take(&self) -> VecDeque<(T, u32)> {
        std::mem::take(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
