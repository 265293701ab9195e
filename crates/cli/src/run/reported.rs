//! The command's progress as a job that is reported.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use milepost_reporter::Job;

use super::outcome::Outcome;
use super::tracker::Audience;
use crate::bars::Face;

/// Puts what is known of the command into a [`Job`], which sends it in its own time.
pub(crate) struct Reported {
    inner: Mutex<Inner>,
}

struct Inner {
    job: Job,
    stage: Option<String>,
    message: Option<String>,
    known: bool,
    /// Metadata that watchers are shown; what is not there any more is set to null.
    keys: BTreeSet<String>,
}

impl Reported {
    pub(crate) fn new(job: Job) -> Self {
        let inner = Inner { job, stage: None, message: None, known: false, keys: BTreeSet::new() };
        Self { inner: Mutex::new(inner) }
    }

    /// Ends the job.
    pub(crate) fn end(self, outcome: &Outcome) {
        let job = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).job;
        match outcome {
            Outcome::Completed { result } => job.complete_with(result),
            Outcome::Failed { error, exit_code } => {
                job.metadata("exit_code", exit_code);
                job.fail(error);
            }
            Outcome::Cancelled { reason, exit_code } => {
                job.metadata("exit_code", exit_code);
                job.cancel(reason);
            }
        }
    }
}

impl Audience for Reported {
    fn news(&self, face: &Face) {
        // Each field is only ever set as a whole.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = &face.message
            && inner.message.as_ref() != Some(message)
        {
            inner.job.message(message);
            inner.message = Some(message.clone());
        }
        for (key, value) in &face.metadata {
            inner.job.metadata(key, value);
        }
        let keys: BTreeSet<String> = face.metadata.keys().cloned().collect();
        for gone in inner.keys.difference(&keys) {
            inner.job.metadata(gone, ());
        }
        inner.keys = keys;
        if inner.known && face.progress.is_none() {
            // A stage of its own begins without a known total.
            inner.job = inner.job.stage_within(&face.stage, 0.0..1.0);
            inner.stage = Some(face.stage.clone());
        }
        inner.known = face.progress.is_some();
        if let Some(progress) = face.progress {
            inner.job.progress(progress);
        }
        if inner.stage.as_ref() != Some(&face.stage) {
            inner.job.stage(&face.stage);
            inner.stage = Some(face.stage.clone());
        }
    }
}
