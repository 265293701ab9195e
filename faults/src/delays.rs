//! How long updates take from their worker to their watchers.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::sync::OnceLock;

/// Bounds of two neighbouring buckets are in this ratio.
const RATIO: f64 = 1.1;
/// The last bucket begins at some 20 minutes.
const BUCKETS: usize = 224;

/// Microseconds since the suite began, which workers write into their updates.
#[expect(clippy::cast_possible_truncation, reason = "the suite runs for less than 500,000 years")]
pub(crate) fn now_micros() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// Which part of a trial a delay belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not measured.
    Unmeasured = 0,
    /// Before the fault.
    Before = 1,
    /// During the fault.
    During = 2,
}

/// The delays that all watchers of a trial saw.
#[derive(Debug)]
pub(crate) struct Delays {
    phase: AtomicU8,
    before: Histogram,
    during: Histogram,
}

/// Counts by size, in buckets that are exponentially wide.
#[derive(Debug)]
struct Histogram([AtomicU64; BUCKETS]);

impl Default for Delays {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Unmeasured as u8),
            before: Histogram::default(),
            during: Histogram::default(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Delays {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// An update that was sent at `sent`, by [`now_micros`], is shown now.
    pub(crate) fn record(&self, sent: u64) {
        let histogram = match self.phase.load(Ordering::Relaxed) {
            1 => &self.before,
            2 => &self.during,
            _ => return,
        };
        histogram.record(now_micros().saturating_sub(sent));
    }

    /// 99 of 100 updates took no longer before the fault, and during it; none if there were none.
    pub(crate) fn p99(&self) -> (Option<Duration>, Option<Duration>) {
        (self.before.quantile(0.99), self.during.quantile(0.99))
    }
}

impl Histogram {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bucket's number is small and positive"
    )]
    fn record(&self, micros: u64) {
        let bucket = (micros.max(1) as f64).log(RATIO) as usize;
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
    fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            *count > 0 && seen as f64 >= share * all as f64
        })?;
        let end = i32::try_from(bucket + 1).unwrap_or(i32::MAX);
        Some(Duration::from_secs_f64(RATIO.powi(end) / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), None);
        for micros in 1..=1000 {
            histogram.record(micros);
        }
        let p99 = histogram.quantile(0.99).expect("there are some").as_secs_f64() * 1e6;
        assert!((990.0..=990.0 * RATIO).contains(&p99), "{p99}");
        histogram.record(u64::MAX);
        assert!(histogram.quantile(1.0).expect("there are some") > Duration::from_secs(1000));
    }

    #[test]
    fn only_what_is_measured_counts() {
        let delays = Delays::default();
        delays.record(now_micros());
        assert_eq!(delays.p99(), (None, None));
        delays.enter(Phase::Before);
        delays.record(now_micros());
        delays.enter(Phase::During);
        assert!(matches!(delays.p99(), (Some(_), None)));
    }
}
