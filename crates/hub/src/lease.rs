use std::ops::Deref;
use std::sync::Arc;

use crate::topic::Topic;

/// A hold on a topic: while there is one, the topic stays in its hub.
pub struct Lease {
    topic: Arc<Topic>,
}

impl Lease {
    pub(crate) fn new(topic: Arc<Topic>) -> Self {
        let leases = {
            let mut inner = topic.lock();
            inner.leases += 1;
            inner.leases
        };
        if leases == 1 {
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
