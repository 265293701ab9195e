//! How far the estimates were from what became of the attempts: `milepost_eta_error_ratio`.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::{JobId, State, Status, Timestamp};
use prometheus_client::metrics::histogram::Histogram;

/// The progress at which estimates are kept until the attempt has completed, and its name in the metric, in percent.
const POINTS: [(f64, &str); 4] = [(0.1, "10"), (0.25, "25"), (0.5, "50"), (0.75, "75")];

/// The upper bounds of the histograms' buckets: 0.2 is an estimate that missed the remaining time by a fifth of it.
const BUCKETS: [f64; 7] = [0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0];

/// The most running attempts in a generation; there are two. Attempts that never end would otherwise keep their places for ever.
const MOST_ATTEMPTS: usize = 5_000;

/// Attempts that are shorter than this from then on say nothing, in seconds.
const SHORTEST: f64 = 1.0;

/// Compares the estimates of attempts that are reported to this instance with their ends.
pub(crate) struct Accuracy {
    attempts: Mutex<Attempts>,
    /// By point.
    errors: [Histogram; POINTS.len()],
}

/// The running attempts, by job. When the latest generation is full, it becomes the one before, and that one is dropped. An attempt that
/// is reported moves into the latest one.
#[derive(Default)]
struct Attempts {
    latest: HashMap<JobId, Attempt>,
    before: HashMap<JobId, Attempt>,
}

impl Attempts {
    fn remove(&mut self, job: &JobId) -> Option<Attempt> {
        let latest = self.latest.remove(job);
        let before = self.before.remove(job);
        latest.or(before)
    }

    /// The job's attempt, which is new if the job had none, or an earlier one.
    fn attempt(&mut self, job: &JobId, number: u32) -> &mut Attempt {
        let mut known = None;
        if !self.latest.contains_key(job) {
            known = self.before.remove(job);
            if self.latest.len() >= MOST_ATTEMPTS {
                self.before = mem::take(&mut self.latest);
            }
        }
        let begin = || known.unwrap_or_else(|| Attempt::new(number));
        let attempt = self.latest.entry(job.clone()).or_insert_with(begin);
        if attempt.number != number {
            *attempt = Attempt::new(number);
        }
        attempt
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.latest.len() + self.before.len()
    }
}

/// The estimates in an attempt so far.
struct Attempt {
    number: u32,
    estimates: [Option<Estimate>; POINTS.len()],
}

struct Estimate {
    at: Timestamp,
    eta: Timestamp,
}

impl Default for Accuracy {
    fn default() -> Self {
        Self { attempts: Mutex::default(), errors: POINTS.map(|_| Histogram::new(BUCKETS)) }
    }
}

impl Accuracy {
    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report has led to this state. Costs a comparison while the fold has no estimate.
    pub(crate) fn note(&self, state: &State, now: impl FnOnce() -> Timestamp) {
        if state.status().is_end() {
            let attempt = self.attempts().remove(state.job());
            // Only an attempt that completes shows when it would have.
            if let Some(attempt) = attempt.filter(|attempt| attempt.number == state.attempt())
                && state.status() == Status::Completed
            {
                self.compare(&attempt, now());
            }
            return;
        }
        let Some(eta) = state.estimated_eta() else { return };
        let Some(progress) = state.progress() else { return };
        let Some(point) = POINTS.iter().rposition(|(point, _)| progress >= *point) else { return };
        let mut attempts = self.attempts();
        let attempt = attempts.attempt(state.job(), state.attempt());
        attempt.estimates[point].get_or_insert_with(|| Estimate { at: now(), eta });
    }

    fn compare(&self, attempt: &Attempt, end: Timestamp) {
        for (estimate, errors) in attempt.estimates.iter().zip(&self.errors) {
            let Some(Estimate { at, eta }) = estimate else { continue };
            let remaining = end.since(*at).as_secs_f64();
            if remaining >= SHORTEST {
                let missed = eta.since(end).max(end.since(*eta)).as_secs_f64();
                errors.observe(missed / remaining);
            }
        }
    }

    /// The histograms, with the percentage of each.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        POINTS.iter().map(|(_, name)| *name).zip(&self.errors)
    }
}

impl Attempt {
    fn new(number: u32) -> Self {
        Self { number, estimates: [const { None }; POINTS.len()] }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milepost_protocol::{Epoch, Fold, Origin, Update, fold};
    use prometheus_client::registry::Registry;

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(0) + Duration::from_secs(second)
    }

    /// A job that gains 5 % every 5 s up to `most` percent, and then ends with `status` after so many seconds.
    fn run(accuracy: &Accuracy, job: &str, most: u32, end: &str, seconds: u64) {
        let job = JobId::parse(job).unwrap();
        let mut state = None::<State>;
        let mut report = |json: String, second: u64| {
            let update = Update::parse(Some(&job), json.as_bytes()).unwrap();
            let folded = fold(state.as_ref(), &update, Origin::Report, Epoch(1), at(second));
            let Ok(Fold::New(next)) = folded else { panic!("{folded:?}") };
            accuracy.note(&next, || at(second));
            state = Some(next);
        };
        for percent in (0..=most).step_by(5) {
            report(format!(r#"{{"progress":{}}}"#, f64::from(percent) / 100.0), percent.into());
        }
        if !end.is_empty() {
            report(format!(r#"{{"status":"{end}"}}"#), seconds);
        }
    }

    fn text(accuracy: &Accuracy) -> Vec<String> {
        let mut registry = Registry::default();
        for (at, errors) in accuracy.errors() {
            registry.register(format!("at_{at}"), "", errors.clone());
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.contains("_count ")).map(str::to_owned).collect()
    }

    #[test]
    fn estimates_are_compared_with_the_end_once() {
        let accuracy = Accuracy::default();
        run(&accuracy, "a", 95, "completed", 100);
        run(&accuracy, "b", 30, "completed", 60);
        for end in ["failed", "cancelled", ""] {
            run(&accuracy, "c", 95, end, 100);
        }
        assert_eq!(
            text(&accuracy),
            ["at_10_count 2", "at_25_count 2", "at_50_count 1", "at_75_count 1"]
        );
        assert_eq!(accuracy.attempts().len(), 1, "the one that has not ended");
    }

    #[test]
    fn a_steady_job_is_estimated_well() {
        let accuracy = Accuracy::default();
        run(&accuracy, "a", 95, "completed", 100);
        let mut registry = Registry::default();
        for (at, errors) in accuracy.errors() {
            registry.register(format!("at_{at}"), "", errors.clone());
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches(r#"_bucket{le="0.05"} 1"#).count(), 4, "{text}");
    }

    #[test]
    fn attempts_that_never_end_give_way_at_the_bound() {
        let accuracy = Accuracy::default();
        let never_ends = |number: usize| {
            let job = JobId::parse(&format!("never-{number}")).unwrap();
            accuracy.attempts().attempt(&job, 1);
        };
        run(&accuracy, "a", 50, "", 0);
        for number in 0..MOST_ATTEMPTS {
            never_ends(number);
        }
        assert_eq!(accuracy.attempts().len(), MOST_ATTEMPTS + 1, "two generations");
        // One that still runs keeps its earlier estimates, however many others there are.
        let job = JobId::parse("a").unwrap();
        for number in MOST_ATTEMPTS..4 * MOST_ATTEMPTS {
            never_ends(number);
            if number % 100 == 0 {
                accuracy.attempts().attempt(&job, 1);
            }
            assert!(accuracy.attempts().len() <= 2 * MOST_ATTEMPTS);
        }
        let estimates = &accuracy.attempts().remove(&job).unwrap().estimates.map(|it| it.is_some());
        assert_eq!(*estimates, [true, true, true, false]);
    }
}
