//! What a worker links to report how far its job is.
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
//! Whoever watches `video-42` on that server sees the bar move. Without `MILEPOST_URL` the same program
//! does the same and reports nothing.
//!
//! **Reporting never hurts the job.** No call fails, waits for a server, or makes memory grow beyond a
//! bound; an [`inc`](Job::inc) is one relaxed atomic addition. One background thread (so sync and async
//! programs are the same to it) sends the jobs' states: at once when a stage or a status changes, otherwise
//! at most five times a second, the last one always, and every ten seconds as a sign of life. What is sent
//! is how things are, not what changed: an outage heals with the next update, and there is no queue, only
//! one state for each job. While the server is away, the thread tries again with a jittered backoff; a
//! [`Notice`] tells of it once, and once more when it is over.
//!
//! **The end is told.** It is tried until the server has it, also while the process exits, at most for two
//! seconds. A job whose last handle is dropped without an outcome has failed.
//!
//! **Where to** is `http(s)://…` of a Milepost server, or `redis://…` of the Redis or Valkey that servers share:
//! [`Builder::connect`] has the forms. The latter needs the feature `redis`; without it no async runtime is compiled.
//!
//! The rules are those of `spec/README.md`, sections 2, 10, 13 and 14. [`ProgressReporter`] is the same under the
//! names of the service before Milepost.

mod backoff;
mod builder;
mod counter;
mod encode;
mod environment;
mod http;
mod inbox;
mod job;
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
mod track;
mod transport;
mod update;
mod wrap;

pub use builder::Builder;
pub use environment::misspelt_variable;
pub use job::Job;
pub use milepost_protocol::{Action, InvalidJobId, JobId};
pub use notice::Notice;
pub use progress_reporter::ProgressReporter;
pub use reporter::Reporter;
pub use requested::Requested;
pub use server::InvalidUrl;
pub use track::{Track, TrackStream};
pub use wrap::{WrapRead, WrapWrite};
