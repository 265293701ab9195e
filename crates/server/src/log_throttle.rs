//! Log lines that one condition would repeat with each request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one line through in a minute.
#[derive(Debug)]
pub(crate) struct LogThrottle(Mutex<Option<Instant>>);

const MINUTE: Duration = Duration::from_secs(60);

impl LogThrottle {
    /// The first line passes.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether a line may be written now.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= MINUTE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_one_line() {
        let (throttle, start) = (LogThrottle::new(), Instant::now());
        let admitted = |from: u64, to: u64| {
            (from..to).filter(|ms| throttle.admits(start + Duration::from_millis(*ms))).count()
        };
        assert_eq!(admitted(0, 60_000), 1);
        assert_eq!(admitted(60_000, 120_000), 1);
        assert_eq!(admitted(1_000_000, 1_000_100), 1);
    }
}
