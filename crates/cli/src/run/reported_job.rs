//! The command's progress as a job that is reported.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use milepost_reporter::Job;

use super::outcome::Outcome;
use super::tracker::ProgressSink;
use crate::bars::JobSummary;

/// Puts what is known of the command into a [`Job`], which sends it in its own time.
pub(crate) struct ReportedJob {
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

impl ReportedJob {
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

impl ProgressSink for ReportedJob {
    fn progress_changed(&self, summary: &JobSummary) {
        // Each field is only ever set as a whole.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = &summary.message
            && inner.message.as_ref() != Some(message)
        {
            inner.job.message(message);
            inner.message = Some(message.clone());
        }
        for (key, value) in &summary.metadata {
            inner.job.metadata(key, value);
        }
        let keys: BTreeSet<String> = summary.metadata.keys().cloned().collect();
        for gone in inner.keys.difference(&keys) {
            inner.job.metadata(gone, ());
        }
        inner.keys = keys;
        if inner.known && summary.progress.is_none() {
            // A stage of its own begins without a known total.
            inner.job = inner.job.stage_within(&summary.stage, 0.0..1.0);
            inner.stage = Some(summary.stage.clone());
        }
        inner.known = summary.progress.is_some();
        if let Some(progress) = summary.progress {
            inner.job.progress(progress);
        }
        if inner.stage.as_ref() != Some(&summary.stage) {
            inner.job.stage(&summary.stage);
            inner.stage = Some(summary.stage.clone());
        }
    }
}
