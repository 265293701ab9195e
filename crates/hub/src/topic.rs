use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use milepost_broker::Listener;
use milepost_protocol::{JobId, Position, State, View};
use tokio::sync::OnceCell;

use crate::batch;
use crate::idle::IdleTopics;
use crate::log::{Log, LogLimits, Mode};
use crate::mailbox::Mailbox;
use crate::sync::{Mutex, MutexGuard, Notify};

/// A watched job: its latest states, and the shards and [`Watch`](crate::Watch)es to notify of new ones.
pub struct Topic {
    job: JobId,
    /// Itself, for the mailboxes.
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
    /// What all logs hold together.
    pub(crate) log_bytes: LogBytes,
    pub(crate) idle: IdleTopics<Arc<Topic>>,
}

impl Shared {
    /// Distinguishes this hub from others of the process.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Wakes shards, a bit for each.
    pub(crate) fn wake(&self, shards: u64) {
        batch::shards(shards).for_each(|shard| self.mailboxes[shard].wake());
    }
}

/// How many bytes of JSON the logs of all topics hold together, and how many they may.
pub(crate) struct LogBytes {
    held: AtomicUsize,
    limit: usize,
    /// Whether the broker holds each newest state in this process, so that it is not counted here.
    broker_keeps_states: bool,
    /// Notified when topics have to be shed.
    pub(crate) over: Notify,
}

impl LogBytes {
    pub(crate) fn new(limit: usize, broker_keeps_states: bool) -> Self {
        Self { held: AtomicUsize::new(0), limit, broker_keeps_states, over: Notify::default() }
    }

    /// What a log counts.
    pub(crate) fn of(&self, log: &Log) -> usize {
        log.past_bytes() + if self.broker_keeps_states { 0 } else { log.newest_bytes() }
    }

    /// Whether topics have to be shed: the logs hold a quarter more than the limit. From the limit on, logs are shortened, and
    /// no job that has no topic yet is watched.
    pub(crate) fn is_over(&self) -> bool {
        self.held() > self.limit.saturating_add(self.limit / 4)
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held() >= self.limit
    }

    /// Changes a log, and counts what it holds before and after. Called under the topic's lock.
    pub(crate) fn count<R>(&self, log: &mut Log, change: impl FnOnce(&mut Log) -> R) -> R {
        let before = self.of(log);
        let result = change(log);
        self.held.fetch_add(self.of(log).wrapping_sub(before), Ordering::Relaxed);
        if self.is_full() {
            self.shorten(log);
            if self.is_over() {
                self.over.notify_one();
            }
        }
        result
    }

    /// Drops all of a log that its watchers can do without. Called under the topic's lock.
    pub(crate) fn shorten(&self, log: &mut Log) {
        let before = self.of(log);
        log.shrink_to_newest();
        self.held.fetch_sub(before - self.of(log), Ordering::Relaxed);
    }
}

/// The most shards: [`Inner`] has a bit for each.
pub(crate) const MAX_SHARDS: usize = 64;

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) log: Log,
    /// The threads and tasks that wait for something. Boxed, because an idle topic has none.
    waiting: Option<Box<Waiting>>,
    /// The shards whose watchers watch the job, a bit for each.
    watching: u64,
    /// Those that have been notified and have not read the log since.
    notified: u64,
    /// Those that have read the log and are still serving their watchers.
    serving: u64,
    /// The hub had no memory left for the log: the job's watchers have to leave.
    pub(crate) is_shed: bool,
    /// How many leases keep the topic in the hub.
    pub(crate) leases: u32,
    /// How often the last lease was released.
    pub(crate) times_idle: u32,
    /// What holds of the job now.
    given: Option<Given>,
    /// How many notices there have been.
    notices: u32,
}

#[derive(Default)]
struct Waiting {
    /// Present until the topic is attached to the broker. The first to find it attaches, and others wait for that.
    attaching: Option<Arc<OnceCell<()>>>,
    /// Wakes the [`Watch`](crate::Watch)es. Made for the first one.
    notify: Option<Arc<Notify>>,
}

/// What a job's watchers are notified of besides its states, once each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The broker cannot read the job now, so that states may be missing.
    Unreadable,
    /// The job was forgotten, on request or by expiry, and has not been reported since. Not for those who have seen its end.
    Forgotten,
}

/// A notice that has been given.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) notice: Notice,
    /// Its number, from 1. A watcher is notified of each once.
    pub(crate) number: u32,
    /// A watcher whose cursor has come so far has seen the job's end, and does not need the notice.
    needless_from: u64,
}

impl Given {
    /// Whether a watcher at `cursor` that has seen that many notices has to be notified.
    pub(crate) fn is_due(&self, cursor: u64, notices_seen: u32) -> bool {
        notices_seen != self.number && cursor < self.needless_from
    }
}

impl Topic {
    pub(crate) fn new(job: JobId, shared: Arc<Shared>) -> Arc<Self> {
        let waiting = Waiting { attaching: Some(Arc::default()), notify: None };
        Arc::new_cyclic(|this| Self {
            job,
            this: Weak::clone(this),
            shared,
            inner: Mutex::new(Inner { waiting: Some(Box::new(waiting)), ..Inner::default() }),
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

    pub(crate) fn add_watcher(&self) {
        self.watchers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_watcher(&self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attaching(&self) -> Option<Arc<OnceCell<()>>> {
        self.lock().waiting.as_ref()?.attaching.clone()
    }

    pub(crate) fn mark_attached(&self) {
        let mut inner = self.lock();
        if let Some(waiting) = &mut inner.waiting {
            waiting.attaching = None;
            if waiting.notify.is_none() {
                inner.waiting = None;
            }
        }
    }

    pub(crate) fn watch(&self, shard: usize) {
        self.lock().watching |= 1 << shard;
    }

    pub(crate) fn unwatch(&self, shard: usize) {
        let mut inner = self.lock();
        inner.watching &= !(1 << shard);
        inner.notified &= !(1 << shard);
        inner.serving &= !(1 << shard);
    }

    /// See [`Inner::end_pass`].
    pub(crate) fn end_pass(&self, shard: usize) {
        self.lock().end_pass(shard, &self.shared);
    }

    pub(crate) fn notify(&self) -> Arc<Notify> {
        let mut inner = self.lock();
        Arc::clone(inner.waiting.get_or_insert_default().notify.get_or_insert_default())
    }

    /// Drops the log for good, and makes all watchers of the job leave. Returns whether it was not shed before.
    pub(crate) fn shed(&self) -> bool {
        let (to_notify, notify) = {
            let mut inner = self.lock();
            if std::mem::replace(&mut inner.is_shed, true) {
                return false;
            }
            self.shared.log_bytes.count(&mut inner.log, Log::clear);
            inner.take_notifications()
        };
        self.notify_all(to_notify, notify);
        true
    }

    pub(crate) fn is_shed(&self) -> bool {
        self.lock().is_shed
    }

    /// The position of the newest state here, if the job is known.
    pub(crate) fn newest(&self) -> Option<Position> {
        self.lock().log.newest().map(|newest| newest.position())
    }

    /// Waits until `holds` of the newest position.
    pub(crate) async fn wait_until(&self, holds: impl Fn(Option<Position>) -> bool) {
        let notify = self.notify();
        loop {
            // The wait begins before the log is read, so that no state arrives unnoticed in between.
            let mut notified = std::pin::pin!(notify.notified());
            notified.as_mut().enable();
            if holds(self.newest()) {
                return;
            }
            notified.await;
        }
    }

    fn push(&self, states: &[Arc<State>]) {
        let (to_notify, notify) = {
            let mut inner = self.lock();
            if inner.is_shed {
                return;
            }
            let pushed = self.shared.log_bytes.count(&mut inner.log, |log| {
                let mut pushed = false;
                for state in log.unseen(states) {
                    pushed |= log.push(state, self.shared.limits);
                }
                pushed
            });
            if !pushed {
                return;
            }
            inner.withdraw(Notice::Forgotten);
            inner.take_notifications()
        };
        self.notify_all(to_notify, notify);
    }

    /// Tells shards, a bit for each, and [`Watch`](crate::Watch)es that there is something new in the log.
    fn notify_all(&self, shards: u64, notify: Option<Arc<Notify>>) {
        for shard in batch::shards(shards) {
            let Some(this) = self.this.upgrade() else { break };
            let was_empty = self.shared.mailboxes[shard].push(this);
            self.shared.wake(batch::to_wake_now(self.shared.address(), shard, was_empty));
        }
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }
}

impl Inner {
    /// Makes what a watcher at `cursor` is about to be shown, if its view needs it made.
    pub(crate) fn prepare(&mut self, cursor: u64, mode: Mode, view: View, shared: &Shared) {
        if view == View::Public {
            shared.log_bytes.count(&mut self.log, |log| log.prepare_public(cursor, mode));
        }
    }

    /// What watchers have to be notified of, while it holds.
    pub(crate) fn given(&self) -> Option<Given> {
        self.given
    }

    /// The number of the latest notice that a watcher who comes now does not need; 0 if there is none. One who does not expect the
    /// job to be known needs no notice that it was forgotten.
    pub(crate) fn notices_seen(&self, expects_known: bool) -> u32 {
        let is_forgotten = self.given.is_some_and(|given| given.notice == Notice::Forgotten);
        if is_forgotten && !expects_known { self.notices } else { 0 }
    }

    fn give(&mut self, notice: Notice, needless_from: u64) {
        self.notices = self.notices.saturating_add(1);
        self.given = Some(Given { notice, number: self.notices, needless_from });
    }

    /// It no longer holds.
    fn withdraw(&mut self, notice: Notice) {
        self.given = self.given.filter(|given| given.notice != notice);
    }

    /// Counts one more lease. Returns whether it is the only one.
    pub(crate) fn begin_lease(&mut self) -> bool {
        self.leases += 1;
        self.leases == 1
    }

    /// The shards and [`Watch`](crate::Watch)es to notify of changes.
    fn take_notifications(&mut self) -> (u64, Option<Arc<Notify>>) {
        let shards = self.watching & !self.notified;
        self.notified |= shards;
        (shards, self.waiting.as_ref().and_then(|waiting| waiting.notify.clone()))
    }

    /// The shard reads the log now: it has to be notified of states that arrive later.
    pub(crate) fn start_pass(&mut self, shard: usize) {
        self.notified &= !(1 << shard);
        self.serving |= 1 << shard;
    }

    /// The shard has served all of its watchers. After the last shard, the log may be short again.
    pub(crate) fn end_pass(&mut self, shard: usize, shared: &Shared) {
        self.serving &= !(1 << shard);
        if self.notified == 0 && self.serving == 0 {
            shared.log_bytes.count(&mut self.log, |log| log.shrink(shared.limits));
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
        let (to_notify, notify) = {
            let mut inner = self.lock();
            let has_ended = inner.log.newest().is_some_and(|newest| newest.status().is_end());
            let needless_from = if has_ended { inner.log.end() } else { u64::MAX };
            inner.give(Notice::Forgotten, needless_from);
            self.shared.log_bytes.count(&mut inner.log, Log::clear);
            inner.take_notifications()
        };
        self.notify_all(to_notify, notify);
    }

    fn unreadable(&self) {
        let (to_notify, notify) = {
            let mut inner = self.lock();
            inner.give(Notice::Unreadable, u64::MAX);
            inner.take_notifications()
        };
        self.notify_all(to_notify, notify);
    }

    fn readable(&self) {
        self.lock().withdraw(Notice::Unreadable);
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let mut inner = self.lock();
        self.shared.log_bytes.count(&mut inner.log, Log::clear);
    }
}
