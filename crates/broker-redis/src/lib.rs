//! The broker in Redis or Valkey: any number of instances, and workers that report straight to it.
//!
//! What is kept lies in Redis, and the scripts of `milepost-redis` fold there. An instance holds a [`link`] to each
//! server, subscribes there to the jobs that its own watchers watch, and reads them when a watch begins, after the
//! connection was lost, and now and then.

mod conditions;
mod follow;
mod health;
mod link;
mod links;
mod queue;
mod refusals;
mod socket;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use milepost_protocol::{JobId, LogLine, Position, Request, RequestRefusal, State, Update};
use milepost_redis::{Client, Failure, Reply};
use tokio::sync::watch;
use tokio::task::JoinSet;

use conditions::Conditions;
use follow::Follow;
use link::Context;
use links::Links;
use milepost_broker::{
    Appended, Broker, Clock, JobLogs, Jobs, JobsQuery, Listener, LogError, LogPage, LogPart,
    LogStats, MAX_JOB_LOG_BYTES, ReportError, Reported, RequestError, Stats, Unavailable,
};

pub use milepost_redis::{Address, InvalidAddress, Retention};

/// The Redis broker.
///
/// An acknowledged end outlives what Redis' own persistence lets it outlive. After a restart or a failover, which may
/// have lost what was shown, each job's next state opens a new epoch.
pub struct Redis {
    client: Client,
    context: Context,
    links: Links,
    follow: Follow,
    /// What this instance is called in the names of its own channels.
    instance: String,
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

/// How long `attach` waits for the job's present state.
const PATIENCE: Duration = Duration::from_secs(3);

impl Redis {
    /// A broker at that address. Connects when it [runs](Broker::run).
    pub fn new(address: Address, retention: Retention, clock: Arc<dyn Clock>) -> Self {
        let client = Client::new(address, retention);
        let context = Context {
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
            context,
            links: Links::default(),
            follow: Follow::default(),
            instance: format!("{token:x}"),
            jobs: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    fn push(&self, job: &JobId) {
        self.links.push(job, &self.context.names.channel(job));
    }

    /// Proves, again and again, that each server takes writes and that what is published there is heard here.
    async fn probe_servers(&self) {
        /// Often enough that a fault is known within 10 s, and a Redis of a thousand instances does not mind.
        const EVERY: Duration = Duration::from_secs(1);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let probes = self.links.probes(&self.instance, &self.context);
            let probes = probes.into_iter().map(|(node, channel)| async move {
                let result = self.client.probe(&channel, &self.instance).await;
                self.context.health.probed(&node, result.map_err(|failure| failure.to_string()));
            });
            futures_util::future::join_all(probes).await;
        }
    }

    /// Asks the servers for what an operator has to know, and says it in the log where it has changed.
    async fn check_servers(&self) {
        let is_cluster = self.context.names.is_cluster();
        let info = self.client.info().await;
        // Without an answer the probes say what is wrong.
        let conditions =
            info.and_then(|info| Conditions::of_all(&info, is_cluster)).unwrap_or_default();
        if conditions.used_memory > 0 {
            self.bytes.store(conditions.used_memory, Ordering::Relaxed);
        }
        for words in self.context.health.conditions(conditions) {
            tracing::warn!("Redis: {words}");
        }
    }

    /// Changes the health of the jobs that have been silent, or stood still, for too long. After a pause, be it Redis' or this
    /// process', in which nobody could be heard, all clocks start over.
    async fn look_at_clocks(&self) {
        const EVERY: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_secs(3);
        const SLICE: usize = 256;
        // In a Cluster the jobs to look at are on another server than the jobs: there, health does not change by time.
        if self.context.names.is_cluster() {
            return std::future::pending().await;
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut from, mut looked_at) = (0, None::<Duration>);
        loop {
            tick.tick().await;
            let Ok((asked, jobs)) = self.client.due(SLICE).await else { continue };
            let now = self.context.clock.elapsed();
            if looked_at.is_none_or(|last| now.saturating_sub(last) > PAUSE) {
                from = asked;
            }
            looked_at = Some(now);
            for job in jobs {
                // What fails now is due again in a second.
                let _ = self.client.clock(&job, from, asked, self.context.clock.now()).await;
            }
        }
    }

    /// Drops from the index of jobs those whose time is over, and counts what is left.
    async fn keep_index(&self) {
        const EVERY: Duration = Duration::from_secs(2);
        /// So many in one step, so that Redis does nothing else for a moment only.
        const SLICE: usize = 256;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // What Redis does not do now, it is asked again soon.
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
        match self.client.report(&update, self.context.clock.now()).await {
            Ok(Reply::Taken(taken)) => {
                if taken.state.position().number == 1 && !taken.repeated {
                    self.jobs.fetch_add(1, Ordering::Relaxed);
                    self.bytes.fetch_add(taken.state.json().len(), Ordering::Relaxed);
                }
                Ok(Reported { state: Arc::new(taken.state), repeated: taken.repeated })
            }
            Ok(Reply::Refused(refusal)) => Err(ReportError::Refused(refusal)),
            Ok(_) => Err(ReportError::Unavailable(Unavailable(
                "unexpected reply from the report script".to_owned(),
            ))),
            Err(Failure::Full(detail)) => Err(ReportError::Full(detail)),
            Err(failure) => Err(ReportError::Unavailable(unavailable(failure))),
        }
    }

    async fn request(&self, job: &JobId, request: Request) -> Result<Reported, RequestError> {
        match self.client.request(job, &request, self.context.clock.now()).await {
            Ok(Reply::Taken(taken)) => {
                Ok(Reported { state: Arc::new(taken.state), repeated: taken.repeated })
            }
            Ok(Reply::NotRequested(refusal)) => Err(RequestError::Refused(refusal)),
            Ok(Reply::Refused(refusal)) => {
                Err(RequestError::Refused(RequestRefusal::Ended(refusal)))
            }
            Ok(_) => Err(RequestError::Unavailable(Unavailable(
                "unexpected reply from the report script".to_owned(),
            ))),
            Err(Failure::Full(detail)) => Err(RequestError::Full(detail)),
            Err(failure) => Err(RequestError::Unavailable(unavailable(failure))),
        }
    }

    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        let states =
            self.client.states(job, 1, self.context.clock.now()).await.map_err(unavailable)?;
        Ok(states.into_iter().last().map(Arc::new))
    }

    async fn history(&self, job: &JobId) -> Result<Vec<Arc<State>>, Unavailable> {
        let most = self.context.retention.history.get();
        let states =
            self.client.states(job, most, self.context.clock.now()).await.map_err(unavailable)?;
        Ok(states.into_iter().map(Arc::new).collect())
    }

    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable> {
        let told = self.context.watched.attach(job, Arc::clone(&listener));
        self.push(job);
        let answer = tokio::time::timeout(PATIENCE, told).await;
        if let Ok(Ok(Ok(()))) = answer {
            return Ok(());
        }
        self.detach(job, &listener).await;
        let why = if let Ok(Ok(Err(reason))) = answer {
            Some(reason)
        } else {
            self.context.health.check(self.context.clock.elapsed()).err()
        };
        Err(Unavailable(why.unwrap_or_else(|| "no answer from Redis in time".to_owned())))
    }

    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) {
        if self.context.watched.detach(job, listener) {
            self.push(job);
        }
    }

    async fn forget(&self, job: &JobId) -> Result<bool, Unavailable> {
        self.client.forget(job).await.map_err(unavailable)
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Jobs, Unavailable> {
        /// So many jobs are looked at for one page; where few match, pages get short.
        const LOOKED_AT: usize = 10_000;
        const SLICE: usize = 200;
        let now = self.context.clock.now();
        let total = self.client.count().await.map_err(unavailable)?;
        let mut jobs = Jobs { total, ..Jobs::default() };
        let (mut before, mut looked_at, mut last) = (query.after, 0, None);
        loop {
            let slice = self.client.begun(before, SLICE).await.map_err(unavailable)?;
            let Some((_, oldest)) = slice.last() else { return Ok(jobs) };
            before = Some(*oldest);
            looked_at += slice.len();
            let is_last_slice = slice.len() < SLICE;
            let matching: Vec<_> = slice
                .into_iter()
                .filter(|(job, _)| job.as_str().starts_with(&query.prefix))
                .collect();
            let ids: Vec<_> = matching.iter().map(|(job, _)| job.clone()).collect();
            let states = self.client.newest(ids, now).await.map_err(unavailable)?;
            for ((_, begun), state) in matching.into_iter().zip(states) {
                let Some(state) = state else { continue };
                if !query.matches(&state) {
                    continue;
                }
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
            if looked_at >= LOOKED_AT {
                jobs.next = before;
                return Ok(jobs);
            }
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.context.health.check(self.context.clock.elapsed()).map_err(Unavailable)
    }

    fn warnings(&self) -> Vec<String> {
        self.context.health.warning().into_iter().collect()
    }

    fn stats(&self) -> Stats {
        let (refused, unreadable) = self.context.refusals.counts();
        Stats {
            jobs: self.jobs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            evicted: 0,
            refused,
            unreadable,
        }
    }

    async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut links = JoinSet::new();
        tokio::select! {
            () = self.links.run(&self.client, &self.context, &self.instance, &mut links) => {}
            () = self.probe_servers() => {}
            () = self.keep_index() => {}
            () = self.look_at_clocks() => {}
            () = self.follow.run(&self.client) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        links.shutdown().await;
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
        self.follow.grown(job, seen).await;
    }

    /// Logs are kept in Redis, and count there.
    fn log_stats(&self) -> LogStats {
        LogStats::default()
    }
}

fn unavailable(failure: Failure) -> Unavailable {
    let (Failure::Full(detail)
    | Failure::Unavailable(detail)
    | Failure::Unreadable(detail)
    | Failure::Refused(detail)) = failure;
    Unavailable(detail)
}
