use std::time::Duration;

/// How long to wait after the nth failure in a row: a random part of a span that starts short and doubles
/// (`spec/README.md`, section 7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The next wait; `draw` is out of 0…1.
    pub(crate) fn next(&mut self, draw: f64) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let span = self.first.saturating_mul(1 << doublings).min(self.longest);
        span.mul_f64(draw.clamp(0.0, 1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_doubles_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..8).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
    }

    #[test]
    fn it_is_jittered_over_its_whole_length() {
        assert_eq!(Backoff::default().next(0.0), Duration::ZERO);
        assert_eq!(Backoff::default().next(0.25), Duration::from_millis(250));
    }

    #[test]
    fn it_goes_on_for_ever() {
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::default() };
        assert_eq!(backoff.next(1.0), Duration::from_secs(30));
    }
}
