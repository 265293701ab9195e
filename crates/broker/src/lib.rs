//! Keeps the state of every job, orders its updates and tells whoever is attached.
//!
//! [`Broker`] is the contract; `tests/contract` is the suite that every backend passes. [`Embedded`]
//! lives in the process and needs nothing else.

mod broker;
mod clock;
pub mod embedded;

pub use broker::{Broker, Jobs, JobsQuery, Listener, ReportError, Reported, Stats, Unavailable};
pub use clock::{Clock, ManualClock, SystemClock};
pub use embedded::Embedded;
