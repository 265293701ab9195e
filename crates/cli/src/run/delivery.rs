//! Whether reports arrive, and how long to wait at the end until they have.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use milepost_reporter::{Cause, Notice, Reporter};

/// The first wait. A server that answers has usually accepted the end by then. It is the whole wait if the server was never there: without
/// a server, commands are not delayed. Likewise if it refuses the credential, which will not change.
const SHORT: Duration = Duration::from_millis(300);

/// The whole wait if it is not known whether the server was ever there, or if it could do nothing from the start, as in the reporter's
/// contract.
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
    /// The server has done what it was asked.
    answered: AtomicBool,
    problem: Mutex<Problem>,
}

/// Why reports do not arrive.
#[derive(Debug, Default)]
struct Problem {
    /// The latest outage.
    outage: Option<(Cause, String)>,
    /// A server has answered, whatever it was.
    is_there: bool,
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
            Notice::Failing { reason, cause } => {
                problem.outage = Some((*cause, reason.clone()));
                if *cause != Cause::NoAnswer {
                    problem.is_there = true;
                } else if self.begun.elapsed() < FIRST {
                    self.never.store(true, Ordering::Relaxed);
                }
            }
            Notice::Delayed { reason, cause, .. } => {
                problem.outage = Some((*cause, reason.clone()));
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
        let usual = if self.is_refused() {
            SHORT
        } else if self.answered.load(Ordering::Relaxed) {
            ANSWERED
        } else if self.never.load(Ordering::Relaxed) {
            SHORT
        } else {
            LONG
        };
        self.wait.unwrap_or(usual)
    }

    /// Whether the server refuses the credential.
    fn is_refused(&self) -> bool {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(problem.outage, Some((Cause::Credential, _)))
    }

    /// From now on, what is rejected is the end.
    pub(super) fn ends(&self) {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).ends = true;
    }

    /// Waits until the end has arrived, as long as it may take. `long_wait` is called with that if it takes more than a moment.
    pub(super) fn close(&self, reporter: Reporter, long_wait: impl FnOnce(Duration)) -> Delivered {
        // Two flushes, not more: a request is given no longer than its flush, and the network may be slow.
        let mut arrived = reporter.flush(self.patience().min(SHORT));
        // By now, the first report of a short command has been answered.
        let patience = self.patience();
        let rest = patience.saturating_sub(SHORT);
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
            None => Delivered::No(match problem.outage.take() {
                Some((Cause::Credential, reason)) => Undelivered::Rejected(reason),
                outage => Undelivered::TooLate {
                    waited,
                    reason: outage.map(|(_, reason)| reason),
                    is_expected: problem.is_there
                        || self.answered.load(Ordering::Relaxed)
                        || self.wait.is_some(),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::JobId;

    use super::*;

    fn failing() -> Notice {
        because(Cause::NoAnswer)
    }

    fn because(cause: Cause) -> Notice {
        Notice::Failing { reason: "refused".to_owned(), cause }
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
    fn a_credential_that_is_refused_ends_the_wait_with_a_line() {
        let job = JobId::parse("a").unwrap();
        let (reason, cause) = ("refused".to_owned(), Cause::Credential);
        for notice in [because(cause), Notice::Delayed { job, reason, cause }] {
            let delivery = ReportDelivery::new(None);
            delivery.answered();
            delivery.notice(&notice);
            assert_eq!(delivery.patience(), SHORT, "{notice}");
            let why = Undelivered::Rejected("refused".to_owned());
            assert!(why.is_news());
            assert_eq!(delivery.delivered(false, SHORT), Delivered::No(why), "{notice}");
            delivery.notice(&Notice::Recovered);
            assert_eq!(delivery.patience(), ANSWERED, "it was granted more");
            let chosen = ReportDelivery::new(Some(LONG));
            chosen.notice(&notice);
            assert_eq!(chosen.patience(), LONG);
        }
    }

    #[test]
    fn a_server_that_is_busy_from_the_start_was_there() {
        let delivery = ReportDelivery::new(None);
        delivery.notice(&because(Cause::Busy));
        assert_eq!(delivery.patience(), LONG);
        let Delivered::No(why) = delivery.delivered(false, LONG) else { panic!("not arrived") };
        assert!(why.is_news());
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
