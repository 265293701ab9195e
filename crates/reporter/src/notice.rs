use std::fmt;
use std::sync::Arc;

use milepost_protocol::{InvalidJobId, JobId};

/// What a reporter has to tell about itself. It never raises into the job; this is all that is heard of it.
///
/// By default a notice is a `tracing` event at the level `WARN` ([`Notice::Recovered`]: `INFO`), or a line
/// on standard error where no subscriber is installed. [`Builder::on_notice`](crate::Builder::on_notice)
/// takes them elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The URL in the environment cannot be used: nothing is reported.
    UnusableUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment has no effect, because it was probably misspelt. Told once by each process.
    MisspeltVariable {
        /// The variable that is set.
        variable: String,
        /// The variable that was probably meant.
        meant: &'static str,
    },
    /// No reports arrive any more. Told once, until they do again.
    Failing {
        /// The first failure.
        reason: String,
    },
    /// Reports arrive again, and no job waits any more: after [`Failing`](Self::Failing) and [`Delayed`](Self::Delayed).
    Recovered,
    /// The server refused an update of a job. An end is given up; a job that goes on is tried again when it
    /// has changed or its heartbeat is due, at growing intervals. Told once, until an update is accepted.
    Rejected {
        /// The job.
        job: JobId,
        /// The server's words.
        reason: String,
    },
    /// The server cannot take this job's updates now, nor perhaps other jobs': it is full, or a part of it is away. Each
    /// job's present state is tried again, at growing intervals; an end at once. Told once for all jobs, until
    /// none waits any more, and not after [`Failing`](Self::Failing), which is worse.
    Delayed {
        /// The first such job.
        job: JobId,
        /// The server's words.
        reason: String,
    },
    /// The job's attempt has ended, or a later one has begun: nothing more is reported of it from here.
    AttemptOver {
        /// The job.
        job: JobId,
        /// The server's words.
        reason: String,
    },
    /// What was given as a job id is none: this job is not reported.
    InvalidJobId {
        /// What was given, at most 128 characters of it.
        given: String,
        /// Why it is none.
        reason: InvalidJobId,
    },
    /// As many jobs are reported as may be, and one more was not accepted. Told once by each reporter.
    TooManyJobs {
        /// The bound.
        limit: usize,
    },
    /// A part of an update cannot be sent: it is not JSON, or too large. Told once for each job.
    Truncated {
        /// The job.
        job: JobId,
        /// What is left out, and why.
        reason: String,
    },
    /// The reporter was closed before these jobs' last states had arrived.
    Undelivered {
        /// How many.
        jobs: usize,
    },
    /// The process was forked: the thread that sends is in the parent. Make a new reporter in the child.
    Forked,
    /// The thread that sends could not be started: nothing is reported.
    NoThread {
        /// The operating system's words.
        reason: String,
    },
    /// The reporter is closed, and a job was begun with it. Told once by each reporter.
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
            Self::Failing { reason } => {
                write!(f, "cannot report; the job continues: {reason}")
            }
            Self::Recovered => f.write_str("reporting works again"),
            Self::Rejected { job, reason } => {
                write!(f, "an update of {job} was rejected: {reason}")
            }
            Self::Delayed { job, reason } => {
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

    pub(crate) fn tell(&self, notice: &Notice) {
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

/// A worker that installed no subscriber is still to learn, once, that nobody sees its progress.
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
