use std::sync::{Arc, PoisonError};

use crate::sync::{Mutex, Notify};
use crate::topic::Topic;

/// Where topics tell a shard that they have something new. One for each shard.
///
/// Bounded: a topic stands in it at most once, because it remembers that it does until the shard reads it.
#[derive(Default)]
pub struct Mailbox {
    topics: Mutex<Vec<Arc<Topic>>>,
    arrived: Notify,
}

impl Mailbox {
    pub(crate) fn push(&self, topic: Arc<Topic>) {
        let was_empty = {
            let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
            topics.push(topic);
            topics.len() == 1
        };
        // Who finds it empty wakes the shard; those that follow rely on that.
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Takes all that is there; `into` is emptied first, and its room used.
    pub(crate) fn take(&self, into: &mut Vec<Arc<Topic>>) {
        into.clear();
        std::mem::swap(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner), into);
    }

    /// Waits until something is there. May return although it was taken meanwhile.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
