use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use milepost_broker::{Broker, Listener, Unavailable};
use milepost_protocol::{JobId, Position};

use crate::log::{LogLimits, Mode};
use crate::mailbox::Mailbox;
use crate::sync::{Mutex, MutexGuard};
use crate::topic::{MAX_SHARDS, Shared, Topic};
use crate::watch::Watch;

/// How much a hub keeps of the jobs that are watched.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Of each watched job.
    pub log: LogLimits,
    /// How long a job is still listened to after its last watcher has left, so that a page's reload, or a
    /// watcher's return, costs the broker nothing.
    pub linger: Duration,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self { log: LogLimits::default(), linger: Duration::from_secs(10) }
    }
}

/// The topics of an instance: one for each job that is watched here, or was a moment ago.
pub struct Hub {
    broker: Arc<dyn Broker>,
    shared: Arc<Shared>,
    stripes: Box<[Mutex<Topics>]>,
    hasher: RandomState,
    linger: Duration,
}

type Topics = HashMap<JobId, Arc<Topic>>;

const STRIPES: u64 = 16;
/// How long a watcher waits that has seen more than there is.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The topics that lost their last watcher, in that order.
///
/// Bounded: what stands here is removed after the linger time, and takes a watcher each time to get here.
#[derive(Default)]
pub(crate) struct Idle {
    /// With how often the topic had idled then: if it has since, this entry is out of date.
    topics: Mutex<VecDeque<(Arc<Topic>, u32)>>,
    watched: AtomicUsize,
}

/// Keeps a topic in its hub.
pub struct Lease {
    topic: Arc<Topic>,
}

impl Hub {
    /// A hub whose watchers are divided among so many shards (1 to 64).
    pub fn new(broker: Arc<dyn Broker>, shards: usize, limits: HubLimits) -> Self {
        let shards = shards.clamp(1, MAX_SHARDS);
        Self {
            broker,
            shared: Arc::new(Shared {
                mailboxes: (0..shards).map(|_| Arc::default()).collect(),
                limits: limits.log,
                idle: Idle::default(),
            }),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            linger: limits.linger,
        }
    }

    /// The mailboxes of the shards.
    pub fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.shared.mailboxes
    }

    /// How many jobs are watched now.
    pub fn watched(&self) -> usize {
        self.shared.idle.watched.load(Ordering::Relaxed)
    }

    /// How many watchers a job has here now.
    pub fn watchers(&self, job: &JobId) -> usize {
        self.stripe(job).get(job).map_or(0, |topic| topic.watchers())
    }

    /// The topic of a job, attached to the broker. One that is there already costs the broker nothing.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn topic(&self, job: &JobId) -> Result<Lease, Unavailable> {
        let lease = {
            let mut topics = self.stripe(job);
            let topic = topics
                .entry(job.clone())
                .or_insert_with(|| Topic::new(job.clone(), Arc::clone(&self.shared)));
            Lease::new(Arc::clone(topic))
        };
        let topic = &lease.topic;
        let attach = || self.broker.attach(job, Arc::clone(topic) as Arc<dyn Listener>);
        // Whoever comes first attaches; the others wait for it.
        if let Some(attached) = topic.attaching() {
            attached.get_or_try_init(attach).await?;
            topic.is_attached_now();
        }
        Ok(lease)
    }

    /// The topic of a job for a watcher that has seen `since`, once it has come that far: another instance may have
    /// been told more than this one has by now. Waits a second at most; what the watcher was shown may be lost.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn topic_since(
        &self,
        job: &JobId,
        since: Option<Position>,
    ) -> Result<Lease, Unavailable> {
        let lease = self.topic(job).await?;
        if let Some(since) = since
            && lease.is_behind(since)
        {
            let _ = tokio::time::timeout(CATCH_UP, lease.comes_to(since)).await;
        }
        Ok(lease)
    }

    /// Watches a job by a future rather than through a shard.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn watch(
        &self,
        job: &JobId,
        since: Option<Position>,
        mode: Mode,
    ) -> Result<Watch, Unavailable> {
        Ok(Watch::new(self.topic_since(job, since).await?, since, mode))
    }

    /// Stops listening to jobs that nobody watches any more, each a moment after its last watcher left.
    /// Runs until it is dropped.
    pub async fn run(&self) {
        loop {
            let idle = std::mem::take(&mut *self.shared.idle.lock());
            tokio::time::sleep(self.linger).await;
            for (topic, idled) in idle {
                self.let_go(&topic, idled).await;
            }
        }
    }

    async fn let_go(&self, topic: &Arc<Topic>, idled: u32) {
        {
            let mut topics = self.stripe(topic.job());
            let inner = topic.lock();
            if inner.leases > 0 || inner.idled != idled {
                return;
            }
            drop(inner);
            // Whoever comes now finds no topic and makes a new one.
            topics.remove(topic.job());
        }
        let listener = Arc::clone(topic) as Arc<dyn Listener>;
        self.broker.detach(topic.job(), &listener).await;
    }

    fn stripe(&self, job: &JobId) -> MutexGuard<'_, Topics> {
        let index = usize::try_from(self.hasher.hash_one(job) % STRIPES).unwrap_or(0);
        self.stripes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // They hold what holds them.
        self.shared.idle.lock().clear();
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Arc<Topic>, u32)>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn new(topic: Arc<Topic>) -> Self {
        let leases = {
            let mut inner = topic.lock();
            inner.leases += 1;
            inner.leases
        };
        if leases == 1 {
            topic.shared.idle.watched.fetch_add(1, Ordering::Relaxed);
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
        let idled = {
            let mut inner = self.topic.lock();
            inner.leases -= 1;
            if inner.leases > 0 {
                return;
            }
            inner.idled = inner.idled.wrapping_add(1);
            inner.idled
        };
        let idle = &self.topic.shared.idle;
        idle.watched.fetch_sub(1, Ordering::Relaxed);
        idle.lock().push_back((Arc::clone(&self.topic), idled));
    }
}
