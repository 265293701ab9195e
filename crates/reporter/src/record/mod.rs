//! The state of one job in this process.

mod description;
mod fields;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use milepost_protocol::{Action, JobId, Status};
use serde_json::value::RawValue;

pub(crate) use fields::worker_clock;

use crate::artifact::Artifacts;
use crate::counter::Counter;
use crate::rate::Rate;
use crate::requested::Requests;
use crate::snapshot::{Key, Snapshot, StateId};
use crate::update::{MAX_TEXT_BYTES, Part, Progress, Truncated, Update, cut};
use fields::{Fields, Whole};

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
    /// Whether a notice has said that a progress was outside of 0…1.
    was_out_of_range: AtomicBool,
    /// The latest request of a watcher.
    pub(crate) requests: Requests,
    fields: Mutex<Fields>,
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
            was_out_of_range: AtomicBool::new(false),
            requests: Requests::default(),
            fields: Mutex::new(Fields::new(counter)),
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

    pub(crate) fn message(&self, mut text: String) {
        // One character more than an update has, to show that the text was longer.
        cut(&mut text, MAX_TEXT_BYTES + char::MAX.len_utf8());
        let mut fields = self.fields();
        if fields.message.as_ref() != Some(&text) {
            fields.message = Some(text);
            fields.change();
        }
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
        fields.attributes.artifacts = Artifacts::default();
        fields.truncated = Truncated::default();
        fields.counter = Arc::clone(counter);
        fields.rate = Rate::default();
        fields.change_at_once();
        true
    }

    /// Declares that the worker answers requests. Returns whether that is a change, which watchers should see
    /// at once.
    pub(crate) fn cancellable(&self) -> bool {
        let mut fields = self.fields();
        let has_changed = !std::mem::replace(&mut fields.attributes.cancellable, true);
        if has_changed {
            fields.change_at_once();
        }
        has_changed
    }

    /// Acknowledges a request. Returns whether that is a change, which watchers should see at once.
    pub(crate) fn acknowledge(&self, action: Action) -> bool {
        let mut fields = self.fields();
        let has_changed = fields.acknowledged.replace(action) != Some(action);
        if has_changed {
            fields.change_at_once();
        }
        has_changed
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

    /// Returns true once: when a progress is outside of 0…1 for the first time.
    pub(crate) fn first_out_of_range(&self) -> bool {
        !self.was_out_of_range.swap(true, Ordering::Relaxed)
    }
}
