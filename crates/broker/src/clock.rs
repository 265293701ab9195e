use std::sync::Mutex;
use std::time::{Duration, Instant};

use milepost_protocol::Timestamp;

/// Where a broker reads the time, so that tests need not wait for it to pass.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, for people and for what outlives the process. May be set back.
    fn now(&self) -> Timestamp;

    /// Time passed since some moment in the past. Never goes back.
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
    /// A clock at that distance from 1970-01-01T00:00:00Z.
    pub fn at(since_epoch: Duration) -> Self {
        Self(Mutex::new(since_epoch))
    }

    /// Lets that much time pass.
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
