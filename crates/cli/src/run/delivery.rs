//! Whether reports arrive, and how long to wait at the end until they have.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use milepost_reporter::{Notice, Reporter};

/// A server that answers will have taken the end by then, mostly. Whoever starts a command where there is no server does
/// not wait two seconds for each.
const SHORT: Duration = Duration::from_millis(300);

/// How long is waited otherwise: the reporter's contract.
const LONG: Duration = Duration::from_secs(2);

/// A failure this soon after the start is that of the very first report.
const FIRST: Duration = Duration::from_secs(1);

/// What the reporter's notices say of the server.
#[derive(Debug)]
pub(super) struct ReportDelivery {
    begun: Instant,
    /// The first report failed, and nothing has arrived since.
    never: AtomicBool,
}

impl ReportDelivery {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), never: AtomicBool::new(false) }
    }

    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Failing { .. } if self.begun.elapsed() < FIRST => {
                self.never.store(true, Ordering::Relaxed);
            }
            Notice::Recovered => self.never.store(false, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Waits until the end has arrived: two seconds at most, and a moment if the server was never there.
    /// Whether it has.
    pub(super) fn close(&self, reporter: Reporter) -> bool {
        // In two goes, not in many: a request takes no longer than the flush that it is of, and the way may be long.
        let arrived = reporter.flush(SHORT)
            || (!self.never.load(Ordering::Relaxed) && reporter.flush(LONG.saturating_sub(SHORT)));
        if arrived {
            reporter.close();
        } else {
            // Dropping it would wait again. The process ends, and with it the reporter's thread.
            std::mem::forget(reporter);
        }
        arrived
    }
}
