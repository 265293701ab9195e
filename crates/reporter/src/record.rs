use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use milepost_protocol::{
    Action, JobId, MAX_NAME_BYTES, MAX_TAGS, MAX_UNIT_BYTES, Status, Timestamp,
};
use serde_json::value::{RawValue, to_raw_value};

use crate::counter::{Count, Counter};
use crate::rate::Rate;
use crate::requested::Requests;
use crate::snapshot::{Key, Snapshot, StateId};
use crate::stage::DeclaredStages;
use crate::update::{MAX_TEXT_BYTES, Metadata, Part, Progress, Truncated, Update, cut};

/// The bound of a job's metadata, so that there is room for the rest of an update.
const MAX_METADATA_BYTES: usize = 49_152;

/// The state of one job in this process: written by the worker's calls, read by the sender.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) job: JobId,
    pub(crate) key: Key,
    /// Whether the sender has been woken for this job and has not checked it yet.
    pub(crate) woken: AtomicBool,
    /// Whether a notice has said that a part of this job's updates was left out.
    truncated: AtomicBool,
    /// The latest request of a watcher.
    pub(crate) requests: Requests,
    fields: Mutex<Fields>,
}

#[derive(Debug)]
struct Fields {
    /// Incremented by every change of the fields below, except counters.
    version: u64,
    /// The `version` of the latest change that watchers should see at once.
    urgent: u64,
    attempt: Option<u32>,
    ttl: Option<u32>,
    /// Whether the worker answers requests.
    cancellable: bool,
    /// The request that the worker acknowledged last.
    acknowledged: Option<Action>,
    queued: bool,
    stage: Option<String>,
    message: Option<String>,
    unit: Option<String>,
    name: Option<String>,
    tags: Vec<String>,
    parent: Option<String>,
    weight: Option<f64>,
    children_expected: Option<u32>,
    stages: Option<DeclaredStages>,
    /// In seconds; `None` for a job without heartbeats.
    heartbeat: Option<f64>,
    metadata: BTreeMap<String, Box<RawValue>>,
    metadata_bytes: usize,
    /// The counter that watchers see: the job's own, or that of a stage.
    counter: Arc<Counter>,
    rate: Rate,
    /// A whole update: an end, or an update of the legacy methods. An end is sent with the same bytes each
    /// time, so that the server recognizes it (section 3).
    whole: Option<Whole>,
    ended: bool,
    /// The parts that could not be encoded when they were set.
    truncated: Truncated,
    /// By how many steps each update is reduced, because the server rejected larger ones.
    reductions: u8,
    /// Why the server rejected a part of an update. The notice follows once it has accepted the rest.
    rejected_part: Option<String>,
}

#[derive(Debug)]
struct Whole {
    update: Update,
    json: Arc<str>,
}

/// A job's outcome.
#[derive(Debug)]
pub(crate) enum End {
    Completed { result: Option<Box<RawValue>> },
    Failed { error: String },
    Cancelled { reason: String },
}

impl Record {
    pub(crate) fn new(job: JobId, key: Key, counter: Arc<Counter>) -> Self {
        Self {
            job,
            key,
            woken: AtomicBool::new(false),
            truncated: AtomicBool::new(false),
            requests: Requests::default(),
            fields: Mutex::new(Fields {
                version: 0,
                urgent: 0,
                attempt: None,
                ttl: None,
                cancellable: false,
                acknowledged: None,
                queued: false,
                stage: None,
                message: None,
                unit: None,
                name: None,
                tags: Vec::new(),
                parent: None,
                weight: None,
                children_expected: None,
                stages: None,
                heartbeat: None,
                metadata: BTreeMap::new(),
                metadata_bytes: 0,
                counter,
                rate: Rate::default(),
                whole: None,
                ended: false,
                truncated: Truncated::default(),
                reductions: 0,
                rejected_part: None,
            }),
        }
    }

    /// A panic elsewhere under the lock leaves the data consistent, because every change is one assignment.
    fn fields(&self) -> MutexGuard<'_, Fields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stage that counts with `counter`. Returns whether watchers should see it at once.
    pub(crate) fn stage(&self, name: &str, counter: &Arc<Counter>) -> bool {
        let mut fields = self.fields();
        if fields.ended {
            return false;
        }
        if !Arc::ptr_eq(&fields.counter, counter) {
            fields.counter = Arc::clone(counter);
            fields.rate = Rate::default();
            fields.change();
        }
        if !fields.queued && fields.stage.as_deref() == Some(name) {
            return false;
        }
        fields.queued = false;
        fields.stage = Some(name.to_owned());
        if fields.is_declared() {
            // The server works out the progress from what is counted in this stage.
            counter.reset();
            fields.rate = Rate::default();
        }
        fields.change_at_once();
        true
    }

    pub(crate) fn stages(&self, stages: DeclaredStages) {
        let mut fields = self.fields();
        fields.stages = Some(stages);
        fields.change_at_once();
    }

    pub(crate) fn message(&self, mut text: String) {
        // One character more than an update has, to show that the text was longer.
        cut(&mut text, MAX_TEXT_BYTES + char::MAX.len_utf8());
        let mut fields = self.fields();
        if fields.message.as_ref() != Some(&text) {
            fields.message = Some(text);
            fields.change();
        }
    }

    pub(crate) fn unit(&self, unit: &str, unless_set: bool) {
        let mut fields = self.fields();
        if !(unless_set && fields.unit.is_some()) {
            fields.unit = Some(unit.to_owned());
            fields.change();
        }
    }

    /// Sets how often the job is reported at least.
    pub(crate) fn heartbeat(&self, every: Duration) {
        self.fields().heartbeat = Some(every.as_secs_f64());
    }

    pub(crate) fn name(&self, mut name: String) {
        cut(&mut name, MAX_NAME_BYTES);
        let mut fields = self.fields();
        fields.name = Some(name).filter(|name| !name.is_empty());
        fields.change_at_once();
    }

    pub(crate) fn parent(&self, parent: &JobId) {
        let mut fields = self.fields();
        fields.parent = Some(parent.to_string());
        fields.change_at_once();
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.fields().parent.is_some()
    }

    /// Ignores a weight that is not above 0.
    pub(crate) fn weight(&self, weight: f64) {
        let mut fields = self.fields();
        fields.weight = Some(weight).filter(|weight| *weight > 0.0 && weight.is_finite());
        fields.change_at_once();
    }

    pub(crate) fn children_expected(&self, count: u32) {
        let mut fields = self.fields();
        fields.children_expected = Some(count);
        fields.change_at_once();
    }

    /// Ignores empty tags, and those beyond the limit of an update.
    pub(crate) fn tags(&self, tags: impl Iterator<Item = String>) {
        let tags = tags.map(|mut tag| {
            cut(&mut tag, MAX_NAME_BYTES);
            tag
        });
        let tags = tags.filter(|tag| !tag.is_empty()).take(MAX_TAGS).collect();
        let mut fields = self.fields();
        fields.tags = tags;
        fields.change_at_once();
    }

    /// # Errors
    /// The text of the notice, if there is no room for the value.
    pub(crate) fn metadata(&self, key: &str, value: Box<RawValue>) -> Result<(), String> {
        let mut fields = self.fields();
        let present = fields.metadata.get(key).map_or(0, |value| key.len() + value.get().len());
        let bytes = fields.metadata_bytes - present + key.len() + value.get().len();
        if bytes > MAX_METADATA_BYTES {
            fields.truncated.insert(Part::Metadata);
            fields.change();
            return Err(format!(
                "the metadata {key:?}: with it, all of the metadata is over {MAX_METADATA_BYTES} bytes"
            ));
        }
        fields.metadata_bytes = bytes;
        fields.metadata.insert(key.to_owned(), value);
        fields.change();
        Ok(())
    }

    /// A part could not be encoded. Watchers see that it is missing.
    pub(crate) fn mark_truncated(&self, part: Part) {
        let mut fields = self.fields();
        fields.truncated.insert(part);
        fields.change();
    }

    /// The server rejected the content of an update; `ended` says whether it was the end. Returns whether a
    /// reduced update can be sent.
    pub(crate) fn reduce(&self, ended: bool) -> bool {
        let mut fields = self.fields();
        if fields.ended != ended {
            // There is a newer update to send.
            return true;
        }
        if let Some(whole) = &mut fields.whole {
            let smaller = whole.update.reduce();
            whole.json = whole.update.encode().into();
            return smaller;
        }
        let mut update = fields.update(&self.job, fields.counter.count(), None);
        let smaller = (0..=fields.reductions).all(|_| update.reduce());
        fields.reductions += u8::from(smaller);
        smaller
    }

    /// Sets the attempt. A new one resets the job, with its own counter. Returns whether watchers should see
    /// it at once.
    pub(crate) fn attempt(&self, attempt: u32, counter: &Arc<Counter>) -> bool {
        let mut fields = self.fields();
        if fields.ended || fields.attempt == Some(attempt) {
            return false;
        }
        counter.reset();
        fields.attempt = Some(attempt);
        fields.stage = None;
        fields.message = None;
        fields.acknowledged = None;
        self.requests.set(None);
        fields.metadata.clear();
        fields.metadata_bytes = 0;
        fields.truncated = Truncated::default();
        fields.counter = Arc::clone(counter);
        fields.rate = Rate::default();
        fields.change_at_once();
        true
    }

    pub(crate) fn ttl(&self, seconds: u32) {
        let mut fields = self.fields();
        fields.ttl = Some(seconds);
        fields.change();
    }

    /// Declares that the worker answers requests. Returns whether that is a change, which watchers should see
    /// at once.
    pub(crate) fn cancellable(&self) -> bool {
        let mut fields = self.fields();
        let is_news = !std::mem::replace(&mut fields.cancellable, true);
        if is_news {
            fields.change_at_once();
        }
        is_news
    }

    /// Acknowledges a request. Returns whether that is a change, which watchers should see at once.
    pub(crate) fn acknowledge(&self, action: Action) -> bool {
        let mut fields = self.fields();
        let is_news = fields.acknowledged.replace(action) != Some(action);
        if is_news {
            fields.change_at_once();
        }
        is_news
    }

    pub(crate) fn queued(&self) {
        let mut fields = self.fields();
        if !fields.ended {
            fields.queued = true;
            fields.change_at_once();
        }
    }

    /// Ends the job. Returns `None` if it had already ended.
    pub(crate) fn end(&self, end: End) -> Option<Truncated> {
        let mut fields = self.fields();
        if fields.ended {
            return None;
        }
        let count = fields.counter.count();
        let mut update = fields.update(&self.job, count, None);
        update.paused = None;
        match end {
            End::Completed { result } => {
                update.status = Status::Completed;
                update.stage = Some("complete".to_owned());
                update.progress = Some(Progress(Some(1.0)));
                update.stage_progress = None;
                update.message = Some("Job completed".to_owned());
                update.result = result;
            }
            End::Failed { error } => {
                update.status = Status::Failed;
                update.message = Some(format!("Error: {error}"));
                update.error = Some(error);
            }
            End::Cancelled { reason } => {
                update.status = Status::Cancelled;
                update.message = Some(reason);
            }
        }
        let json = update.encode().into();
        let truncated = update.truncated.clone();
        fields.whole = Some(Whole { update, json });
        fields.change_at_once();
        fields.ended = true;
        Some(truncated)
    }

    pub(crate) fn counter(&self) -> Arc<Counter> {
        Arc::clone(&self.fields().counter)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.fields().ended
    }

    /// Replaces the job's state by a whole update. Returns whether watchers should see it at once.
    pub(crate) fn set_whole(&self, mut update: Update) -> (bool, Truncated) {
        let ended = update.status.is_end();
        let stage = update.stage.clone();
        let json = update.encode().into();
        let truncated = update.truncated.clone();
        let mut fields = self.fields();
        let at_once = ended || fields.whole.is_none() || fields.stage != stage;
        fields.whole = Some(Whole { update, json });
        fields.stage = stage;
        if at_once {
            fields.change_at_once();
        } else {
            fields.change();
        }
        fields.ended = ended;
        (at_once, truncated)
    }

    /// The job as the schedule needs it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let fields = self.fields();
        // An end is fixed; later counts do not matter.
        let count = if fields.whole.is_some() { None } else { Some(fields.counter.count()) };
        Snapshot {
            state: StateId { version: fields.version, attempt: fields.attempt.unwrap_or(0), count },
            urgent: fields.urgent,
            ended: fields.ended,
        }
    }

    /// The update that describes the job now, and the snapshot that it corresponds to.
    pub(crate) fn encode(&self, now: Instant) -> (Arc<str>, Truncated) {
        let mut fields = self.fields();
        if let Some(whole) = &fields.whole {
            return (Arc::clone(&whole.json), Truncated::default());
        }
        let count = fields.counter.count();
        let rate = fields.rate.sample(count.current, now);
        let mut update = fields.update(&self.job, count, rate);
        let reductions = fields.reductions;
        drop(fields);
        for _ in 0..reductions {
            update.reduce();
        }
        let json = update.encode().into();
        // The notice about rejected parts follows once the server has accepted the rest.
        (json, if reductions > 0 { Truncated::default() } else { update.truncated })
    }

    /// The server rejected a part of this job's updates, for this reason.
    pub(crate) fn set_rejected_part(&self, reason: String) {
        self.fields().rejected_part = Some(reason);
    }

    /// Why the server accepted only a part of an update. `None` if it accepted all, or if the reason was
    /// taken before.
    pub(crate) fn take_rejected_part(&self) -> Option<String> {
        self.fields().rejected_part.take()
    }

    /// Returns true once: when a part of the job is left out for the first time.
    pub(crate) fn first_truncated(&self) -> bool {
        !self.truncated.swap(true, Ordering::Relaxed)
    }
}

impl Fields {
    /// Changes after the end are ignored.
    fn change(&mut self) {
        if !self.ended {
            self.version += 1;
        }
    }

    fn change_at_once(&mut self) {
        self.change();
        self.urgent = self.version;
    }

    /// Whether the present stage is a declared one.
    fn is_declared(&self) -> bool {
        let stages = self.stages.as_ref().zip(self.stage.as_ref());
        stages.is_some_and(|(stages, stage)| stages.contains(stage))
    }

    fn update(&self, job: &JobId, count: Count, rate: Option<f64>) -> Update {
        // The progress of declared stages is the server's to work out, unless the stage covers a given part of it.
        let is_theirs = self.is_declared() && !self.counter.is_part();
        let queued = self.queued && !count.has_moved();
        let status = if queued { Status::Queued } else { Status::Processing };
        Update {
            stage: self.stage.clone(),
            progress: (!is_theirs).then(|| Progress(self.counter.progress(count))),
            stage_progress: if is_theirs { count.given() } else { None },
            message: self.message.clone(),
            metadata: self.metadata(count, rate),
            attempt: self.attempt,
            ttl: self.ttl,
            cancellable: self.cancellable.then_some(true),
            acknowledged: self.acknowledged,
            paused: (self.acknowledged == Some(Action::Pause)).then_some(true),
            truncated: self.truncated.clone(),
            name: self.name.clone(),
            tags: self.tags.clone(),
            parent_id: self.parent.clone(),
            weight: self.weight,
            children_expected: self.children_expected,
            stages: self.stages.as_ref().map(DeclaredStages::json),
            heartbeat: self.heartbeat,
            unit: self.unit.clone().filter(|unit| (1..=MAX_UNIT_BYTES).contains(&unit.len())),
            current: (count.current > 0 || count.total.is_some()).then_some(count.current),
            total: count.total,
            ..Update::new(job, status, worker_clock())
        }
    }

    /// The worker's own metadata, and the known values that the count adds: `current`, `total`, `unit`,
    /// `rate` (units per second), `eta_seconds`. The worker's own override them.
    fn metadata(&self, count: Count, rate: Option<f64>) -> Option<Metadata> {
        let mut all = self.metadata.clone();
        let mut add = |key: &str, value: Option<Box<RawValue>>| {
            if let Some(value) = value {
                all.entry(key.to_owned()).or_insert(value);
            }
        };
        if count.current > 0 || count.total.is_some() {
            add("current", to_raw_value(&count.current).ok());
            add("total", count.total.and_then(|total| to_raw_value(&total).ok()));
            add("unit", self.unit.as_ref().and_then(|unit| to_raw_value(unit).ok()));
            add("rate", rate.and_then(|rate| to_raw_value(&rounded(rate)).ok()));
            let eta =
                rate.zip(count.total).and_then(|(rate, total)| eta_seconds(count, total, rate));
            add("eta_seconds", eta.and_then(|eta| to_raw_value(&rounded(eta)).ok()));
        }
        (!all.is_empty()).then_some(Metadata::Keyed(all))
    }
}

/// `None` while the count does not move, and once all is done.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn eta_seconds(count: Count, total: u64, rate: f64) -> Option<f64> {
    let left = total.checked_sub(count.current).filter(|left| *left > 0)?;
    (rate > 0.0).then(|| left as f64 / rate)
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The time as RFC 3339 in UTC.
pub(crate) fn worker_clock() -> String {
    Timestamp::now().to_string()
}
