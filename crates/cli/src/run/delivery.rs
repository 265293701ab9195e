//! Whether reports arrive, and how long to wait at the end until they have.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use milepost_reporter::{Notice, Reporter};

/// The first wait. A server that answers has usually accepted the end by then. Without a server, commands do not wait
/// two seconds each.
const SHORT: Duration = Duration::from_millis(300);

/// The whole wait, as in the reporter's contract.
const LONG: Duration = Duration::from_secs(2);

/// A failure this soon after the start is that of the first report.
const FIRST: Duration = Duration::from_secs(1);

/// The state of the delivery, from the reporter's notices.
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

    /// Waits until the end has arrived: two seconds at most, and a moment if the server was never there. Returns
    /// whether it has.
    pub(super) fn close(&self, reporter: Reporter) -> bool {
        // Two flushes, not more: a request is given no longer than its flush, and the network may be slow.
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
