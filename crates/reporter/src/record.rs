use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use milepost_protocol::{JobId, Status, Timestamp};
use serde_json::value::{RawValue, to_raw_value};

use crate::counter::{Count, Counter};
use crate::rate::Rate;
use crate::snapshot::{Glance, Key, Mark};
use crate::update::{LeftOut, MAX_TEXT_BYTES, Metadata, Part, Progress, Update, cut};

/// Of all of a job's metadata: there has to be room for the rest of an update.
const MAX_METADATA_BYTES: usize = 49_152;

/// All that is known here of one job: written by the worker's calls, read by the sender.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) job: JobId,
    pub(crate) key: Key,
    /// Set while the sender has been asked for this job and has not looked yet.
    pub(crate) rung: AtomicBool,
    /// Something was left out of this job's updates, and that has been said.
    left_out: AtomicBool,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    /// Counts every change of what follows, counters aside.
    version: u64,
    /// The `version` of the latest change that watchers are to see at once.
    urgent: u64,
    attempt: Option<u32>,
    ttl: Option<u32>,
    queued: bool,
    stage: Option<String>,
    message: Option<String>,
    unit: Option<String>,
    metadata: BTreeMap<String, Box<RawValue>>,
    metadata_bytes: usize,
    /// The one that is shown: the job's own, or that of a stage within it.
    counter: Arc<Counter>,
    rate: Rate,
    /// An update that is complete as it is: an end, or one given through the old names. An end is told with
    /// the very same words each time, which is how the server knows it again (section 3).
    whole: Option<Whole>,
    ended: bool,
    /// What could not be encoded when it was given.
    truncated: LeftOut,
    /// How often the server would not take an update of this job as large as it was: each one is shrunk so often.
    shrinks: u8,
    /// Why the server does not take an update whole; said once it has taken the rest.
    refused_part: Option<String>,
}

#[derive(Debug)]
struct Whole {
    update: Update,
    json: Arc<str>,
}

/// How a job came out.
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
            rung: AtomicBool::new(false),
            left_out: AtomicBool::new(false),
            facts: Mutex::new(Facts {
                version: 0,
                urgent: 0,
                attempt: None,
                ttl: None,
                queued: false,
                stage: None,
                message: None,
                unit: None,
                metadata: BTreeMap::new(),
                metadata_bytes: 0,
                counter,
                rate: Rate::default(),
                whole: None,
                ended: false,
                truncated: LeftOut::default(),
                shrinks: 0,
                refused_part: None,
            }),
        }
    }

    /// A panic elsewhere while the lock was held leaves nothing half done: every change is one assignment.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stage that counts with `counter`. Returns whether watchers are to see it at once.
    pub(crate) fn stage(&self, name: &str, counter: &Arc<Counter>) -> bool {
        let mut facts = self.facts();
        if facts.ended {
            return false;
        }
        if !Arc::ptr_eq(&facts.counter, counter) {
            facts.counter = Arc::clone(counter);
            facts.rate = Rate::default();
            facts.change();
        }
        if !facts.queued && facts.stage.as_deref() == Some(name) {
            return false;
        }
        facts.queued = false;
        facts.stage = Some(name.to_owned());
        facts.change_at_once();
        true
    }

    pub(crate) fn message(&self, mut text: String) {
        // One character more than an update has, so that it shows that the text was longer.
        cut(&mut text, MAX_TEXT_BYTES + char::MAX.len_utf8());
        let mut facts = self.facts();
        if facts.message.as_ref() != Some(&text) {
            facts.message = Some(text);
            facts.change();
        }
    }

    pub(crate) fn unit(&self, unit: &str, unless_set: bool) {
        let mut facts = self.facts();
        if !(unless_set && facts.unit.is_some()) {
            facts.unit = Some(unit.to_owned());
            facts.change();
        }
    }

    /// # Errors
    /// What to say, where there is no room for the value.
    pub(crate) fn metadata(&self, key: &str, value: Box<RawValue>) -> Result<(), String> {
        let mut facts = self.facts();
        let present = facts.metadata.get(key).map_or(0, |value| key.len() + value.get().len());
        let bytes = facts.metadata_bytes - present + key.len() + value.get().len();
        if bytes > MAX_METADATA_BYTES {
            facts.truncated.insert(Part::Metadata);
            facts.change();
            return Err(format!(
                "the metadata {key:?}: with it, all of the metadata is over {MAX_METADATA_BYTES} bytes"
            ));
        }
        facts.metadata_bytes = bytes;
        facts.metadata.insert(key.to_owned(), value);
        facts.change();
        Ok(())
    }

    /// A part that was given cannot be encoded: watchers are told that it is missing.
    pub(crate) fn leave_out(&self, part: Part) {
        let mut facts = self.facts();
        facts.truncated.insert(part);
        facts.change();
    }

    /// The server refused what an update of this job contains. Returns whether it can be sent with less.
    ///
    /// `ended`: whether that update was the end.
    pub(crate) fn shrink(&self, ended: bool) -> bool {
        let mut facts = self.facts();
        if facts.ended != ended {
            // There is another one to send by now.
            return true;
        }
        if let Some(whole) = &mut facts.whole {
            let smaller = whole.update.shrink();
            whole.json = whole.update.encode().into();
            return smaller;
        }
        let mut update = facts.update(&self.job, facts.counter.count(), None);
        let smaller = (0..=facts.shrinks).all(|_| update.shrink());
        facts.shrinks += u8::from(smaller);
        smaller
    }

    /// Names the attempt. Another than before starts clean, with the job's own counter. Returns whether
    /// watchers are to see it at once.
    pub(crate) fn attempt(&self, attempt: u32, counter: &Arc<Counter>) -> bool {
        let mut facts = self.facts();
        if facts.ended || facts.attempt == Some(attempt) {
            return false;
        }
        counter.reset();
        facts.attempt = Some(attempt);
        facts.stage = None;
        facts.message = None;
        facts.metadata.clear();
        facts.metadata_bytes = 0;
        facts.truncated = LeftOut::default();
        facts.counter = Arc::clone(counter);
        facts.rate = Rate::default();
        facts.change_at_once();
        true
    }

    pub(crate) fn ttl(&self, seconds: u32) {
        let mut facts = self.facts();
        facts.ttl = Some(seconds);
        facts.change();
    }

    pub(crate) fn queued(&self) {
        let mut facts = self.facts();
        if !facts.ended {
            facts.queued = true;
            facts.change_at_once();
        }
    }

    /// Ends the job. The first end wins: none if there was one.
    pub(crate) fn end(&self, end: End) -> Option<LeftOut> {
        let mut facts = self.facts();
        if facts.ended {
            return None;
        }
        let count = facts.counter.count();
        let mut update = facts.update(&self.job, count, None);
        match end {
            End::Completed { result } => {
                update.status = Status::Completed;
                update.stage = Some("complete".to_owned());
                update.progress = Some(Progress(Some(1.0)));
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
        let left_out = update.truncated.clone();
        facts.whole = Some(Whole { update, json });
        facts.change_at_once();
        facts.ended = true;
        Some(left_out)
    }

    pub(crate) fn counter(&self) -> Arc<Counter> {
        Arc::clone(&self.facts().counter)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.facts().ended
    }

    /// Takes an update as it was given. Returns whether watchers are to see it at once.
    pub(crate) fn give(&self, mut update: Update) -> (bool, LeftOut) {
        let ended = update.status.is_end();
        let stage = update.stage.clone();
        let json = update.encode().into();
        let left_out = update.truncated.clone();
        let mut facts = self.facts();
        let at_once = ended || facts.whole.is_none() || facts.stage != stage;
        facts.whole = Some(Whole { update, json });
        facts.stage = stage;
        if at_once {
            facts.change_at_once();
        } else {
            facts.change();
        }
        facts.ended = ended;
        (at_once, left_out)
    }

    /// What the scheduler has to know.
    pub(crate) fn glance(&self) -> Glance {
        let facts = self.facts();
        // An end is rendered; what the counter does afterwards is of no interest.
        let count = if facts.whole.is_some() { None } else { Some(facts.counter.count()) };
        Glance {
            mark: Mark { version: facts.version, attempt: facts.attempt.unwrap_or(0), count },
            urgent: facts.urgent,
            ended: facts.ended,
        }
    }

    /// The update that says how the job is now, and the glance that it corresponds to.
    pub(crate) fn encode(&self, now: Instant) -> (Arc<str>, LeftOut) {
        let mut facts = self.facts();
        if let Some(whole) = &facts.whole {
            return (Arc::clone(&whole.json), LeftOut::default());
        }
        let count = facts.counter.count();
        let rate = facts.rate.sample(count.current, now);
        let mut update = facts.update(&self.job, count, rate);
        let shrinks = facts.shrinks;
        drop(facts);
        for _ in 0..shrinks {
            update.shrink();
        }
        let json = update.encode().into();
        // What the server refuses is said once it has taken the rest.
        (json, if shrinks > 0 { LeftOut::default() } else { update.truncated })
    }

    /// The server refuses a part of this job's updates, for this reason.
    pub(crate) fn refuse_part(&self, reason: String) {
        self.facts().refused_part = Some(reason);
    }

    /// Why the server took only a part of an update; none if it took all, or that was asked for before.
    pub(crate) fn take_refused_part(&self) -> Option<String> {
        self.facts().refused_part.take()
    }

    /// Whether this is the first time that something of the job is left out.
    pub(crate) fn first_left_out(&self) -> bool {
        !self.left_out.swap(true, Ordering::Relaxed)
    }
}

impl Facts {
    /// What is said of a job after its end is of no interest.
    fn change(&mut self) {
        if !self.ended {
            self.version += 1;
        }
    }

    fn change_at_once(&mut self) {
        self.change();
        self.urgent = self.version;
    }

    fn update(&self, job: &JobId, count: Count, rate: Option<f64>) -> Update {
        let queued = self.queued && !count.has_moved();
        let status = if queued { Status::Queued } else { Status::Processing };
        Update {
            stage: self.stage.clone(),
            progress: Some(Progress(self.counter.progress(count))),
            message: self.message.clone(),
            metadata: self.metadata(count, rate),
            attempt: self.attempt,
            ttl: self.ttl,
            truncated: self.truncated.clone(),
            ..Update::new(job, status, worker_clock())
        }
    }

    /// The worker's own, and what the count adds: `current`, `total`, `unit`, `rate` (units per second),
    /// `eta_seconds`, each only where it is known. The worker's own goes first.
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

/// Not known while nothing moves, nor once all is done.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn eta_seconds(count: Count, total: u64, rate: f64) -> Option<f64> {
    let left = total.checked_sub(count.current).filter(|left| *left > 0)?;
    (rate > 0.0).then(|| left as f64 / rate)
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// RFC 3339 in UTC.
pub(crate) fn worker_clock() -> String {
    Timestamp::now().to_string()
}
