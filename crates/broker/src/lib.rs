//! What keeps the state of every job, orders its updates and notifies listeners.
//!
//! [`Broker`] is the contract, and `milepost-broker-contract` the suite of tests that every backend passes. The
//! backends are crates of their own: `milepost-broker-embedded` and `milepost-broker-redis`.

mod broker;
mod clock;
mod job_logs;
mod jobs;
mod mass_loss;

pub use broker::{
    Broker, History, Listener, ReportError, Reported, RequestError, Stats, Unavailable,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use job_logs::{
    Appended, JobLogs, LogError, LogPage, LogPart, LogStats, LogWindow, MAX_JOB_LOG_BYTES,
    line_cost,
};
pub use jobs::{Jobs, JobsQuery, Keyword, MAX_CONSIDERED};
pub use mass_loss::{MassLoss, Verdict, Workers};
