//! Whether reports arrive, and how long to wait at the end until they have.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use milepost_reporter::{Notice, Reporter};

/// The first wait. A server that answers has usually accepted the end by then. It is the whole wait if the server was never there: without
/// a server, commands are not delayed.
const SHORT: Duration = Duration::from_millis(300);

/// The whole wait if it is not known whether the server was ever there, as in the reporter's contract.
const LONG: Duration = Duration::from_secs(2);

/// The whole wait if the server has answered before: it may be restarting, and nobody else will report the end.
const ANSWERED: Duration = Duration::from_secs(10);

/// A failure this soon after the start is that of the first report.
const FIRST: Duration = Duration::from_secs(1);

/// The state of the delivery, from the reporter's notices and from what else the server was asked.
#[derive(Debug)]
pub(super) struct ReportDelivery {
    begun: Instant,
    /// How long to wait, if the user has said so.
    wait: Option<Duration>,
    /// The first report failed, and nothing has arrived since.
    never: AtomicBool,
    answered: AtomicBool,
    problem: Mutex<Problem>,
}

/// Why reports do not arrive.
#[derive(Debug, Default)]
struct Problem {
    /// Of the latest outage.
    outage: Option<String>,
    /// The end will not be accepted.
    rejected: Option<String>,
    /// The end is under way.
    ends: bool,
}

/// Whether the end was reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Yes,
    No(Undelivered),
}

/// Why the end was not reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    Rejected(String),
    TooLate {
        waited: Duration,
        reason: Option<String>,
        /// The user counts on it: the server has answered before, or they chose the wait.
        is_expected: bool,
    },
}

impl Undelivered {
    /// Whether that is to be said where nothing else is printed. Of a server that was never there it is not.
    pub(super) fn is_news(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::TooLate { is_expected: true, .. })
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => f.write_str(reason),
            Self::TooLate { waited, reason, .. } => {
                write!(f, "not accepted within {} s", waited.as_secs_f64())?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ", {reason}"))
            }
        }
    }
}

impl ReportDelivery {
    /// `wait`: how long to wait for the end to arrive. None: it depends on whether the server has answered.
    pub(super) fn new(wait: Option<Duration>) -> Self {
        Self {
            begun: Instant::now(),
            wait,
            never: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            problem: Mutex::default(),
        }
    }

    pub(super) fn notice(&self, notice: &Notice) {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Failing { reason } => {
                problem.outage = Some(reason.clone());
                if self.begun.elapsed() < FIRST {
                    self.never.store(true, Ordering::Relaxed);
                }
            }
            Notice::Delayed { reason, .. } => {
                problem.outage = Some(reason.clone());
                self.answered();
            }
            Notice::Recovered => {
                problem.outage = None;
                self.answered();
            }
            Notice::Rejected { reason, .. } if problem.ends => {
                problem.rejected = Some(reason.clone());
            }
            _ => {}
        }
    }

    /// The server has answered a request.
    pub(super) fn answered(&self) {
        self.never.store(false, Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
    }

    /// How long the end may take.
    fn patience(&self) -> Duration {
        let usual = if self.answered.load(Ordering::Relaxed) {
            ANSWERED
        } else if self.never.load(Ordering::Relaxed) {
            SHORT
        } else {
            LONG
        };
        self.wait.unwrap_or(usual)
    }

    /// From now on, what is rejected is the end.
    pub(super) fn ends(&self) {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).ends = true;
    }

    /// Waits until the end has arrived, as long as it may take. `long_wait` is called with that if it takes more than a moment.
    pub(super) fn close(&self, reporter: Reporter, long_wait: impl FnOnce(Duration)) -> Delivered {
        let patience = self.patience();
        let rest = patience.saturating_sub(SHORT);
        // Two flushes, not more: a request is given no longer than its flush, and the network may be slow.
        let mut arrived = reporter.flush(patience.min(SHORT));
        if !arrived && !rest.is_zero() {
            long_wait(patience);
            arrived = reporter.flush(rest);
        }
        if arrived {
            reporter.close();
        } else {
            // Dropping it would wait again. The process ends, and with it the reporter's thread.
            std::mem::forget(reporter);
        }
        self.delivered(arrived, patience)
    }

    fn delivered(&self, arrived: bool, waited: Duration) -> Delivered {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match problem.rejected.take() {
            Some(reason) => Delivered::No(Undelivered::Rejected(reason)),
            None if arrived => Delivered::Yes,
            None => Delivered::No(Undelivered::TooLate {
                waited,
                reason: problem.outage.take(),
                is_expected: self.answered.load(Ordering::Relaxed) || self.wait.is_some(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::JobId;

    use super::*;

    fn failing() -> Notice {
        Notice::Failing { reason: "refused".to_owned() }
    }

    #[test]
    fn an_end_is_waited_for_if_the_server_was_there() {
        let delivery = ReportDelivery::new(None);
        assert_eq!(delivery.patience(), LONG, "nothing is known");
        delivery.notice(&failing());
        assert_eq!(delivery.patience(), SHORT);
        delivery.notice(&Notice::Recovered);
        delivery.notice(&failing());
        assert_eq!(delivery.patience(), ANSWERED, "it was there in between");
        let delivery = ReportDelivery::new(None);
        delivery.answered();
        assert_eq!(delivery.patience(), ANSWERED);
        let chosen = ReportDelivery::new(Some(Duration::ZERO));
        chosen.answered();
        assert_eq!(chosen.patience(), Duration::ZERO);
    }

    #[test]
    fn an_end_that_is_lost_is_news_unless_nothing_was_there() {
        let undelivered = |delivery: &ReportDelivery| match delivery.delivered(false, LONG) {
            Delivered::No(why) => (why.is_news(), why.to_string()),
            Delivered::Yes => panic!("it has not arrived"),
        };
        let delivery = ReportDelivery::new(None);
        delivery.notice(&failing());
        let why = "not accepted within 2 s, refused".to_owned();
        assert_eq!(undelivered(&delivery), (false, why.clone()));
        delivery.answered();
        delivery.notice(&failing());
        assert_eq!(undelivered(&delivery), (true, why));
        assert!(undelivered(&ReportDelivery::new(Some(LONG))).0);
        assert_eq!(delivery.delivered(true, LONG), Delivered::Yes);
    }

    #[test]
    fn an_end_that_is_rejected_has_not_been_reported() {
        let delivery = ReportDelivery::new(None);
        let job = JobId::parse("a").unwrap();
        let rejected = |reason: &str| Notice::Rejected { job: job.clone(), reason: reason.into() };
        delivery.notice(&rejected("an update before the end"));
        assert_eq!(delivery.delivered(true, LONG), Delivered::Yes);
        delivery.ends();
        delivery.notice(&rejected("no key"));
        let why = Undelivered::Rejected("no key".to_owned());
        assert!(why.is_news());
        assert_eq!(delivery.delivered(true, LONG), Delivered::No(why));
    }
}
