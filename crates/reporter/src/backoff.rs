use std::time::Duration;

/// How long to wait before retrying: drawn from 0 to a window that starts at 1 s and doubles with each
/// failure in a row, up to 30 s (`spec/README.md`, sections 7 and 13). The jitter covers the whole window, so
/// that workers that lost the same server do not return together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    /// The delay after another failure.
    pub(crate) fn next(&mut self, random: &mut fastrand::Rng) -> Duration {
        let window = Self::FIRST.saturating_mul(1 << self.failures.min(5)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        window.mul_f64(random.f64())
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The server answered.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_to_half_a_minute_and_is_used_in_full() {
        let mut widest = [Duration::ZERO; 8];
        let mut narrowest = [Duration::MAX; 8];
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            for step in 0..8 {
                let delay = backoff.next(&mut random);
                widest[step] = widest[step].max(delay);
                narrowest[step] = narrowest[step].min(delay);
            }
        }
        for (step, window) in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0].into_iter().enumerate() {
            assert!(widest[step].as_secs_f64() <= window);
            assert!(widest[step].as_secs_f64() > 0.95 * window);
            assert!(narrowest[step].as_secs_f64() < 0.05 * window);
        }
    }

    #[test]
    fn a_success_starts_it_again() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.next(&mut random);
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_secs(1));
    }
}
