//! Reports the progress of a job. A worker links this crate.
//!
//! ```
//! use milepost_reporter::Reporter;
//!
//! let reporter = Reporter::from_env(); // MILEPOST_URL=http://localhost:8084
//! let job = reporter.job("video-42");
//! job.stage("rendering");
//! let mut sum = 0;
//! for frame in job.track(0..2_000_u32) {
//!     sum += frame; // the work
//! }
//! job.complete_with(sum);
//! ```
//!
//! Everybody who watches `video-42` on that server sees the bar move. Without `MILEPOST_URL`, the same
//! program runs and reports nothing.
//!
//! **Reporting never hurts the job.** No call fails or waits for a server, and memory is bounded; an
//! [`inc`](Job::inc) is one relaxed atomic addition. One background thread, which works the same for sync and
//! async programs, sends the jobs' states: at once when a stage or a status changes, otherwise at most five
//! times a second, always including the last one, and every ten seconds as a heartbeat. Updates are absolute:
//! the next one makes up for an outage, and there is no queue, only one state for each job. While the server
//! is down, the thread retries with a jittered backoff. A [`Notice`] reports the outage once, and once when
//! it is over.
//!
//! **The end is delivered.** It is sent until the server acknowledges it, including while the process exits,
//! for at most two seconds. A job whose last handle is dropped without an outcome has failed.
//!
//! **The server** is a Milepost server (`http(s)://…`), or the Redis or Valkey that servers share
//! (`redis://…`): see [`Builder::connect`]. The latter needs the feature `redis`; without it, no async
//! runtime is compiled.
//!
//! The rules are those of `spec/README.md`, sections 2, 10, 13 and 14. [`ProgressReporter`] is the same
//! reporter with the method names of the Python service.

mod artifact;
mod attributes;
mod backoff;
mod builder;
mod cause;
mod counter;
mod encode;
mod environment;
mod http;
mod inbox;
mod invalid_url;
mod job;
mod job_log;
#[cfg(feature = "tracing-layer")]
mod log_layer;
mod notice;
mod outage;
mod outcome;
mod owner;
mod progress_reporter;
mod rate;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod reporter;
mod requested;
mod schedule;
mod sender;
mod server;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod snapshot;
mod stage;
mod tls;
mod track;
mod transport;
mod update;
mod watch_token;
mod wrap;

pub use artifact::Artifact;
pub use builder::Builder;
pub use cause::Cause;
pub use environment::misspelt_variable;
pub use invalid_url::InvalidUrl;
pub use job::Job;
#[cfg(feature = "tracing-layer")]
pub use log_layer::LogLayer;
pub use milepost_protocol::{Action, InvalidJobId, JobId};
pub use notice::Notice;
pub use progress_reporter::ProgressReporter;
pub use reporter::Reporter;
pub use requested::Requested;
pub use stage::Stage;
#[doc(hidden)]
pub use tls::{connection_problem, speaks_https, tls_config};
pub use track::{Track, TrackStream};
pub use watch_token::{NoToken, watch_token};
pub use wrap::{WrapRead, WrapWrite};
