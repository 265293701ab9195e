use std::sync::Mutex;
use std::time::{Duration, Instant};

use milepost_protocol::Timestamp;

/// The time, which tests can set.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, for people and for data that outlives the process. It may go back.
    fn now(&self) -> Timestamp;

    /// The time since some moment in the past. It never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that only moves when it is set.
#[derive(Debug)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// A clock that shows this time since 1970-01-01T00:00:00Z.
    pub fn at(since_epoch: Duration) -> Self {
        Self(Mutex::new(since_epoch))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
