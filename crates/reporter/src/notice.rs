use std::fmt;
use std::sync::Arc;

use milepost_protocol::{InvalidJobId, JobId};

use crate::cause::Cause;

/// A notice of the reporter to its program. The reporter never raises into the job, so problems are only
/// visible here.
///
/// By default a notice is a `tracing` event at the level `WARN` ([`Notice::Recovered`]: `INFO`), or a line on
/// standard error if no subscriber is installed. [`Builder::on_notice`](crate::Builder::on_notice) redirects
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The URL in the environment cannot be used: nothing is reported.
    UnusableUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment has no effect and was probably misspelt. Once for each process.
    MisspeltVariable {
        /// The variable that is set.
        variable: String,
        /// The variable that was probably meant.
        meant: &'static str,
    },
    /// Reports cannot be sent. Once for each outage.
    Failing {
        /// The first failure.
        reason: String,
        /// Its kind.
        cause: Cause,
    },
    /// The outage is over, and no job waits: after [`Failing`](Self::Failing) and [`Delayed`](Self::Delayed).
    Recovered,
    /// The server rejected an update of a job. A rejected end is not sent again. The update of a running job
    /// is sent again when the job has changed or its heartbeat is due, at growing intervals. Once, until an
    /// update is accepted.
    Rejected {
        /// The job.
        job: JobId,
        /// The server's reason.
        reason: String,
    },
    /// The server cannot accept updates of this job now, and perhaps of others: it is full, or partly
    /// unavailable. Each job's latest state is sent again at growing intervals, and an end at once. Once for
    /// all jobs, until none waits; not after [`Failing`](Self::Failing), which includes it.
    Delayed {
        /// The first such job.
        job: JobId,
        /// The server's reason.
        reason: String,
        /// Its kind.
        cause: Cause,
    },
    /// The job's attempt has ended, or a later one has begun. This job is no longer reported.
    AttemptOver {
        /// The job.
        job: JobId,
        /// The server's reason.
        reason: String,
    },
    /// The given job id is not valid, so the job is not reported.
    InvalidJobId {
        /// The given id, at most 128 characters of it.
        given: String,
        /// Why it is not valid.
        reason: InvalidJobId,
    },
    /// The limit of reported jobs was reached, and another job was not accepted. Once for each reporter.
    TooManyJobs {
        /// The bound.
        limit: usize,
    },
    /// A part of an update cannot be sent: it is not JSON, or too large. Once for each job.
    Truncated {
        /// The job.
        job: JobId,
        /// Which part, and why.
        reason: String,
    },
    /// A progress was outside of 0…1, so it was clamped. Probably the worker reports percent. Once for each job.
    ProgressOutOfRange {
        /// The job.
        job: JobId,
        /// The progress, and what it counts as.
        reason: String,
    },
    /// Lines of a job's log are not sent. Once for each reporter.
    LogNotSent {
        /// Why not.
        reason: String,
    },
    /// The reporter was closed before the last states of these jobs were acknowledged.
    Undelivered {
        /// How many.
        jobs: usize,
    },
    /// The process was forked, and the sending thread is in the parent. Create a new reporter in the child.
    Forked,
    /// The sending thread could not be started, so nothing is reported.
    NoThread {
        /// The operating system's reason.
        reason: String,
    },
    /// The reporter is closed, but a job was begun with it. Once for each reporter.
    Closed,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnusableUrl { reason } => write!(f, "nothing is reported: {reason}"),
            Self::MisspeltVariable { variable, meant } => write!(
                f,
                "the environment variable {variable} has no effect: did you mean {meant}?"
            ),
            Self::Failing { reason, .. } => {
                write!(f, "cannot report; the job continues: {reason}")
            }
            Self::Recovered => f.write_str("reporting works again"),
            Self::Rejected { job, reason } => {
                write!(f, "an update of {job} was rejected: {reason}")
            }
            Self::Delayed { job, reason, .. } => {
                write!(f, "the server cannot accept an update of {job} now; retrying: {reason}")
            }
            Self::AttemptOver { job, reason } => {
                write!(f, "{job} is no longer reported: {reason}")
            }
            Self::InvalidJobId { given, reason } => {
                write!(f, "{given:?} is not a job id, so this job is not reported: {reason}")
            }
            Self::TooManyJobs { limit } => {
                write!(
                    f,
                    "{limit} jobs are reported already, which is the limit; further jobs are not reported"
                )
            }
            Self::Truncated { job, reason } => write!(f, "part of {job} is not reported: {reason}"),
            Self::ProgressOutOfRange { job, reason } => write!(f, "{job}: {reason}"),
            Self::LogNotSent { reason } => {
                write!(f, "lines of a job's log are not sent: {reason}")
            }
            Self::Undelivered { jobs } => {
                write!(
                    f,
                    "the last states of {jobs} jobs were not delivered before the reporter was closed"
                )
            }
            Self::Forked => f.write_str(
                "a forked process cannot report through its parent's reporter: create a new one",
            ),
            Self::NoThread { reason } => {
                write!(f, "nothing is reported: the sending thread did not start: {reason}")
            }
            Self::Closed => f.write_str("the reporter is closed; further jobs are not reported"),
        }
    }
}

/// Where notices go.
#[derive(Clone)]
pub(crate) struct NoticeHook(Arc<dyn Fn(&Notice) + Send + Sync>);

impl NoticeHook {
    pub(crate) fn new(hook: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn notify(&self, notice: &Notice) {
        (self.0)(notice);
    }
}

impl Default for NoticeHook {
    fn default() -> Self {
        Self::new(log)
    }
}

impl fmt::Debug for NoticeHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoticeHook")
    }
}

/// Without a subscriber, the worker still learns once that its progress is not reported.
fn log(notice: &Notice) {
    use tracing::level_filters::LevelFilter;
    if LevelFilter::current() == LevelFilter::OFF {
        use std::io::Write;
        // A closed standard error is no reason to panic in a job.
        let _ = writeln!(std::io::stderr(), "milepost: {notice}");
    } else if *notice == Notice::Recovered {
        tracing::info!(target: "milepost", "{notice}");
    } else {
        tracing::warn!(target: "milepost", "{notice}");
    }
}
