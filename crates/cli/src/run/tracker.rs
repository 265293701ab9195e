//! How far the command is, as all of its output together says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::Status;
use serde_json::Value;

use crate::bars::Face;
use crate::output::{Progress, Reading};

/// Who is told how far the command is: at once of a new stage, else with each tick. Must not block.
pub(crate) trait Audience: Send + Sync {
    /// The command is this far.
    fn news(&self, face: &Face);
}

/// Puts the readings of a command's streams together, in the order in which they come.
pub(crate) struct Tracker<'a> {
    audience: &'a dyn Audience,
    inner: Mutex<Inner>,
}

struct Inner {
    face: Face,
    /// Changed since the audience was told.
    untold: bool,
    result: Option<Value>,
    error: Option<String>,
}

impl<'a> Tracker<'a> {
    /// Tells of the start at once: the job runs, and how far it is is not known.
    pub(crate) fn new(stage: &str, audience: &'a dyn Audience) -> Self {
        let face = Face { stage: stage.to_owned(), ..Face::new(Status::Processing) };
        audience.news(&face);
        Self {
            audience,
            inner: Mutex::new(Inner { face, untold: false, result: None, error: None }),
        }
    }

    /// What the line does not say stays as it was; its metadata replaces the one before.
    pub(crate) fn hear(&self, reading: Reading) {
        let mut inner = self.lock();
        let face = &mut inner.face;
        match reading.progress {
            Some(Progress::Fraction(fraction)) => face.progress = Some(rounded(fraction)),
            Some(Progress::Unknown) => face.progress = None,
            None => {}
        }
        let entered = reading.stage.filter(|stage| *stage != face.stage);
        let at_once = entered.is_some();
        if let Some(stage) = entered {
            face.stage = stage;
        }
        face.message = reading.message.or_else(|| face.message.take());
        if !reading.metadata.is_empty() {
            face.metadata = reading.metadata;
        }
        if at_once {
            self.audience.news(face);
        }
        inner.untold = !at_once;
        inner.result = reading.result.or_else(|| inner.result.take());
        inner.error = reading.error.or_else(|| inner.error.take());
    }

    /// Tells the audience what it has not been told yet.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.untold) {
            self.audience.news(&inner.face);
        }
    }

    pub(crate) fn face(&self) -> Face {
        self.lock().face.clone()
    }

    /// The result and the error that the command's JSON lines named.
    pub(crate) fn take_words(&self) -> (Option<Value>, Option<String>) {
        let mut inner = self.lock();
        (inner.result.take(), inner.error.take())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is an assignment: nothing is left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To hundredths of a percent. What is not all is not rounded up to it.
fn rounded(fraction: f64) -> f64 {
    if fraction >= 1.0 { 1.0 } else { ((fraction * 1e4).round() / 1e4).min(0.9999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Face>>);

    impl Audience for Heard {
        fn news(&self, face: &Face) {
            self.0.lock().unwrap().push(face.clone());
        }
    }

    #[test]
    fn a_stage_is_told_at_once_and_the_rest_with_the_next_tick() {
        let heard = Heard::default();
        let tracker = Tracker::new("processing", &heard);
        for percent in [1.0, 2.0, 3.0] {
            tracker.hear(Reading::at(Progress::percent(percent)).message("m").with("n", percent));
        }
        let count = || heard.0.lock().unwrap().len();
        assert_eq!(count(), 1, "the start");
        tracker.tick();
        tracker.tick();
        assert_eq!(count(), 2, "three lines, one tick");
        tracker.hear(Reading::default().stage("packing"));
        assert_eq!(count(), 3);
        let last = tracker.face();
        assert_eq!(
            (last.progress, last.stage.as_str(), last.message.as_deref()),
            (Some(0.03), "packing", Some("m"))
        );
        tracker.hear(Reading::at(Progress::Unknown));
        assert_eq!(tracker.face().progress, None);
    }
}
