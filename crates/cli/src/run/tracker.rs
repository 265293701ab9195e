//! The command's progress, from all of its output.

use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::Status;
use serde_json::Value;

use crate::bars::JobSummary;
use crate::output::{Progress, Reading};

/// Receives the command's progress: a new stage at once, everything else with each tick. Must not block.
pub(crate) trait ProgressSink: Send + Sync {
    /// The command is this far.
    fn progress_changed(&self, summary: &JobSummary);
}

/// Puts the readings of a command's streams together, in the order in which they come.
pub(crate) struct Tracker<'a> {
    sink: &'a dyn ProgressSink,
    inner: Mutex<Inner>,
}

struct Inner {
    summary: JobSummary,
    /// The same without any text of the output, if that is what the sink receives.
    numbers: Option<JobSummary>,
    /// Changed since the sink was last called.
    unsent: bool,
    result: Option<Value>,
    error: Option<String>,
}

impl<'a> Tracker<'a> {
    /// Tells of the start at once: the job runs, and how far it is is not known. With `hides_text`, the sink receives no text of the
    /// output.
    pub(crate) fn new(stage: &str, sink: &'a dyn ProgressSink, hides_text: bool) -> Self {
        let summary = JobSummary { stage: stage.to_owned(), ..JobSummary::new(Status::Processing) };
        sink.progress_changed(&summary);
        let numbers = hides_text.then(|| summary.clone());
        let inner = Inner { summary, numbers, unsent: false, result: None, error: None };
        Self { sink, inner: Mutex::new(inner) }
    }

    /// What is not in the line stays as it was. Its metadata replaces the earlier one.
    pub(crate) fn observe(&self, mut reading: Reading) {
        let mut inner = self.lock();
        if let Some(numbers) = &mut inner.numbers {
            let at_once = apply(reading.clone().without_text(), numbers);
            if at_once {
                self.sink.progress_changed(numbers);
            }
            inner.unsent = !at_once;
            apply(reading, &mut inner.summary);
            return;
        }
        let (result, error) = (reading.result.take(), reading.error.take());
        let at_once = apply(reading, &mut inner.summary);
        if at_once {
            self.sink.progress_changed(&inner.summary);
        }
        inner.unsent = !at_once;
        inner.result = result.or_else(|| inner.result.take());
        inner.error = error.or_else(|| inner.error.take());
    }

    /// Passes pending changes to the sink.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.unsent) {
            self.sink.progress_changed(inner.numbers.as_ref().unwrap_or(&inner.summary));
        }
    }

    pub(crate) fn summary(&self) -> JobSummary {
        self.lock().summary.clone()
    }

    /// The result and the error that the command's JSON lines named. None where text is hidden.
    pub(crate) fn take_result_and_error(&self) -> (Option<Value>, Option<String>) {
        let mut inner = self.lock();
        (inner.result.take(), inner.error.take())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is an assignment: nothing is left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a stage begins.
fn apply(reading: Reading, summary: &mut JobSummary) -> bool {
    match reading.progress {
        Some(Progress::Fraction(fraction)) => summary.progress = Some(rounded(fraction)),
        Some(Progress::Unknown) => summary.progress = None,
        None => {}
    }
    let entered = reading.stage.filter(|stage| *stage != summary.stage);
    let begins = entered.is_some();
    if let Some(stage) = entered {
        summary.stage = stage;
    }
    summary.message = reading.message.or_else(|| summary.message.take());
    if reading.resets || !reading.metadata.is_empty() {
        summary.metadata = reading.metadata;
    }
    begins
}

/// To hundredths of a percent. What is not all is not rounded up to it.
fn rounded(fraction: f64) -> f64 {
    if fraction >= 1.0 { 1.0 } else { ((fraction * 1e4).round() / 1e4).min(0.9999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<JobSummary>>);

    impl ProgressSink for Recorded {
        fn progress_changed(&self, summary: &JobSummary) {
            self.0.lock().unwrap().push(summary.clone());
        }
    }

    #[test]
    fn a_stage_is_reported_at_once_and_the_rest_with_the_next_tick() {
        let recorded = Recorded::default();
        let tracker = Tracker::new("processing", &recorded, false);
        for percent in [1.0, 2.0, 3.0] {
            tracker
                .observe(Reading::at(Progress::percent(percent)).message("m").with("n", percent));
        }
        let count = || recorded.0.lock().unwrap().len();
        assert_eq!(count(), 1, "the start");
        tracker.tick();
        tracker.tick();
        assert_eq!(count(), 2, "three lines, one tick");
        tracker.observe(Reading::default().stage("packing"));
        assert_eq!(count(), 3);
        let last = tracker.summary();
        assert_eq!(
            (last.progress, last.stage.as_str(), last.message.as_deref()),
            (Some(0.03), "packing", Some("m"))
        );
        tracker.observe(Reading::at(Progress::Unknown));
        assert_eq!(tracker.summary().progress, None);
    }

    #[test]
    fn where_text_is_hidden_the_sink_receives_none() {
        let recorded = Recorded::default();
        let tracker = Tracker::new("processing", &recorded, true);
        tracker.observe(Reading::at(Progress::percent(40.0)).stage("secret").message("secret"));
        let named = Reading { error: Some("secret".to_owned()), ..Reading::default() };
        tracker.observe(named.named_stage("audio"));
        tracker.tick();
        let last = recorded.0.lock().unwrap().last().cloned().unwrap();
        assert_eq!((last.progress, last.stage.as_str(), last.message), (Some(0.4), "audio", None));
        assert!(!recorded.0.lock().unwrap().iter().any(|it| format!("{it:?}").contains("secret")));
        assert_eq!(tracker.take_result_and_error(), (None, None));
        assert_eq!(tracker.summary().message.as_deref(), Some("secret"), "the bar here");
    }
}
