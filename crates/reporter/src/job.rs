use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use milepost_protocol::{Action, JobId, MAX_STAGES, MAX_TTL_SECONDS};
use serde::Serialize;

use crate::artifact::Artifact;
use crate::counter::Counter;
use crate::encode;
use crate::owner::{Handle, Owner};
use crate::record::{End, Record};
use crate::requested::Requested;
use crate::stage::{DeclaredStages, Stage};
use crate::update::{MAX_TEXT_BYTES, Part};
use crate::watch_token::{NoToken, watch_token};

/// A handle on one job, with which its worker reports progress.
///
/// No call fails, blocks or waits for a server, and [`inc`](Self::inc) is one atomic addition. Calls change
/// memory, and a thread of the [`Reporter`](crate::Reporter) sends the state. Clones are handles on the same
/// job; any thread or task may have one.
///
/// A job ends with [`complete`](Self::complete), [`complete_with`](Self::complete_with), [`fail`](Self::fail)
/// or [`cancel`](Self::cancel). The first of them counts, and later calls are ignored. If the last handle is
/// dropped before, for example by a `?` or a panic, the job has failed.
#[derive(Clone)]
pub struct Job {
    /// `None` if nothing is reported.
    handle: Option<Arc<Handle>>,
    counter: Arc<Counter>,
}

impl Job {
    /// See [`Reporter::job`](crate::Reporter::job).
    pub(crate) fn open(owner: &Arc<Owner>, id: &str) -> Self {
        let Some(id) = owner.ready(id) else { return Self::silent() };
        let make = |record| Arc::new(Handle::new(record, Arc::clone(owner)));
        match owner.inbox().open(&id, make) {
            Ok(handle) => Self { counter: Arc::clone(&handle.counter), handle: Some(handle) },
            Err(why) => {
                owner.notify_not_accepted(why);
                Self::silent()
            }
        }
    }

    /// A job that is not reported.
    pub(crate) fn silent() -> Self {
        Self { handle: None, counter: Arc::new(Counter::whole()) }
    }

    /// The job's id; `None` if it is not reported.
    pub fn id(&self) -> Option<&JobId> {
        Some(&self.handle.as_ref()?.record.job)
    }

    /// A token with which a page may watch this job, and nothing else, for so long: as [`watch_token`](crate::watch_token()), with the
    /// secret of the environment variable `MILEPOST_TOKEN_SECRET`.
    ///
    /// # Errors
    /// As of that function; and when the job is not reported.
    pub fn watch_token(&self, valid_for: Duration) -> Result<String, NoToken> {
        let job = self.id().ok_or(NoToken::NotReported)?;
        let secret = std::env::var("MILEPOST_TOKEN_SECRET").unwrap_or_default();
        watch_token(job, valid_for, &secret)
    }

    /// Sets the attempt, counted from 1; 0 is ignored. An attempt higher than the job's latest begins a new
    /// one, and resets stage, message, metadata, artifacts and counts. By default, updates belong to the latest attempt,
    /// and are rejected once that has ended.
    ///
    /// ```
    /// # let reporter = milepost_reporter::Reporter::silent();
    /// let job = reporter.job("video-42").attempt(2);
    /// ```
    #[must_use = "the handle that is returned goes on"]
    pub fn attempt(self, attempt: u32) -> Self {
        if let Some(handle) = &self.handle
            && attempt > 0
            && handle.record.attempt(attempt, &handle.counter)
        {
            handle.wake();
        }
        self
    }

    /// How long the job is kept after each of its updates: 1 s to 30 days, in whole seconds. The default is
    /// an hour, or what the server's operator has set.
    #[must_use = "the handle that is returned goes on"]
    pub fn ttl(self, ttl: Duration) -> Self {
        let seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).clamp(1, MAX_TTL_SECONDS);
        self.with_record(|record| record.ttl(seconds));
        self
    }

    /// The kind of job, such as `export`. Watchers find and group jobs by it. Cut at 64 bytes.
    ///
    /// ```
    /// # let reporter = milepost_reporter::Reporter::silent();
    /// let job = reporter.job("video-42").name("render").tags(["gpu", "nightly"]);
    /// ```
    #[must_use = "the handle that is returned goes on"]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with_record(|record| record.name(name.into()));
        self
    }

    /// Words to find the job by. They replace the previous ones. At most 16, each cut at 64 bytes.
    #[must_use = "the handle that is returned goes on"]
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.with_record(|record| record.tags(tags.into_iter().map(Into::into)));
        self
    }

    /// Makes the job a part of another one, which another process may report. The parent shows how many children it has and, unless
    /// it reports its own progress, how far they are. Ignored if that is no job id, or the job's own.
    #[must_use = "the handle that is returned goes on"]
    pub fn parent(self, id: &str) -> Self {
        if let Ok(parent) = JobId::parse(id)
            && self.id() != Some(&parent)
        {
            self.with_record(|record| record.parent(&parent));
        }
        self
    }

    /// How much of its parent the job is, above 0. 1 unless set.
    #[must_use = "the handle that is returned goes on"]
    pub fn weight(self, weight: f64) -> Self {
        self.with_record(|record| record.weight(weight));
        self
    }

    /// How many children the job is going to have. Otherwise its progress goes back whenever another one begins.
    #[must_use = "the handle that is returned goes on"]
    pub fn children_expected(self, count: u32) -> Self {
        self.with_record(|record| record.children_expected(count));
        self
    }

    /// Begins a job that is a part of this one, with the same reporter: see [`parent`](Self::parent).
    ///
    /// ```
    /// # let reporter = milepost_reporter::Reporter::silent();
    /// let batch = reporter.job("batch-7").children_expected(2);
    /// for part in ["batch-7-a", "batch-7-b"] {
    ///     let child = batch.child(part);
    ///     // … work …
    ///     child.complete();
    /// }
    /// ```
    pub fn child(&self, id: &str) -> Self {
        let Some(handle) = &self.handle else { return Self::silent() };
        let child = Self::open(handle.owner(), id);
        match self.id() {
            Some(parent) => child.parent(parent.as_str()),
            None => child,
        }
    }

    /// Lets watchers request to cancel or pause the job. The worker looks for requests and
    /// [acknowledges](Self::acknowledge) them. Otherwise, the server rejects requests. Looking for a request
    /// also calls this.
    #[must_use = "the handle that is returned goes on"]
    pub fn cancellable(self) -> Self {
        self.listen();
        self
    }

    fn listen(&self) {
        if let Some(handle) = &self.handle
            && handle.record.cancellable()
        {
            handle.wake();
        }
    }

    /// The latest request of a watcher, if any. The first call makes the job
    /// [cancellable](Self::cancellable).
    ///
    /// The response to each update contains the request. So a job that moves learns of it within about 0.2 s,
    /// and any other job with its next heartbeat.
    pub fn requested(&self) -> Option<Requested> {
        self.listen();
        self.handle.as_ref()?.record.requests.latest().map(|requested| (*requested).clone())
    }

    /// Whether a watcher requests that the job be cancelled. Once this has returned true, watchers see the
    /// request as acknowledged. The first call makes the job [cancellable](Self::cancellable).
    ///
    /// ```
    /// # let reporter = milepost_reporter::Reporter::silent();
    /// let job = reporter.job("video-42");
    /// for frame in job.track(0..2_000) {
    ///     if job.cancel_requested() {
    ///         return job.cancel("as requested");
    ///     }
    ///     // … the work …
    /// }
    /// job.complete();
    /// ```
    pub fn cancel_requested(&self) -> bool {
        self.listen();
        let Some(handle) = &self.handle else { return false };
        let latest = handle.record.requests.latest();
        let is_requested = latest.is_some_and(|requested| requested.action == Action::Cancel);
        if is_requested {
            self.acknowledge(Action::Cancel);
        }
        is_requested
    }

    /// Completes once a watcher requests that the job be cancelled; otherwise never. Use it in a `select!`
    /// beside the work. It makes the job [cancellable](Self::cancellable), and works with any runtime.
    pub fn cancellation(&self) -> impl Future<Output = Requested> + Send + use<> {
        self.listen();
        let handle = self.handle.as_ref().map(Arc::downgrade);
        let record = self.handle.as_ref().map(|handle| Arc::clone(&handle.record));
        async move {
            let Some(record) = record else { return std::future::pending().await };
            loop {
                let listener = record.requests.listen();
                if let Some(requested) = record.requests.latest()
                    && requested.action == Action::Cancel
                {
                    if let Some(handle) = handle.as_ref().and_then(Weak::upgrade) {
                        handle.acknowledge(Action::Cancel);
                    }
                    return (*requested).clone();
                }
                listener.await;
            }
        }
    }

    /// Acknowledges a request. Watchers see it at once. After [`Action::Pause`], they see the job as paused
    /// until [`Action::Resume`].
    pub fn acknowledge(&self, action: Action) {
        if let Some(handle) = &self.handle {
            handle.acknowledge(action);
        }
    }

    /// Marks the job as queued, until its first stage, count or progress.
    pub fn queued(&self) {
        if let Some(handle) = &self.handle {
            handle.record.queued();
            handle.wake();
        }
    }

    /// Adds `n` to the count. One relaxed atomic addition.
    #[inline]
    pub fn advance(&self, n: u64) {
        self.counter.inc(n);
    }

    /// The same as [`advance`](Self::advance).
    #[inline]
    pub fn inc(&self, n: u64) {
        self.advance(n);
    }

    /// Sets the count to `n`.
    pub fn set(&self, n: u64) {
        self.counter.set(n);
    }

    /// Sets the total. Without one, watchers see the count, and that the total is not known.
    pub fn set_total(&self, total: u64) {
        self.counter.set_total(Some(total));
    }

    /// Removes the total: it is not known any more.
    pub fn clear_total(&self) {
        self.counter.set_total(None);
    }

    /// The unit of the count, for people: `frames`, `bytes`.
    pub fn unit(&self, unit: &str) {
        self.with_record(|record| record.unit(unit, false));
    }

    /// Sets the progress, 0…1, if it is not derived from the count. It overrides the count. Values outside
    /// are clamped with a notice, and NaN is ignored.
    pub fn progress(&self, progress: f64) {
        self.counter.set_progress(progress);
        if let Some(handle) = &self.handle {
            handle.check_progress(progress);
        }
    }

    /// Declares the job's stages in their order: names, or [`Stage`]s with a label, a weight or `skipped`. They replace the previous
    /// ones.
    ///
    /// The server then works out the job's progress: the weights of the stages before the present one, and that of the present one as
    /// far as it has counted. At most 64 stages, with at most 8,192 bytes of JSON; more, or invalid ones, are ignored with a notice.
    ///
    /// ```
    /// # use milepost_reporter::Stage;
    /// # let job = milepost_reporter::Reporter::silent().job("video-42");
    /// # let (parts, frames) = ([1, 2], [3, 4]);
    /// job.stages([Stage::new("fetch"), Stage::new("encode").label("Encode the film").weight(3.0)]);
    /// job.stage("fetch");
    /// for part in job.track(parts) { /* … */ }
    /// job.stage("encode");
    /// for frame in job.track(frames) { /* … */ }
    /// ```
    pub fn stages<S: Into<Stage>>(&self, stages: impl IntoIterator<Item = S>) {
        let Some(handle) = &self.handle else { return };
        // One more than there may be shows that there are too many.
        let stages = stages.into_iter().map(Into::into).take(MAX_STAGES + 1).collect();
        match DeclaredStages::new(stages) {
            Some(stages) => {
                handle.record.stages(stages);
                handle.wake();
            }
            None => handle.notify_truncated(format!(
                "its stages: at most {MAX_STAGES}, each with an id, and a weight above 0 if any"
            )),
        }
    }

    /// Enters a stage: any text, cut at 256 bytes. Watchers see it at once. The count continues, but in a
    /// [declared](Self::stages) stage it starts at 0 without a total, because it counts what is done in that stage.
    pub fn stage(&self, name: &str) {
        self.enter(name);
    }

    /// Enters a stage that takes the job's progress through `range` and has its own count. The returned
    /// handle is on the same job; its `inc`, `set`, `set_total`, `progress`, `track` and so on apply to the
    /// stage. Watchers see this count until another stage is entered.
    ///
    /// ```
    /// # let job = milepost_reporter::Reporter::silent().job("video-42");
    /// # let (parts, words) = ([1, 2], [3, 4]);
    /// for part in job.stage_within("uploading", 0.0..0.25).track(parts) { /* … */ }
    /// for word in job.stage_within("captioning", 0.25..1.0).track(words) { /* … */ }
    /// ```
    #[must_use = "the stage counts through the handle that is returned"]
    pub fn stage_within(&self, name: &str, range: Range<f64>) -> Self {
        let stage =
            Self { handle: self.handle.clone(), counter: Arc::new(Counter::within(&range)) };
        stage.enter(name);
        stage
    }

    fn enter(&self, name: &str) {
        if let Some(handle) = &self.handle
            && handle.record.stage(name, &self.counter)
        {
            handle.wake();
        }
    }

    /// A message for people. Cut at 8,192 bytes.
    pub fn message(&self, text: impl Into<String>) {
        self.with_record(|record| record.message(text.into()));
    }

    /// Sets a value of the worker's own, which watchers see in `metadata` until it is set again. A job's
    /// metadata has at most 49,152 bytes. A value that does not fit, or is not JSON, is ignored with a
    /// notice.
    ///
    /// The count adds `current`, `total`, `unit` and `rate`, if they are known. Values set
    /// here override them.
    pub fn metadata(&self, key: &str, value: impl Serialize) {
        let Some(handle) = &self.handle else { return };
        let set = match encode::json(&value) {
            Ok(value) => handle.record.metadata(key, value),
            Err(reason) => {
                handle.record.mark_truncated(Part::Metadata);
                Err(format!("the metadata {key:?}: {reason}"))
            }
        };
        if let Err(reason) = set {
            handle.notify_truncated(reason);
        }
    }

    /// Links what the job made. Watchers see it under its name; an artifact of the same name is replaced. A job has at most 64
    /// artifacts, with at most 8,192 bytes of JSON; others, and those without a name or URL, are ignored with a notice.
    ///
    /// ```
    /// # use milepost_reporter::Artifact;
    /// # let job = milepost_reporter::Reporter::silent().job("export-10");
    /// job.artifact(Artifact::new("rows", "https://example.com/10.csv").media_type("text/csv"));
    /// ```
    pub fn artifact(&self, artifact: Artifact) {
        let Some(handle) = &self.handle else { return };
        if !artifact.is_complete() {
            handle.notify_truncated("an artifact: it takes a name and a URL".to_owned());
        } else if !handle.record.artifact(artifact) {
            let room = "there is room for 64, and for 8,192 bytes of JSON";
            handle.notify_truncated(format!("an artifact: {room}"));
        }
    }

    /// Ends the job as completed.
    pub fn complete(self) {
        self.end(End::Completed { result: None });
    }

    /// Ends the job as completed, with a result. A result that is not JSON, or is too large for an update, is
    /// left out: watchers see `truncated: ["result"]`, and a notice says why.
    pub fn complete_with(self, result: impl Serialize) {
        let Some(handle) = &self.handle else { return };
        let result = encode::json(&result).map_err(|reason| {
            handle.record.mark_truncated(Part::Result);
            handle.notify_truncated(format!("the result: {reason}"));
        });
        self.end(End::Completed { result: result.ok() });
    }

    /// Writes to the job's log, which watchers read beside its state. Each line is cut at 4,096 bytes. A thread of its own sends
    /// lines every 200 ms; at most 512 of a job wait, and of more, the oldest are dropped, which the log says. Only a Milepost server
    /// takes logs, not Redis. Everybody who may watch the job can read its log.
    ///
    /// ```
    /// # let reporter = milepost_reporter::Reporter::silent();
    /// let job = reporter.job("export-7");
    /// job.log("opened the file");
    /// ```
    pub fn log(&self, text: impl AsRef<str>) {
        if let Some(handle) = &self.handle {
            handle.log(text.as_ref());
        }
    }

    /// The job's span: what the program logs by `tracing` while it is entered, [`LogLayer`](crate::LogLayer) writes to the job's log.
    /// Each call makes another span, as a child of the present one. Disabled if the job is not reported.
    ///
    /// In an async program, use `tracing::Instrument`: `work(&job).instrument(job.span()).await`.
    #[cfg(feature = "tracing-layer")]
    pub fn span(&self) -> tracing::Span {
        self.handle.as_ref().map_or_else(tracing::Span::none, |handle| handle.span())
    }

    /// Ends the job as failed. The error is cut at 8,192 bytes.
    pub fn fail(self, error: impl fmt::Display) {
        self.end(End::Failed { error: encode::text(&error, MAX_TEXT_BYTES) });
    }

    /// Ends the job as cancelled.
    pub fn cancel(self, reason: impl fmt::Display) {
        self.end(End::Cancelled { reason: encode::text(&reason, MAX_TEXT_BYTES) });
    }

    fn end(self, end: End) {
        if let Some(handle) = &self.handle {
            handle.end(end);
        }
    }

    pub(crate) fn with_record(&self, change: impl FnOnce(&Record)) {
        if let Some(handle) = &self.handle {
            change(&handle.record);
        }
    }

    pub(crate) fn expect(&self, more: u64) {
        self.counter.expect(more);
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id()).finish_non_exhaustive()
    }
}
