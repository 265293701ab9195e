//! How much time the reading of a command's output may take, so that it does not hold a chatty command up.

use std::time::{Duration, Instant};

/// A quarter of the time that passes, saved up to 100 ms. Ordinary output never comes near; a command that writes
/// hundreds of megabytes is read only in parts.
#[derive(Debug)]
pub(super) struct ParseBudget {
    saved: Duration,
    /// What was spent beyond what had been saved.
    owed: Duration,
    counted: Instant,
}

impl ParseBudget {
    const SAVINGS: Duration = Duration::from_millis(100);
    const SHARE: u32 = 4;

    pub(super) fn new(now: Instant) -> Self {
        Self { saved: Self::SAVINGS, owed: Duration::ZERO, counted: now }
    }

    /// Whether some of the budget is left.
    pub(super) fn is_available(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted) / Self::SHARE;
        self.counted = now;
        let paid = earned.min(self.owed);
        self.owed -= paid;
        self.saved = (self.saved + earned.saturating_sub(paid)).min(Self::SAVINGS);
        self.owed.is_zero() && !self.saved.is_zero()
    }

    pub(super) fn spend(&mut self, time: Duration) {
        let paid = time.min(self.saved);
        self.saved -= paid;
        self.owed += time.saturating_sub(paid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_and_some_savings() {
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        let mut budget = ParseBudget::new(t0);
        assert!(budget.is_available(t0));
        budget.spend(ms(150));
        assert!(!budget.is_available(t0), "the savings are gone, and 50 ms more");
        assert!(!budget.is_available(t0 + ms(200)), "paid back, and nothing saved");
        assert!(budget.is_available(t0 + ms(204)));
        assert!(budget.is_available(t0 + ms(100_000)));
        budget.spend(ms(101));
        assert!(!budget.is_available(t0 + ms(100_000)), "savings are bounded");
    }
}
