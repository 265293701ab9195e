use std::ops::Deref;
use std::sync::Arc;

use crate::topic::Topic;

/// A hold on a topic: while there is one, the topic stays in its hub.
pub struct Lease {
    topic: Arc<Topic>,
}

impl Lease {
    pub(crate) fn new(topic: Arc<Topic>) -> Self {
        let is_first = topic.lock().begin_lease();
        Self::begun(topic, is_first)
    }

    /// None if the topic was shed: a lease would keep it, and it is to go.
    pub(crate) fn unless_shed(topic: &Arc<Topic>) -> Option<Self> {
        let is_first = {
            let mut inner = topic.lock();
            if inner.is_shed {
                return None;
            }
            inner.begin_lease()
        };
        Some(Self::begun(Arc::clone(topic), is_first))
    }

    fn begun(topic: Arc<Topic>, is_first: bool) -> Self {
        if is_first {
            topic.shared.idle.begin_watched();
        }
        Self { topic }
    }

    pub(crate) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }
}

impl Deref for Lease {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.topic))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let times_idle = {
            let mut inner = self.topic.lock();
            inner.leases -= 1;
            if inner.leases > 0 {
                return;
            }
            inner.times_idle = inner.times_idle.wrapping_add(1);
            inner.times_idle
        };
        self.topic.shared.idle.end_watched(Arc::clone(&self.topic), times_idle);
    }
}
