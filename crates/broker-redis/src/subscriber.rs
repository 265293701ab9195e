use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milepost_broker::Clock;
use milepost_protocol::{JobId, Update};
use milepost_redis::{Answer, Call, Names, Node, Read, Reply, Report, Retention};

use crate::health::Health;
use crate::job_queue::JobQueue;
use crate::refusals::Refusals;
use crate::rereads::Rereads;
use crate::subscription::{Ended, Event, Sent, Socket, Subscription};
use crate::watched::{FoldKey, Interest, Next, SubscriptionKey, Watched};

/// The parts that the broker and its subscribers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) retention: Retention,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) health: Arc<Health>,
    pub(crate) refusals: Arc<Refusals>,
}

/// Keeps the watched jobs of one server up to date over one subscription: subscribes to them, reads them, and sends the
/// publishes of legacy workers to be folded.
pub(crate) struct Subscriber {
    shared: Shared,
    node: Node,
    queue: Arc<JobQueue>,
    subscription: Subscription,
    key: SubscriptionKey,
    /// The subscribed jobs, and whether each was read since.
    subscribed: HashMap<JobId, bool>,
    rereads: Rereads,
    /// How many legacy updates were sent to be folded. Numbers the next one.
    folds: u64,
    /// The channel on which this instance receives its probes of the server.
    probe: String,
    since: Duration,
    last_event: Duration,
}

/// The most reads in flight. Each reply may have 64 KiB, and updates wait behind them.
const MAX_READS: usize = 64;

impl Subscriber {
    pub(crate) fn new(
        shared: Shared,
        node: Node,
        queue: Arc<JobQueue>,
        socket: Socket,
        probe: String,
    ) -> Self {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let since = shared.clock.elapsed();
        let mut subscription = Subscription::new(shared.names, socket);
        subscription.subscribe_to_probes(&probe);
        Self {
            shared,
            node,
            queue,
            subscription,
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            subscribed: HashMap::new(),
            rereads: Rereads::default(),
            folds: 0,
            probe,
            since,
            last_event: since,
        }
    }

    /// Serves until the subscription ends. Returns why it ended.
    pub(crate) async fn run(mut self) -> Ended {
        match self.serve().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while self.has_room()
                && let Some(job) = self.queue.pop()
            {
                self.update_subscription(job);
            }
            let queue = Arc::clone(&self.queue);
            tokio::select! {
                progress = self.subscription.progress() => progress?,
                () = queue.added(), if self.has_room() => {}
                _ = tick.tick() => self.tick()?,
            }
            while let Some(event) = self.subscription.next()? {
                self.last_event = self.shared.clock.elapsed();
                match event {
                    Event::Message { channel, payload } => self.message(&channel, &payload),
                    Event::Answered(sent, answer) => self.answered(sent, answer),
                    Event::Refused(sent, error) => self.refused(sent, &error)?,
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.subscription.reads() < MAX_READS
    }

    /// Subscribes to a job and reads it, or unsubscribes if it has no listener any more.
    fn update_subscription(&mut self, job: JobId) {
        let Interest::States { after } = self.shared.watched.interest(&job) else {
            if self.subscribed.remove(&job).is_some() {
                self.subscription.unsubscribe(job);
            }
            return;
        };
        if !self.subscribed.contains_key(&job) {
            self.subscribed.insert(job.clone(), false);
            self.subscription.subscribe(&job);
        }
        let most = self.shared.retention.history.get();
        let call = Call::read(self.shared.names, &job, after, most);
        self.subscription.read(job, &call);
    }

    /// Reads the jobs that are due, and gives up the connection if nothing arrives on it.
    fn tick(&mut self) -> Result<(), Ended> {
        let now = self.shared.clock.elapsed();
        while self.has_room()
            && let Some(job) = self.rereads.take(now)
        {
            if self.shared.watched.contains(&job) {
                self.queue.push(job);
            }
        }
        if self.shared.health.misses_probes(&self.node, self.since, now) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "no probe has arrived in time");
            return Err(error.into());
        }
        Ok(())
    }

    /// Takes the next step for a job.
    fn follow_up(&mut self, job: &JobId, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Read => self.queue.push(job.clone()),
            Next::Fold => self.fold(job),
        }
    }

    /// Sends the job's next legacy update to be folded.
    fn fold(&mut self, job: &JobId) {
        loop {
            self.folds += 1;
            let key = FoldKey(self.key, self.folds);
            let Some(legacy) = self.shared.watched.next_update(job, key) else { return };
            let parsed = Update::parse(Some(job), legacy.json().as_bytes());
            let Ok(update) = parsed.inspect_err(|reason| self.refuse(job, reason)) else {
                if self.shared.watched.folded(job, key, None) == Next::Read {
                    self.queue.push(job.clone());
                }
                continue;
            };
            let Shared { names, retention, clock, .. } = &self.shared;
            let report = Report::new(&update, Some(legacy.source()), clock.now());
            let call = Call::report(*names, &report, retention);
            self.subscription.fold(job.clone(), key, update.attempt().map(u32::from), &call);
            return;
        }
    }

    fn message(&mut self, channel: &str, payload: &[u8]) {
        if channel == self.probe {
            if self.shared.health.probe_arrived(&self.node, self.last_event) {
                tracing::info!(node = %self.node, "the subscription to Redis works again");
            }
        } else if let Some(job) = self.shared.names.job_of(channel) {
            self.job_message(&job, payload);
        }
    }

    /// Handles a message on a job's channel. Anybody may have published it.
    fn job_message(&mut self, job: &JobId, payload: &[u8]) {
        /// The most bytes that the fold adds to an update.
        const ADDED_BY_THE_FOLD: usize = 4 << 10;
        let limit = self.shared.retention.max_update_bytes;
        if payload.len() > limit.saturating_add(ADDED_BY_THE_FOLD) {
            self.refuse(job, &format!("it has more than {limit} bytes"));
            // It may be the state of a reporter with another limit. Then a read finds it.
            return self.follow_up(job, Next::Read);
        }
        match std::str::from_utf8(payload) {
            Ok(json) => match self.shared.watched.message(job, json, self.key, self.last_event) {
                Ok(next) => self.follow_up(job, next),
                Err(reason) => self.refuse(job, &reason),
            },
            Err(reason) => self.refuse(job, &reason),
        }
    }

    /// Rejects an update of a legacy worker.
    fn refuse(&self, job: &JobId, reason: &dyn Display) {
        self.shared.refusals.update(job, reason, self.shared.clock.elapsed());
    }

    /// Parses a legacy key, if it can be an update.
    fn legacy_value(&self, job: &JobId, value: Vec<u8>) -> Option<String> {
        let limit = self.shared.retention.max_update_bytes;
        if value.len() > limit {
            self.refuse(job, &format!("it has more than {limit} bytes"));
            return None;
        }
        String::from_utf8(value).inspect_err(|reason| self.refuse(job, reason)).ok()
    }

    fn answered(&mut self, sent: Sent, answer: Answer) {
        match sent {
            Sent::Read(job) => match Read::parse(answer, &job) {
                Ok(mut read) => {
                    let value = read.legacy_value.take();
                    let value = value.and_then(|value| self.legacy_value(&job, value));
                    let (next, is_soon) = self.shared.watched.read(&job, read, value, self.key);
                    self.follow_up(&job, next);
                    self.plan_reread(job, is_soon);
                }
                Err(reason) => self.unreadable(Sent::Read(job), &reason.to_string()),
            },
            Sent::Fold(job, key, attempt) => match Reply::parse(answer, attempt) {
                Ok(reply) => {
                    if let Reply::Refused(refusal) = &reply {
                        self.refuse(&job, refusal);
                    }
                    let next = self.shared.watched.folded(&job, key, Some(reply));
                    self.follow_up(&job, next);
                }
                Err(reason) => {
                    self.unreadable(Sent::Fold(job, key, attempt), &reason.to_string());
                }
            },
            Sent::LoadScript | Sent::Subscribe(_) | Sent::Unsubscribe(_) => {}
        }
    }

    /// Handles an error reply. It concerns one job, unless it concerns the whole server.
    fn refused(&mut self, sent: Sent, error: &str) -> Result<(), Ended> {
        let code = error.split(' ').next().unwrap_or_default();
        match (code, sent) {
            ("NOSCRIPT", Sent::Read(job)) => {
                self.subscription.load_scripts();
                self.update_subscription(job);
                Ok(())
            }
            ("NOSCRIPT", Sent::Fold(job, ..)) => {
                self.subscription.load_scripts();
                self.shared.watched.not_sent(&job);
                self.fold(&job);
                Ok(())
            }
            ("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN", _) => {
                Err(Ended::Moved(format!("{}: {error}", self.node)))
            }
            ("OOM", Sent::Fold(job, key, _)) => {
                // Redis has no memory for this update, but may have some for the next one.
                let next = self.shared.watched.folded(&job, key, None);
                self.follow_up(&job, next);
                Ok(())
            }
            // The server accepts no commands at the moment.
            ("READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH", _)
            | (_, Sent::LoadScript | Sent::Subscribe(None) | Sent::Unsubscribe(_)) => {
                Err(io::Error::other(error.to_owned()).into())
            }
            (_, sent) => {
                self.unreadable(sent, error);
                Ok(())
            }
        }
    }

    /// Handles a reply for one job that cannot be used. Other jobs are not affected.
    fn unreadable(&mut self, sent: Sent, reason: &str) {
        let Shared { watched, refusals, clock, .. } = &self.shared;
        let now = clock.elapsed();
        refusals.count_unreadable();
        match sent {
            Sent::Read(job) => {
                if watched.unreadable(&job, reason) {
                    refusals.log_unreadable(&job, &reason, now);
                }
                self.plan_reread(job, false);
            }
            Sent::Fold(job, key, _) => {
                refusals.log_unreadable(&job, &reason, now);
                let next = watched.folded(&job, key, None);
                self.follow_up(&job, next);
                // A read finds out whether the job is unreadable, or only this update cannot be folded.
                self.queue.push(job);
            }
            Sent::Subscribe(Some(job)) => {
                refusals.log_unreadable(&job, &reason, now);
                watched.unsubscribable(&job, reason);
                // The next reread subscribes again.
                self.subscribed.remove(&job);
                self.rereads.plan(job, false, now);
            }
            Sent::Subscribe(None) | Sent::Unsubscribe(_) | Sent::LoadScript => {}
        }
    }

    /// Plans the job's next read: soon after its first one, or if `soon`.
    fn plan_reread(&mut self, job: JobId, is_soon: bool) {
        let Some(was_read) = self.subscribed.get_mut(&job) else { return };
        let is_first = !std::mem::replace(was_read, true);
        self.rereads.plan(job, is_soon || is_first, self.shared.clock.elapsed());
    }
}
