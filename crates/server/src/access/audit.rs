//! The audit log: which credential changed which job.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use milepost_protocol::JobId;

use super::Grant;
use crate::request::id;

/// The most lines per second, so that no client can flood the log.
const MAX_LINES: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Logs what a credential did to a job, under the target `milepost_audit`.
#[derive(Default)]
pub(crate) struct Audit {
    second: Mutex<Second>,
    omitted: AtomicU64,
}

/// The present second, and how much was logged in it.
#[derive(Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
}

impl Second {
    /// Whether a line may be written now.
    fn take(&mut self, now: Instant) -> bool {
        let is_over = |began| now.saturating_duration_since(began) >= SECOND;
        if self.began.is_none_or(is_over) {
            *self = Self { began: Some(now), lines: 0 };
        }
        let is_free = self.lines < MAX_LINES;
        self.lines += u32::from(is_free);
        is_free
    }
}

impl Audit {
    /// Logs a change. On a server without credentials, the client is not known.
    pub(crate) fn record(&self, grant: &Grant, action: &str, job: &JobId) {
        let Some(granted) = grant.granted() else { return };
        let is_written =
            self.second.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if is_written {
            let request_id = id::current_text();
            tracing::info!(target: "milepost_audit", holder = granted.holder, %job, action, request_id);
        } else {
            self.omitted.fetch_add(1, Relaxed);
        }
    }

    /// How many lines were not written because of the limit.
    pub(crate) fn omitted(&self) -> u64 {
        self.omitted.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let (mut second, start) = (Second::default(), Instant::now());
        let logged = |second: &mut Second, at| (0..150).filter(|_| second.take(at)).count();
        assert_eq!(logged(&mut second, start), 100);
        assert_eq!(logged(&mut second, start + Duration::from_millis(999)), 0);
        assert_eq!(logged(&mut second, start + SECOND), 100);
    }
}
