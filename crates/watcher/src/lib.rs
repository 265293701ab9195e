//! Watches jobs on a Milepost server, across lost connections and restarts.
//!
//! ```no_run
//! use milepost_watcher::{Connection, Event, Watcher};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let watcher = Watcher::new("http://localhost:8084")?.close_at_end(true);
//! let mut watch = watcher.watch("render-7".parse()?);
//! while let Some(event) = watch.next().await {
//!     match event {
//!         Event::State(state) => println!("{}", state.json()),
//!         Event::Connection(Connection::Lost { reason, retry_in }) => {
//!             eprintln!("{reason}; again in {retry_in:?}");
//!         }
//!         Event::Connection(Connection::Rejected(refusal)) => return Err(refusal.into()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The rules are in `spec/README.md`, sections 4 to 7. The crate adds:
//!
//! - The state of the connection is reported apart from the states of the jobs: see [`Connection`].
//! - After a lost connection it resumes at the last state that it saw. It never yields a state twice, nor an
//!   older one after a newer one of the same epoch.
//! - A connection on which nothing arrives is replaced: see [`Watcher::silence`].
//! - A token may be a function, which is asked again before the token expires: see [`Watcher::token_from`].
//! - A caller that is slower than the job skips to its newest state; it never misses an end. What waits for
//!   the caller is bounded: see [`Watch::next`].
//!
//! `session` decides and does no I/O; `watch` gives it a socket, a clock and random numbers.

mod address;
mod backoff;
mod cursor;
mod event;
mod exchange;
mod link;
mod mailbox;
mod message;
mod options;
mod session;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod socket;
mod token;
mod watch;
mod watcher;

pub use address::InvalidUrl;
pub use event::{Connection, ConnectionError, Event, Rejection};
pub use mailbox::MAX_ENDS;
pub use options::Mode;
pub use watch::{MAX_JOBS, TooManyJobs, Watch, Watches};
pub use watcher::Watcher;
