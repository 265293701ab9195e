//! The broker in Redis or Valkey: any number of instances, and workers that report straight to it.
//!
//! Jobs are kept in Redis, and the scripts of `milepost-redis` fold updates there. An instance has one [`subscriber`] for
//! each server. It subscribes to the jobs that the instance's own watchers watch, and reads a job when it is first watched,
//! after a lost connection, and every few seconds.

mod conditions;
mod health;
mod job_queue;
mod log_ends;
mod losses;
mod refusals;
mod rereads;
mod subscriber;
mod subscribers;
mod subscription;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use milepost_protocol::{JobId, LogLine, Position, Request, RequestRefusal, State, Update};
use milepost_redis::{Client, Failure, Reply};
use tokio::sync::watch;
use tokio::task::JoinSet;

use conditions::Conditions;
use log_ends::LogEnds;
use losses::Losses;
use milepost_broker::{
    Appended, Broker, Clock, History, JobLogs, Jobs, JobsQuery, Listener, LogError, LogPage,
    LogPart, LogStats, MAX_CONSIDERED, MAX_JOB_LOG_BYTES, ReportError, Reported, RequestError,
    Stats, Unavailable,
};
use subscriber::Shared;
use subscribers::Subscribers;

pub use milepost_redis::{Address, InvalidAddress, Retention};

/// The Redis broker.
///
/// An acknowledged end is as durable as Redis' own persistence. After a restart or a failover, which may have lost states that
/// watchers have seen, each job's next state opens a new epoch.
pub struct Redis {
    client: Client,
    shared: Shared,
    subscribers: Subscribers,
    log_ends: LogEnds,
    losses: Losses,
    /// Identifies this instance in the names of its own channels.
    instance: String,
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

/// How long `attach` waits for the job's states.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(3);

impl Redis {
    /// A broker at that address. It connects when it [runs](Broker::run).
    pub fn new(address: Address, retention: Retention, clock: Arc<dyn Clock>) -> Self {
        let client = Client::new(address, retention);
        let shared = Shared {
            names: client.names(),
            retention,
            clock,
            watched: Arc::default(),
            health: Arc::default(),
            refusals: Arc::default(),
        };
        let token = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self {
            client,
            shared,
            subscribers: Subscribers::default(),
            log_ends: LogEnds::default(),
            losses: Losses::default(),
            instance: format!("{token:x}"),
            jobs: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// How many bytes this instance may use to remember the jobs that it has reported: see [`Client::remembering`].
    #[must_use]
    pub fn remembering(mut self, bytes: usize) -> Self {
        self.client = self.client.remembering(bytes);
        self
    }

    /// Queues a job, to be subscribed to or unsubscribed from, depending on whether it has a listener then.
    fn update_subscription(&self, job: &JobId) {
        self.subscribers.push(job, &self.shared.names.channel(job));
    }

    /// Proves regularly that each server accepts writes, and that messages published there arrive here.
    async fn probe_servers(&self) {
        /// Notices a fault within 10 s, and is cheap even for a Redis with a thousand instances.
        const EVERY: Duration = Duration::from_secs(1);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let probes = self.subscribers.probes(&self.instance, &self.shared);
            let probes = probes.into_iter().map(|(node, channel)| async move {
                let result = self.client.probe(&channel, &self.instance).await;
                self.shared
                    .health
                    .probe_written(&node, result.map_err(|failure| failure.to_string()));
            });
            futures_util::future::join_all(probes).await;
        }
    }

    /// Asks the servers for their conditions, and logs what has changed.
    async fn check_servers(&self) {
        let is_cluster = self.shared.names.is_cluster();
        let info = self.client.info().await;
        // If a server does not reply, the probes report why.
        let conditions =
            info.and_then(|info| Conditions::of_all(&info, is_cluster)).unwrap_or_default();
        if conditions.used_memory > 0 {
            self.bytes.store(conditions.used_memory, Ordering::Relaxed);
        }
        for warning in self.shared.health.update_conditions(conditions) {
            tracing::warn!("Redis: {warning}");
        }
    }

    /// Shows the children of jobs in their states. Each job is handed to one instance only.
    async fn roll_up_children(&self) {
        const EVERY: Duration = Duration::from_millis(200);
        const SLICE: usize = 256;
        const AT_ONCE: usize = 32;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Ok(parents) = self.client.due_parents(SLICE).await else { continue };
            let now = self.shared.clock.now();
            let roll_ups = futures_util::stream::iter(parents)
                .map(|parent| async move { self.client.roll_up(&parent, now).await });
            let mut done = roll_ups.buffer_unordered(AT_ONCE);
            // A job whose roll-up fails is due again after 10 s.
            while done.next().await.is_some() {}
        }
    }

    /// Sends the pending summaries of children to their parents. This is a loop of its own, so that a server of a Cluster that
    /// does not reply delays only its own parents.
    async fn notify_parents(&self) {
        const EVERY: Duration = Duration::from_millis(200);
        loop {
            tokio::time::sleep(EVERY).await;
            self.client.notify_parents().await;
        }
    }

    /// Removes expired jobs from the index, and counts the others.
    async fn maintain_index(&self) {
        const EVERY: Duration = Duration::from_secs(2);
        /// How many jobs one script removes, so that Redis is not blocked for long.
        const SLICE: usize = 256;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // If Redis does not reply, the next tick tries again.
            while self.client.expire(SLICE).await == Ok(SLICE) {}
            if let Ok(jobs) = self.client.count().await {
                self.jobs.store(jobs, Ordering::Relaxed);
            }
            self.check_servers().await;
        }
    }
}

#[async_trait]
impl Broker for Redis {
    async fn report(&self, update: Update) -> Result<Reported, ReportError> {
        match self.client.report(&update, self.shared.clock.now()).await {
            Ok(Reply::Accepted(accepted)) => {
                if accepted.state.position().number == 1 && !accepted.repeated {
                    self.jobs.fetch_add(1, Ordering::Relaxed);
                    self.bytes.fetch_add(accepted.state.json().len(), Ordering::Relaxed);
                }
                Ok(Reported { state: Arc::new(accepted.state), repeated: accepted.repeated })
            }
            Ok(Reply::Refused(refusal)) => Err(ReportError::Refused(refusal)),
            Ok(Reply::InvalidParent(invalid)) => Err(ReportError::Parent(invalid)),
            Ok(_) => Err(ReportError::Unavailable(Unavailable::Backend(
                "unexpected reply from the report script".to_owned(),
            ))),
            Err(Failure::Full(detail)) => Err(ReportError::Full(detail)),
            Err(failure) => Err(ReportError::Unavailable(unavailable(failure))),
        }
    }

    async fn request(&self, job: &JobId, request: Request) -> Result<Reported, RequestError> {
        match self.client.request(job, &request, self.shared.clock.now()).await {
            Ok(Reply::Accepted(accepted)) => {
                Ok(Reported { state: Arc::new(accepted.state), repeated: accepted.repeated })
            }
            Ok(Reply::RequestRefused(refusal)) => Err(RequestError::Refused(refusal)),
            Ok(Reply::Refused(refusal)) => {
                Err(RequestError::Refused(RequestRefusal::Ended(refusal)))
            }
            Ok(_) => Err(RequestError::Unavailable(Unavailable::Backend(
                "unexpected reply from the report script".to_owned(),
            ))),
            Err(Failure::Full(detail)) => Err(RequestError::Full(detail)),
            Err(failure) => Err(RequestError::Unavailable(unavailable(failure))),
        }
    }

    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        let states =
            self.client.states(job, 1, self.shared.clock.now()).await.map_err(unavailable)?;
        Ok(states.into_iter().last().map(Arc::new))
    }

    async fn history(&self, job: &JobId) -> Result<History, Unavailable> {
        let most = self.shared.retention.history.get();
        let now = self.shared.clock.now();
        let (states, timeline) = self.client.history(job, most, now).await.map_err(unavailable)?;
        Ok(History { states: states.into_iter().map(Arc::new).collect(), timeline })
    }

    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable> {
        let attached = self.shared.watched.attach(job, Arc::clone(&listener));
        self.update_subscription(job);
        let answer = tokio::time::timeout(ATTACH_TIMEOUT, attached).await;
        if let Ok(Ok(Ok(()))) = answer {
            return Ok(());
        }
        self.detach(job, &listener).await;
        if let Ok(Ok(Err(unavailable))) = answer {
            return Err(unavailable);
        }
        let reason = self.shared.health.check(self.shared.clock.elapsed()).err();
        let reason = reason.unwrap_or_else(|| "no answer from Redis in time".to_owned());
        Err(Unavailable::Backend(reason))
    }

    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) {
        if self.shared.watched.detach(job, listener) {
            self.update_subscription(job);
        }
    }

    async fn forget(&self, job: &JobId) -> Result<bool, Unavailable> {
        self.client.forget(job).await.map_err(unavailable)
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Jobs, Unavailable> {
        const SLICE: usize = 200;
        let now = self.shared.clock.now();
        let total = self.client.count().await.map_err(unavailable)?;
        let mut jobs = Jobs { total, ..Jobs::default() };
        let (mut before, mut considered, mut last) = (query.after, 0, None);
        loop {
            let slice = self.client.begun(before, SLICE).await.map_err(unavailable)?;
            let Some((_, oldest)) = slice.last() else { return Ok(jobs) };
            before = Some(*oldest);
            let in_slice = slice.len();
            considered += in_slice;
            let is_last_slice = in_slice < SLICE;
            let matching: Vec<_> = slice
                .into_iter()
                .filter(|(job, _)| job.as_str().starts_with(&query.prefix))
                .collect();
            jobs.unmatched += in_slice - matching.len();
            let ids: Vec<_> = matching.iter().map(|(job, _)| job.clone()).collect();
            let states = self.client.newest(ids, now).await.map_err(unavailable)?;
            for ((_, begun), state) in matching.into_iter().zip(states) {
                let Some(state) = state.filter(|state| query.matches(state)) else {
                    jobs.unmatched += 1;
                    continue;
                };
                if jobs.states.len() == query.limit {
                    jobs.next = last;
                    return Ok(jobs);
                }
                jobs.states.push(Arc::new(state));
                last = Some(begun);
            }
            if is_last_slice {
                return Ok(jobs);
            }
            if considered >= MAX_CONSIDERED {
                jobs.next = before;
                return Ok(jobs);
            }
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.shared.health.check(self.shared.clock.elapsed()).map_err(Unavailable::Backend)
    }

    fn warnings(&self) -> Vec<String> {
        self.shared.health.warning().into_iter().chain(self.losses.warning()).collect()
    }

    fn stats(&self) -> Stats {
        let (refused, unreadable) = self.shared.refusals.counts();
        Stats {
            jobs: self.jobs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            evicted: 0,
            refused,
            unreadable,
            mass_losses: self.losses.count(),
        }
    }

    async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = self.subscribers.run(&self.client, &self.shared, &self.instance, &mut tasks) => {}
            () = self.probe_servers() => {}
            () = self.maintain_index() => {}
            () = self.losses.run(&self.client, &*self.shared.clock) => {}
            () = self.roll_up_children() => {}
            () = self.notify_parents() => {}
            () = self.log_ends.run(&self.client) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        tasks.shutdown().await;
    }
}

#[async_trait]
impl JobLogs for Redis {
    async fn append_log(&self, job: &JobId, lines: Vec<LogLine>) -> Result<Appended, LogError> {
        let epoch = getrandom::u64().unwrap_or(1);
        let appended = self.client.append_log(job, &lines, MAX_JOB_LOG_BYTES, epoch).await;
        match appended {
            Ok(Some((end, dropped))) => Ok(Appended { end, dropped }),
            Ok(None) => Err(LogError::UnknownJob),
            Err(Failure::Full(detail)) => Err(LogError::Full(detail)),
            Err(failure) => Err(LogError::Unavailable(unavailable(failure))),
        }
    }

    async fn log(&self, job: &JobId, part: LogPart) -> Result<Option<LogPage>, Unavailable> {
        let read = self.client.read_log(job, part.after, part.most).await.map_err(unavailable)?;
        Ok(read.map(|read| LogPage {
            log: Appended { end: read.end, dropped: read.dropped },
            gap: read.gap,
            first: read.first,
            lines: read.lines,
        }))
    }

    async fn log_grown(&self, job: &JobId, seen: Option<Position>) {
        self.log_ends.grown(job, seen).await;
    }

    /// Zero, because the logs are in Redis' memory, not in this process.
    fn log_stats(&self) -> LogStats {
        LogStats::default()
    }
}

fn unavailable(failure: Failure) -> Unavailable {
    match failure {
        Failure::Unreadable(detail) => Unavailable::Unreadable(detail),
        Failure::Full(detail) | Failure::Unavailable(detail) | Failure::Refused(detail) => {
            Unavailable::Backend(detail)
        }
    }
}
