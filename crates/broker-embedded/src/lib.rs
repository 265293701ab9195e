//! The broker inside the process, which needs no other service.

mod capacity;
mod clocks;
mod families;
mod index;
mod job;
mod jobs;
mod listing;
mod logs;
mod names;
mod page;
mod store;
mod stripe;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use milepost_protocol::{
    Ancestors, Epoch, Fold, InvalidParent, JobId, LogLine, MAX_LEVELS, Origin, Position, Request,
    State, Timeline, Timestamp, Update, fold_with_usual,
};

use capacity::Capacity;
use clocks::Look;
use families::{Families, ROLL_UP_INTERVAL};
use logs::Logs;
use milepost_broker::{
    Appended, Broker, Clock, History, JobLogs, Jobs, JobsQuery, Listener, LogError, LogPage,
    LogPart, LogStats, MassLoss, ReportError, Reported, RequestError, Stats, SystemClock,
    Unavailable, Verdict, Workers,
};
use names::Names;
use page::Page;
use store::Store;
use stripe::{Folded, NewJob, NotFolded, Room, SharedParts, Stripe, millis};

pub use store::StoreError;

/// How much an [`Embedded`] broker keeps, and for how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most jobs.
    pub max_jobs: usize,
    /// The most bytes of states and histories, with an allowance for bookkeeping.
    pub max_bytes: usize,
    /// The most states in a job's history, the present one included.
    pub history: NonZeroUsize,
    /// The most bytes in a job's history. The present state is kept whatever its size.
    pub history_bytes: usize,
    /// The most bytes of the logs of all jobs together.
    pub max_log_bytes: usize,
    /// How long a job is kept after an update, unless the update has a `ttl`.
    pub ttl: Duration,
    /// How long a job is kept after its end, unless an update had a `ttl`.
    pub ttl_after_end: Duration,
}

impl Limits {
    fn ttl_of(&self, state: &State) -> Duration {
        match state.ttl() {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if state.status().is_end() => self.ttl_after_end,
            None => self.ttl,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_jobs: 1_000_000,
            max_bytes: 1 << 30,
            history: NonZeroUsize::MIN.saturating_add(31),
            history_bytes: 64 << 10,
            max_log_bytes: 64 << 20,
            ttl: Duration::from_secs(3_600),
            ttl_after_end: Duration::from_secs(3_600),
        }
    }
}

/// The embedded broker. Its jobs are spread over stripes, each behind a lock that is held for one fold at a time.
///
/// With a data directory, an end is on disk before its report is acknowledged, and any other state within a second. A job that
/// is read from disk keeps its position. Its next update opens a new epoch, because watchers may have seen later positions
/// before the restart.
pub struct Embedded {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: RandomState,
    limits: Limits,
    capacity: Capacity,
    logs: Logs,
    families: Families,
    names: Names,
    clock: Arc<dyn Clock>,
    store: Option<Store>,
    next_epoch: AtomicU64,
    last_begun: AtomicU64,
    /// When the clocks of jobs were checked last, and since when silence counts. In milliseconds of the clock's `elapsed`.
    looked_at: AtomicU64,
    clocks_from: AtomicU64,
    losses: Mutex<MassLoss>,
}

const STRIPES: u64 = 16;

impl Embedded {
    /// A broker that forgets everything when the process ends.
    pub fn in_memory(limits: Limits) -> Self {
        Self::with_clock(limits, Arc::new(SystemClock::default()))
    }

    /// The same, with another clock.
    pub fn with_clock(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let now = millis(clock.elapsed());
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            capacity: Capacity::new(limits.max_jobs, limits.max_bytes),
            logs: Logs::new(limits.max_log_bytes),
            families: Families::default(),
            names: Names::default(),
            limits,
            clock,
            store: None,
            next_epoch: AtomicU64::new(random_epoch()),
            last_begun: AtomicU64::new(0),
            looked_at: AtomicU64::new(now),
            clocks_from: AtomicU64::new(now),
            losses: Mutex::default(),
        }
    }

    /// A broker whose states outlive the process, in that directory, which is created if it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be used, another process uses it, or its file is not a store.
    pub fn open(
        limits: Limits,
        clock: Arc<dyn Clock>,
        directory: &Path,
    ) -> Result<Self, StoreError> {
        let mut broker = Self::with_clock(limits, clock);
        let (store, stored) = Store::open(directory, broker.limits.max_jobs)?;
        let now = broker.clock.now();
        broker.names.restore(stored.runs, now, &store);
        for record in stored.records {
            let left = record.expires.since(now);
            if left.is_zero() {
                store.forget(record.state.job().clone());
                continue;
            }
            broker.last_begun.fetch_max(record.begun, Ordering::Relaxed);
            let epoch = broker.new_epoch();
            let expires = millis(broker.clock.elapsed() + left);
            let mut stripe = broker.stripe(record.state.job());
            let state = Arc::clone(&record.state);
            let timeline = record.timeline.as_deref();
            let timeline = timeline.and_then(|bytes| Timeline::decode(bytes, &state)).map(Box::new);
            let job = NewJob { state: record.state, epoch, begun: record.begun, expires };
            let key = stripe.begin(job, timeline, &broker.capacity);
            broker.families.child(None, &state, expires, &broker.capacity);
            stripe.wind(key, &state, true, millis(broker.clock.elapsed()));
        }
        broker.store = Some(store);
        Ok(broker)
    }

    /// Forgets expired jobs. [`Broker::run`] does this every second.
    pub fn expire(&self) {
        /// So many under one lock, so that a report does not wait for all of them.
        const SLICE: usize = 256;
        for stripe in &self.stripes {
            while lock(stripe).expire(SLICE, self.shared()) {}
        }
        for parent in self.families.expired(millis(self.clock.elapsed())) {
            let stripe = self.stripe(&parent);
            if stripe.state(&parent).is_none() {
                self.families.forget(&parent, &self.capacity);
            }
        }
    }

    /// Shows jobs' children in their states, each at most five times a second. [`Broker::run`] does this when they change.
    pub fn roll_up(&self) {
        // A parent's new state may change what its own parent shows.
        for _ in 0..MAX_LEVELS {
            let due = self.families.due(millis(self.clock.elapsed()));
            if due.is_empty() {
                break;
            }
            for parent in due {
                self.stripe(&parent).roll_up(&parent, self.shared());
            }
        }
    }

    async fn roll_up_children(&self) {
        loop {
            self.families.changed().await;
            self.roll_up();
            while self.families.is_waiting() {
                tokio::time::sleep(Duration::from_millis(ROLL_UP_INTERVAL)).await;
                self.roll_up();
            }
        }
    }

    /// Checks whether a job may become a child of the parent that the update names, unless it is one already.
    fn check_parent(&self, update: &Update) -> Result<(), InvalidParent> {
        let Some(parent) = update.parent() else { return Ok(()) };
        let parent_of = |job: &JobId| self.stripe(job).state(job).and_then(|state| state.parent());
        if parent_of(update.job()).as_ref() == Some(&parent) {
            return Ok(());
        }
        let mut ancestors = Ancestors::new(update.job(), parent)?;
        while ancestors.step(parent_of(ancestors.next()))? {}
        Ok(())
    }

    /// Changes the health of jobs whose worker has been silent, or which have made no progress, for too long. [`Broker::run`]
    /// does this every second. After a much longer pause, in which no report could arrive, all clocks start over.
    pub fn check_clocks(&self) {
        const STOPPED: u64 = 5_000;
        /// So many under one lock, so that a report does not wait for all of them.
        const SLICE: usize = 64;
        let now = millis(self.clock.elapsed());
        let last = self.looked_at.swap(now, Ordering::Relaxed);
        if now.saturating_sub(last) > STOPPED {
            self.clocks_from.store(now, Ordering::Relaxed);
        }
        let losing = self.losing();
        if losing == Verdict::StartOver {
            self.clocks_from.store(now, Ordering::Relaxed);
        }
        let look =
            Look { from: self.clocks_from.load(Ordering::Relaxed), holds: losing == Verdict::Hold };
        let mut held = false;
        for stripe in &self.stripes {
            while lock(stripe).check_clocks(SLICE, look, &mut held, self.shared()) {}
        }
        if held && self.losses().hold(self.clock.elapsed(), self.workers()) {
            tracing::warn!("{}", self.losses().warning().unwrap_or_default());
        }
    }

    /// What happens to workers that have been silent for too long.
    fn losing(&self) -> Verdict {
        let verdict = self.losses().look(self.clock.elapsed(), self.workers());
        match verdict {
            Verdict::StartOver => tracing::info!("silent workers report again"),
            Verdict::GiveUp => tracing::warn!("workers are still silent: their jobs are lost"),
            Verdict::Lose | Verdict::Hold => {}
        }
        verdict
    }

    fn losses(&self) -> MutexGuard<'_, MassLoss> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> Workers {
        let of_stripes = self.stripes.iter().map(|stripe| lock(stripe).workers);
        of_stripes.fold(Workers::default(), Workers::plus)
    }

    fn shared(&self) -> SharedParts<'_> {
        SharedParts {
            limits: &self.limits,
            capacity: &self.capacity,
            logs: &self.logs,
            families: &self.families,
            names: &self.names,
            store: self.store.as_ref(),
            now: self.clock.now(),
            elapsed: self.clock.elapsed(),
        }
    }

    fn stripe(&self, job: &JobId) -> MutexGuard<'_, Stripe> {
        let index = self.hasher.hash_one(job) % STRIPES;
        lock(&self.stripes[usize::try_from(index).unwrap_or(0)])
    }

    fn new_epoch(&self) -> Epoch {
        Epoch(self.next_epoch.fetch_add(1, Ordering::Relaxed).max(1))
    }

    /// A number for a job that begins now: the time, but unique.
    fn begin(&self, now: Timestamp) -> u64 {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let later = |last: u64| micros.max(last.saturating_add(1));
        self.last_begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)))
            .map_or(micros, later)
    }

    /// Evicts the ended job that would expire first. Returns false if no job has ended.
    fn evict_one(&self) -> bool {
        let first = self
            .stripes
            .iter()
            .filter_map(|stripe| Some((lock(stripe).first_to_evict()?, stripe)))
            .min_by_key(|(expires, _)| *expires);
        // If another thread evicted it first, there is room now too, so the caller may try again in any case.
        first.map(|(_, stripe)| lock(stripe).evict(self.shared())).is_some()
    }

    fn fold<E>(
        &self,
        job: &JobId,
        heard: bool,
        next: impl Fn(Option<&State>, Epoch, Timestamp) -> Result<Fold, E>,
    ) -> Result<Folded, NotFolded<E>> {
        let mut room = Room::Free;
        loop {
            let shared = self.shared();
            let birth = || (self.new_epoch(), self.begin(shared.now));
            let folded = self.stripe(job).fold(job, &next, shared, room, heard, birth);
            match folded {
                // Each iteration evicts an ended job, so there are no more iterations than ended jobs.
                Err(NotFolded::Full(_)) if self.evict_one() => {}
                Err(full @ NotFolded::Full(_)) => {
                    room = match room {
                        Room::Free => Room::OfHistory,
                        Room::OfHistory => Room::BeyondBound,
                        Room::BeyondBound => return Err(full),
                    }
                }
                folded => return folded,
            }
        }
    }
}

fn lock(stripe: &Mutex<Stripe>) -> MutexGuard<'_, Stripe> {
    // A panic never leaves a stripe half-changed, because everything that may panic comes before the first change.
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random_epoch() -> u64 {
    // Without randomness, the time is enough: two lives of one job must differ.
    getrandom::u64()
        .unwrap_or_else(|_| u64::try_from(SystemClock::default().now().as_micros()).unwrap_or(1))
}

#[async_trait]
impl Broker for Embedded {
    async fn report(&self, update: Update) -> Result<Reported, ReportError> {
        self.check_parent(&update).map_err(ReportError::Parent)?;
        let past = self.names.past_of(&update, self.clock.now());
        let usual = past.as_ref().map(|past| &past.usual);
        let weights = past.as_ref().and_then(|past| past.stage_weights.as_deref());
        let next = |previous: Option<&State>, epoch, now| {
            fold_with_usual(previous, &update, Origin::Report, epoch, now, usual, weights)
        };
        let folded = self.fold(update.job(), true, next).map_err(|error| match error {
            NotFolded::Refused(refusal) => ReportError::Refused(refusal),
            NotFolded::Full(bound) => ReportError::Full(bound),
        });
        let Folded { state, repeated } = folded?;
        if let Some(store) = &self.store
            && state.status().is_end()
        {
            // Invariant: an end is on disk before it is acknowledged, also when it is reported again.
            store.flush().await?;
        }
        Ok(Reported { state, repeated })
    }

    async fn request(&self, job: &JobId, request: Request) -> Result<Reported, RequestError> {
        let next = |previous: Option<&State>, epoch, now| {
            milepost_protocol::request(previous, &request, epoch, now)
        };
        let folded = self.fold(job, false, next).map_err(|error| match error {
            NotFolded::Refused(refusal) => RequestError::Refused(refusal),
            NotFolded::Full(bound) => RequestError::Full(bound),
        });
        folded.map(|Folded { state, repeated }| Reported { state, repeated })
    }

    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        Ok(self.stripe(job).state(job))
    }

    async fn history(&self, job: &JobId) -> Result<History, Unavailable> {
        Ok(self.stripe(job).history(job))
    }

    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable> {
        self.stripe(job).attach(job, listener);
        Ok(())
    }

    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) {
        self.stripe(job).detach(job, listener);
    }

    async fn forget(&self, job: &JobId) -> Result<bool, Unavailable> {
        let known = self.stripe(job).forget(job, self.shared());
        if let Some(store) = &self.store
            && known
        {
            store.flush().await?;
        }
        Ok(known)
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Jobs, Unavailable> {
        let page = Page::new(&self.stripes, query).collect().await;
        let states = page.listed.into_iter().map(|job| job.state).collect();
        let total = self.capacity.stats().jobs;
        Ok(Jobs { states, next: page.next, total, unmatched: page.unmatched })
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        match &self.store {
            Some(store) => store.flush().await,
            None => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.losses().warning().into_iter().collect()
    }

    fn stats(&self) -> Stats {
        Stats { mass_losses: self.losses().count(), ..self.capacity.stats() }
    }

    async fn run(&self, mut stop: tokio::sync::watch::Receiver<bool>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let each_second = async {
            loop {
                second.tick().await;
                self.expire();
                self.check_clocks();
            }
        };
        tokio::select! {
            () = each_second => {}
            () = self.roll_up_children() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Some(store) = &self.store
            && let Err(error) = store.close().await
        {
            tracing::error!(%error, "the latest states are not on disk");
        }
    }
}

#[async_trait]
impl JobLogs for Embedded {
    async fn append_log(&self, job: &JobId, lines: Vec<LogLine>) -> Result<Appended, LogError> {
        let stripe = self.stripe(job);
        let state = stripe.state(job).ok_or(LogError::UnknownJob)?;
        Ok(self.logs.append(job, lines, state.status().is_end(), || self.new_epoch()))
    }

    async fn log(&self, job: &JobId, part: LogPart) -> Result<Option<LogPage>, Unavailable> {
        let is_known = self.stripe(job).state(job).is_some();
        Ok(is_known.then(|| self.logs.page(job, part)))
    }

    async fn log_grown(&self, job: &JobId, seen: Option<Position>) {
        self.logs.grown(job, seen).await;
    }

    fn log_stats(&self) -> LogStats {
        self.logs.stats()
    }
}
