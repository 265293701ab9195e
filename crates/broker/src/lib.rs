//! Keeps the state of every job, orders its updates and tells whoever is attached.
//!
//! [`Broker`] is the contract; `tests/contract` is the suite that every backend passes. [`Embedded`]
//! lives in the process and needs nothing else; [`Redis`] is for many instances.

mod broker;
mod clock;
pub mod embedded;
pub mod redis;

pub use broker::{Broker, Jobs, JobsQuery, Listener, ReportError, Reported, Stats, Unavailable};
pub use clock::{Clock, ManualClock, SystemClock};
pub use embedded::Embedded;
pub use redis::Redis;
