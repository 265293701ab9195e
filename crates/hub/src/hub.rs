use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;
use milepost_broker::{Broker, Listener, Unavailable};
use milepost_protocol::{JobId, Position, Standing};

use crate::batch::{self, Batch};
use crate::idle::IdleTopics;
use crate::lease::Lease;
use crate::log::{LogLimits, Mode};
use crate::sync::{Mutex, MutexGuard};
use crate::topic::{LogBytes, MAX_SHARDS, Shared, Topic, TopicMailbox};
use crate::watch::{Watch, WatchError};

/// How much of the watched jobs a hub keeps.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// The log of each watched job.
    pub log: LogLimits,
    /// How long a topic stays attached after its last watcher has left, so that a page's reload, or a watcher that
    /// returns, costs the broker nothing.
    pub linger: Duration,
    /// The most topics, those that linger included. At the bound, a job that has no topic yet is refused.
    pub max_topics: usize,
    /// The most bytes of JSON in all logs. At the bound, a log keeps its newest state and its newest end only, and a job
    /// that has no topic yet is refused. A quarter beyond it, all logs are shortened so. If that is not enough, the topics that
    /// hold most are shed: their watchers have to leave, and the job is refused until the topic is gone.
    pub max_log_bytes: usize,
    /// Whether the broker keeps states in this process, and bounds them: then the newest state of a job does not count
    /// for `max_log_bytes`.
    pub broker_keeps_states: bool,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            log: LogLimits::default(),
            linger: Duration::from_secs(10),
            max_topics: 1_000_000,
            max_log_bytes: usize::MAX,
            broker_keeps_states: false,
        }
    }
}

/// The topics of an instance: one for each job that is watched here, or was until a moment ago.
pub struct Hub {
    broker: Arc<dyn Broker>,
    shared: Arc<Shared>,
    stripes: Box<[Mutex<Topics>]>,
    hasher: RandomState,
    linger: Duration,
    topics: AtomicUsize,
    max_topics: usize,
    refused_topics: AtomicU64,
    refused_logs: AtomicU64,
    shed_topics: AtomicU64,
    /// What the logs held when they were all shortened last.
    shortened_to: AtomicUsize,
}

/// By job. A topic names its job itself.
type Topics = HashTable<Arc<Topic>>;

/// So many that a stripe is small: it is locked while its table grows, for which the ids of all of its topics are hashed again.
const STRIPES: u64 = 256;
/// How long to wait for a state that a watcher has seen and this instance has not.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Hub {
    /// A hub whose watchers are divided among `shards` shards (1 to 64).
    pub fn new(broker: Arc<dyn Broker>, shards: usize, limits: HubLimits) -> Self {
        let shards = shards.clamp(1, MAX_SHARDS);
        Self {
            broker,
            shared: Arc::new(Shared {
                mailboxes: (0..shards).map(|_| Arc::default()).collect(),
                limits: limits.log,
                log_bytes: LogBytes::new(limits.max_log_bytes, limits.broker_keeps_states),
                idle: IdleTopics::default(),
            }),
            stripes: (0..STRIPES).map(|_| Mutex::new(Topics::new())).collect(),
            hasher: RandomState::new(),
            linger: limits.linger,
            topics: AtomicUsize::new(0),
            max_topics: limits.max_topics,
            refused_topics: AtomicU64::new(0),
            refused_logs: AtomicU64::new(0),
            shed_topics: AtomicU64::new(0),
            shortened_to: AtomicUsize::new(0),
        }
    }

    /// The mailboxes of the shards.
    pub fn mailboxes(&self) -> &[Arc<TopicMailbox>] {
        &self.shared.mailboxes
    }

    /// How many jobs are watched now.
    pub fn watched(&self) -> usize {
        self.shared.idle.watched()
    }

    /// How many topics there are: of jobs that are watched now, or were until a moment ago.
    pub fn topics(&self) -> usize {
        self.topics.load(Ordering::Relaxed)
    }

    /// How many bytes of JSON the logs hold.
    pub fn log_bytes(&self) -> usize {
        self.shared.log_bytes.held()
    }

    /// How many jobs were refused since start because there were too many topics.
    pub fn refused_topics(&self) -> u64 {
        self.refused_topics.load(Ordering::Relaxed)
    }

    /// How many jobs were refused since start because the logs were full.
    pub fn refused_logs(&self) -> u64 {
        self.refused_logs.load(Ordering::Relaxed)
    }

    /// How many topics were shed since start.
    pub fn shed_topics(&self) -> u64 {
        self.shed_topics.load(Ordering::Relaxed)
    }

    /// How many watchers a job has in this instance now.
    pub fn watchers(&self, job: &JobId) -> usize {
        let hash = self.hasher.hash_one(job);
        let topics = self.stripe(hash);
        topics.find(hash, |topic| topic.job() == job).map_or(0, |topic| topic.watchers())
    }

    /// The topic of a job, attached to the broker. If the hub has it already, the broker is not asked.
    ///
    /// # Errors
    /// When the broker is unavailable, or the hub is full.
    pub async fn topic(&self, job: &JobId) -> Result<Lease, WatchError> {
        self.shorten_logs();
        let lease = self.lease(job)?;
        let topic = lease.topic();
        let attach = || self.broker.attach(job, Arc::clone(topic) as Arc<dyn Listener>);
        // The first caller attaches; others wait for it.
        if let Some(attached) = topic.attaching() {
            attached.get_or_try_init(attach).await?;
            topic.mark_attached();
        }
        Ok(lease)
    }

    fn lease(&self, job: &JobId) -> Result<Lease, WatchError> {
        let hash = self.hasher.hash_one(job);
        let mut topics = self.stripe(hash);
        if let Some(topic) = topics.find(hash, |topic| topic.job() == job) {
            return Lease::unless_shed(topic).ok_or_else(|| self.refuse_for_logs());
        }
        self.count_topic()?;
        let topic = Topic::new(job.clone(), Arc::clone(&self.shared));
        let hash_of = |topic: &Arc<Topic>| self.hasher.hash_one(topic.job());
        topics.insert_unique(hash, Arc::clone(&topic), hash_of);
        // Under the stripe's lock: idle topics are removed only under it, if they have no lease.
        Ok(Lease::new(topic))
    }

    /// If the logs are full, shortens them until there is some room again. If that was tried and not much has been added
    /// since, it is not tried again.
    fn shorten_logs(&self) {
        let logs = &self.shared.log_bytes;
        let (limit, tried) = (logs.limit(), self.shortened_to.load(Ordering::Relaxed));
        if !logs.is_full() || logs.held() < tried.saturating_add(limit / 64) {
            return;
        }
        for stripe in &self.stripes {
            let topics = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for topic in topics.iter() {
                if logs.held() < limit / 16 * 15 {
                    break;
                }
                logs.shorten(&mut topic.lock().log);
            }
        }
        self.shortened_to.store(logs.held(), Ordering::Relaxed);
    }

    /// Counts one more topic.
    fn count_topic(&self) -> Result<(), WatchError> {
        if self.shared.log_bytes.is_full() {
            return Err(self.refuse_for_logs());
        }
        let within = |topics: usize| (topics < self.max_topics).then_some(topics + 1);
        let added = self.topics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        added.map(drop).map_err(|_| {
            self.refused_topics.fetch_add(1, Ordering::Relaxed);
            WatchError::Full(self.max_topics)
        })
    }

    fn refuse_for_logs(&self) -> WatchError {
        self.refused_logs.fetch_add(1, Ordering::Relaxed);
        WatchError::LogsFull(self.shared.log_bytes.limit())
    }

    /// Sheds every topic that holds more than its fair part of what all logs may hold together, so that they hold no more
    /// than that. Topics with little stay, however many there are.
    fn shed(&self) {
        let logs = &self.shared.log_bytes;
        let fair = logs.limit() / self.topics().max(1);
        for stripe in &self.stripes {
            let topics: Vec<_> = {
                let topics = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                let is_large = |topic: &&Arc<Topic>| logs.of(&topic.lock().log) > fair;
                topics.iter().filter(is_large).cloned().collect()
            };
            for topic in topics {
                if !logs.is_full() {
                    return;
                }
                self.shed_topics.fetch_add(u64::from(topic.shed()), Ordering::Relaxed);
            }
        }
    }

    /// The topic of a job for a watcher that has seen `since`. Another instance may have shown the watcher a state that
    /// has not arrived here yet, so this waits for it, at most a second: that state may be lost.
    ///
    /// If the watcher has seen an epoch that is not known here, either that epoch is over, or this instance is cut off
    /// from the broker's backend and its own states are over. Only the broker knows.
    ///
    /// # Errors
    /// When the broker is unavailable, or this instance is still behind another epoch after a second.
    pub async fn topic_since(
        &self,
        job: &JobId,
        since: Option<Position>,
    ) -> Result<Lease, WatchError> {
        let lease = self.topic(job).await?;
        let Some(since) = since else { return Ok(lease) };
        match lease.newest().map(|newest| newest.standing_of(since)) {
            Some(Standing::Ahead) => {
                let caught_up = lease.wait_until(|newest| {
                    newest.is_none_or(|newest| newest.standing_of(since) != Standing::Ahead)
                });
                let _ = tokio::time::timeout(CATCH_UP, caught_up).await;
            }
            Some(Standing::Foreign) if !lease.lock().log.has_epoch(since.epoch) => {
                self.reach_present_epoch(lease.topic()).await?;
            }
            _ => {}
        }
        Ok(lease)
    }

    async fn reach_present_epoch(&self, topic: &Topic) -> Result<(), Unavailable> {
        let epoch = |position: Position| position.epoch;
        let present = self.broker.state(topic.job()).await?.map(|state| epoch(state.position()));
        let caught_up = topic.wait_until(|newest| newest.map(epoch) == present);
        tokio::time::timeout(CATCH_UP, caught_up)
            .await
            .map_err(|_| Unavailable::Backend("this instance is behind: try again".to_owned()))
    }

    /// Watches a job with a future instead of a shard.
    ///
    /// # Errors
    /// When the broker is unavailable.
    pub async fn watch(
        &self,
        job: &JobId,
        since: Option<Position>,
        mode: Mode,
    ) -> Result<Watch, WatchError> {
        Ok(Watch::new(self.topic_since(job, since).await?, since, mode))
    }

    /// Does `work`, and wakes the shards that it has new states for at its end only. Each of them is passed to `serve`
    /// first, which may serve the shard on this thread: it returns true if the shard's task need not be woken.
    ///
    /// A batch is for what a thread does without waiting, such as a poll of a connection that reports. After 64
    /// notifications in one batch, shards are woken at once.
    pub fn batch<R>(&self, work: impl FnOnce() -> R, serve: impl Fn(usize) -> bool) -> R {
        let mut owed = Owed {
            batch: Some(Batch::begin(self.shared.address())),
            shards: 0,
            shared: &self.shared,
        };
        let result = work();
        owed.end_batch();
        while let Some(shard) = batch::shards(owed.shards).next() {
            if !serve(shard) {
                self.shared.mailboxes[shard].wake();
            }
            owed.shards &= !(1 << shard);
        }
        result
    }

    /// Removes topics without watchers and detaches them from the broker, each a moment after its last watcher left;
    /// sheds topics when the logs hold too much. Runs until it is dropped.
    pub async fn run(&self) {
        loop {
            let idle = self.shared.idle.take();
            let mut lingered = std::pin::pin!(tokio::time::sleep(self.linger));
            loop {
                tokio::select! {
                    () = &mut lingered => break,
                    () = self.shared.log_bytes.over.notified() => {
                        // What watchers can do without is dropped before any of them has to leave.
                        self.shorten_logs();
                        if self.shared.log_bytes.is_over() {
                            self.shed();
                        }
                    }
                }
            }
            for (topic, times_idle) in idle {
                self.remove_idle(&topic, times_idle).await;
                // There may be hundreds of thousands, and the embedded broker never waits.
                tokio::task::consume_budget().await;
            }
        }
    }

    async fn remove_idle(&self, topic: &Arc<Topic>, times_idle: u32) {
        {
            let hash = self.hasher.hash_one(topic.job());
            let mut topics = self.stripe(hash);
            let inner = topic.lock();
            if inner.leases > 0 || inner.times_idle != times_idle {
                return;
            }
            drop(inner);
            // From here on, a new watcher finds no topic and makes a new one.
            if let Ok(entry) = topics.find_entry(hash, |other| other.job() == topic.job()) {
                entry.remove();
                self.topics.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let listener = Arc::clone(topic) as Arc<dyn Listener>;
        self.broker.detach(topic.job(), &listener).await;
    }

    /// The stripe of a job with that hash. The table inside of it uses the hash's other bits.
    fn stripe(&self, hash: u64) -> MutexGuard<'_, Topics> {
        let index = usize::try_from((hash >> 32) % STRIPES).unwrap_or(0);
        self.stripes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wake-ups that a batch owes. Also a panic in it, or in what serves a shard, ends with them.
struct Owed<'a> {
    batch: Option<Batch>,
    /// A bit for each.
    shards: u64,
    shared: &'a Shared,
}

impl Owed<'_> {
    fn end_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.shards |= batch.end();
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.end_batch();
        self.shared.wake(self.shards);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Idle topics hold `shared`, which holds them.
        self.shared.idle.take();
    }
}
