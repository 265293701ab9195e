use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use milepost_broker::Listener;
use milepost_protocol::{JobId, Position, Standing, State};
use tokio::sync::OnceCell;

use crate::idle::IdleTopics;
use crate::log::{Log, LogLimits};
use crate::mailbox::Mailbox;
use crate::sync::{Mutex, MutexGuard, Notify};

/// A watched job: its latest states, and who is to be told of new ones.
pub struct Topic {
    job: JobId,
    /// To hand itself to the mailboxes.
    this: Weak<Topic>,
    pub(crate) shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// Subscriptions of the shards' watchers, and [`Watch`](crate::Watch)es.
    watchers: AtomicUsize,
}

/// Where a shard's topics notify it.
pub type TopicMailbox = Mailbox<Arc<Topic>>;

/// What all topics of a hub share.
pub(crate) struct Shared {
    pub(crate) mailboxes: Box<[Arc<TopicMailbox>]>,
    pub(crate) limits: LogLimits,
    pub(crate) idle: IdleTopics<Arc<Topic>>,
}

/// At most so many shards: a bit of [`Inner::watched`] for each.
pub(crate) const MAX_SHARDS: usize = 64;

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) log: Log,
    /// There until the topic is attached to the broker; whoever finds it attaches, or waits for who does.
    attaching: Option<Arc<OnceCell<()>>>,
    /// The shards that watch the job, a bit for each.
    watched: u64,
    /// Those of them that have been told and have not looked yet.
    told: u64,
    /// Those of them that have looked and are not through with their watchers.
    serving: u64,
    /// How many leases keep the topic in the hub.
    pub(crate) leases: u32,
    /// How often the last lease was released.
    pub(crate) times_idle: u32,
    /// Wakes the [`Watch`](crate::Watch)es, if there ever was one.
    notify: Option<Arc<Notify>>,
}

impl Topic {
    pub(crate) fn new(job: JobId, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            job,
            this: Weak::clone(this),
            shared,
            inner: Mutex::new(Inner { attaching: Some(Arc::default()), ..Inner::default() }),
            watchers: AtomicUsize::new(0),
        })
    }

    /// The job that is watched.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The job's present state, if it is known.
    pub fn state(&self) -> Option<Arc<State>> {
        self.lock().log.newest().cloned()
    }

    /// How many watch the job now.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    pub(crate) fn watcher_came(&self) {
        self.watchers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn watcher_left(&self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attaching(&self) -> Option<Arc<OnceCell<()>>> {
        self.lock().attaching.clone()
    }

    pub(crate) fn is_attached_now(&self) {
        self.lock().attaching = None;
    }

    pub(crate) fn watch(&self, shard: usize) {
        self.lock().watched |= 1 << shard;
    }

    pub(crate) fn unwatch(&self, shard: usize) {
        let mut inner = self.lock();
        inner.watched &= !(1 << shard);
        inner.told &= !(1 << shard);
        inner.serving &= !(1 << shard);
    }

    /// The shard's watchers have been served; see [`Inner::served`].
    pub(crate) fn served(&self, shard: usize) {
        self.lock().served(shard, self.shared.limits);
    }

    pub(crate) fn notify(&self) -> Arc<Notify> {
        Arc::clone(self.lock().notify.get_or_insert_default())
    }

    /// Whether `since` is a state that has not come in here yet.
    pub(crate) fn is_behind(&self, since: Position) -> bool {
        let inner = self.lock();
        let newest = inner.log.newest();
        newest.is_some_and(|newest| newest.position().standing_of(since) == Standing::Ahead)
    }

    /// Waits until it is there.
    pub(crate) async fn comes_to(&self, since: Position) {
        let notify = self.notify();
        loop {
            // Waiting begins before the log is looked at, so that nothing comes in between unnoticed.
            let mut told = std::pin::pin!(notify.notified());
            told.as_mut().enable();
            if !self.is_behind(since) {
                return;
            }
            told.await;
        }
    }

    fn push(&self, states: &[Arc<State>]) {
        let (tell, notify) = {
            let mut inner = self.lock();
            let mut pushed = false;
            let states = inner.log.unseen(states);
            for state in states {
                pushed |= inner.log.push(state, self.shared.limits);
            }
            if !pushed {
                return;
            }
            let tell = inner.watched & !inner.told;
            inner.told |= tell;
            (tell, inner.notify.clone())
        };
        let mut left = tell;
        while left != 0 {
            let shard = left.trailing_zeros() as usize;
            left &= left - 1;
            if let (Some(mailbox), Some(this)) =
                (self.shared.mailboxes.get(shard), self.this.upgrade())
            {
                mailbox.push(this);
            }
        }
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }
}

impl Inner {
    /// The shard reads the log now: it is to be told of what comes after.
    pub(crate) fn looked(&mut self, shard: usize) {
        self.told &= !(1 << shard);
        self.serving |= 1 << shard;
    }

    /// The shard is through with its watchers. If it is the last, the log has done what it is long for.
    pub(crate) fn served(&mut self, shard: usize, limits: LogLimits) {
        self.serving &= !(1 << shard);
        if self.told == 0 && self.serving == 0 {
            self.log.rest(limits);
        }
    }
}

impl Listener for Topic {
    fn attached(&self, states: &[Arc<State>]) {
        self.push(states);
    }

    fn update(&self, state: &Arc<State>) {
        self.push(std::slice::from_ref(state));
    }

    fn forgotten(&self) {
        self.lock().log.clear();
    }
}
