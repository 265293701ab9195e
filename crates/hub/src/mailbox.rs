use std::sync::PoisonError;

use crate::sync::{Mutex, Notify};

/// Where topics (`T`) notify a shard that they have new states. One for each shard.
///
/// Bounded: a topic is in it at most once, because it remembers that it is until the shard reads its log.
pub struct Mailbox<T> {
    topics: Mutex<Vec<T>>,
    arrived: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { topics: Mutex::default(), arrived: Notify::default() }
    }
}

impl<T> Mailbox<T> {
    /// Adds a topic; true if the mailbox was empty. Then the caller must wake the shard; topics that follow rely on that.
    #[must_use]
    pub(crate) fn push(&self, topic: T) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.push(topic);
        topics.len() == 1
    }

    /// Wakes the shard's task: what [`arrived`](Self::arrived) waits for is there.
    pub fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Takes all topics in the mailbox. `into` is cleared first, and its allocation reused.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        into.clear();
        std::mem::swap(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner), into);
    }

    /// Waits until the shard is woken. By then, another thread that serves the shard may have taken the topics.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
