use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How fast a job counts, over the last ten seconds. Unknown until a second of them has been seen.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// When the count was what, oldest first; at most [`Self::SAMPLES`].
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(10);
    const LEAST: Duration = Duration::from_secs(1);
    const SAMPLES: usize = 64;

    /// The count is `current` now. Returns units per second, if known.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with some digits")]
    pub(crate) fn sample(&mut self, current: u64, now: Instant) -> Option<f64> {
        if self.seen.back().is_some_and(|&(_, last)| current < last) {
            self.seen.clear();
        }
        // One sample older than the window stays, so that a job that reports rarely has a rate as well.
        while self.seen.len() > 1
            && (self.seen.len() >= Self::SAMPLES
                || now.duration_since(self.seen[1].0) > Self::WINDOW)
        {
            self.seen.pop_front();
        }
        self.seen.push_back((now, current));
        let (since, first) = self.seen[0];
        let took = now.duration_since(since);
        (took >= Self::LEAST).then(|| (current - first) as f64 / took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_known_after_a_second_and_forgets_old_samples() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut rate = Rate::default();
        assert_eq!(rate.sample(0, at(0.0)), None);
        assert_eq!(rate.sample(10, at(0.5)), None);
        assert_eq!(rate.sample(40, at(2.0)), Some(20.0));
        for step in 0..300 {
            rate.sample(40, at(2.0 + f64::from(step) / 10.0));
        }
        assert_eq!(rate.sample(40, at(32.1)), Some(0.0));
        assert!(rate.seen.len() <= Rate::SAMPLES);
    }

    #[test]
    fn a_count_that_goes_back_starts_it_again() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.sample(500, start);
        assert_eq!(rate.sample(3, start + Duration::from_secs(5)), None);
        assert_eq!(rate.sample(5, start + Duration::from_secs(7)), Some(1.0));
    }
}
