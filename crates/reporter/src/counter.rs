use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const UNKNOWN_TOTAL: u64 = u64::MAX;

/// The count of a job or of one of its stages. A worker's loop touches only this: relaxed atomics on their
/// own cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counter {
    current: AtomicU64,
    total: AtomicU64,
    /// The bits of the progress that the worker set explicitly; NaN if it set none.
    given: AtomicU64,
    /// The part of the job's progress that this counter covers.
    start: f64,
    end: f64,
}

/// A counter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) current: u64,
    pub(crate) total: Option<u64>,
    given: u64,
}

impl Counter {
    /// A counter for the whole job.
    pub(crate) fn whole() -> Self {
        Self::within(&(0.0..1.0))
    }

    /// A counter for a stage that takes the job's progress through `range`. The range is clamped to 0…1. NaN
    /// stands for the default bound.
    pub(crate) fn within(range: &Range<f64>) -> Self {
        let start = if range.start.is_nan() { 0.0 } else { range.start.clamp(0.0, 1.0) };
        let end = if range.end.is_nan() { 1.0 } else { range.end.clamp(0.0, 1.0) };
        Self {
            current: AtomicU64::new(0),
            total: AtomicU64::new(UNKNOWN_TOTAL),
            given: AtomicU64::new(f64::NAN.to_bits()),
            start,
            end: end.max(start),
        }
    }

    #[inline]
    pub(crate) fn inc(&self, n: u64) {
        self.current.fetch_add(n, Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.current.store(n, Relaxed);
    }

    pub(crate) fn set_total(&self, total: Option<u64>) {
        self.total.store(total.unwrap_or(UNKNOWN_TOTAL), Relaxed);
    }

    /// Sets the progress. NaN, usually from 0 / 0, is ignored.
    pub(crate) fn set_progress(&self, progress: f64) {
        if !progress.is_nan() {
            self.given.store(progress.clamp(0.0, 1.0).to_bits(), Relaxed);
        }
    }

    /// Resets the counter.
    pub(crate) fn reset(&self) {
        self.set(0);
        self.set_total(None);
        self.given.store(f64::NAN.to_bits(), Relaxed);
    }

    /// Adds `more` to the expected total. A total that the worker has set, and that is not reached, stays.
    pub(crate) fn expect(&self, more: u64) {
        let count = self.count();
        if count.total.is_none_or(|total| total <= count.current) {
            self.set_total(Some(count.current.saturating_add(more)));
        }
    }

    /// Whether it covers only a part of the job's progress.
    pub(crate) fn is_part(&self) -> bool {
        self.start > 0.0 || self.end < 1.0
    }

    pub(crate) fn count(&self) -> Count {
        let total = self.total.load(Relaxed);
        Count {
            current: self.current.load(Relaxed),
            total: (total != UNKNOWN_TOTAL).then_some(total),
            given: self.given.load(Relaxed),
        }
    }

    /// The job's progress at `count`, 0…1; `None` if its total is not known. If a stage's total is not known,
    /// it is the start of the stage's range.
    pub(crate) fn progress(&self, count: Count) -> Option<f64> {
        let own = count.fraction().or(self.is_part().then_some(0.0))?;
        Some(self.start + (self.end - self.start) * own)
    }
}

impl Count {
    /// An explicit progress overrides the count. 0 of 0 has no progress.
    #[expect(clippy::cast_precision_loss, reason = "a progress needs no more than 53 bits")]
    fn fraction(self) -> Option<f64> {
        if let Some(given) = self.given() {
            return Some(given);
        }
        let total = self.total.filter(|total| *total > 0)?;
        Some((self.current as f64 / total as f64).min(1.0))
    }

    /// The progress that the worker set explicitly.
    pub(crate) fn given(self) -> Option<f64> {
        Some(f64::from_bits(self.given)).filter(|given| !given.is_nan())
    }

    /// Whether anything was counted or set yet.
    pub(crate) fn has_moved(self) -> bool {
        self.current > 0 || self.given().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(counter: &Counter) -> Option<f64> {
        counter.progress(counter.count())
    }

    #[test]
    fn progress_is_current_of_total_and_unknown_without_a_total() {
        let counter = Counter::whole();
        counter.inc(3);
        assert_eq!(progress(&counter), None);
        counter.set_total(Some(12));
        assert_eq!(progress(&counter), Some(0.25));
        counter.set(40);
        assert_eq!(progress(&counter), Some(1.0));
        counter.set_total(Some(0));
        assert_eq!(progress(&counter), None);
    }

    #[test]
    fn explicit_progress_is_clamped_and_overrides_the_count() {
        let counter = Counter::whole();
        counter.set_total(Some(10));
        counter.set_progress(7.0);
        assert_eq!(progress(&counter), Some(1.0));
        counter.set_progress(f64::NEG_INFINITY);
        assert_eq!(progress(&counter), Some(0.0));
        counter.set_progress(f64::NAN);
        assert_eq!(progress(&counter), Some(0.0));
    }

    #[test]
    fn a_stage_moves_through_its_range() {
        let counter = Counter::within(&(0.5..0.75));
        assert_eq!(progress(&counter), Some(0.5));
        counter.set_total(Some(2));
        counter.inc(1);
        assert_eq!(progress(&counter), Some(0.625));
        let odd = Counter::within(&(0.9..f64::NAN));
        odd.set_progress(1.0);
        assert_eq!(progress(&odd), Some(1.0));
        let reversed = Counter::within(&(0.9..0.1));
        reversed.set_progress(1.0);
        assert_eq!(progress(&reversed), Some(0.9));
    }

    #[test]
    fn expecting_more_keeps_a_total_that_is_still_ahead() {
        let counter = Counter::whole();
        counter.expect(10);
        assert_eq!(counter.count().total, Some(10));
        counter.inc(10);
        counter.expect(30);
        assert_eq!(progress(&counter), Some(0.25));
        counter.set_total(Some(1_000));
        counter.expect(5);
        assert_eq!(counter.count().total, Some(1_000));
    }
}
