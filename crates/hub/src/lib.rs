//! Delivers the states of jobs to watchers: which watcher watches which job, and what each has been sent.
//!
//! Each watched job has a [`Topic`], whose log holds its latest states. A watcher is a cursor into that log. There is no
//! queue and no copy for each watcher, so a slow one delays only itself.
//!
//! Watchers are divided among shards. A [`Shard`] owns its watchers and writes to them; a topic notifies the shards that
//! watch it through their [`Mailbox`]es. A watcher that is not a socket of a shard (an HTTP response, a test) holds a
//! [`Watch`].
//!
//! No I/O here: a shard writes to a [`Wire`], and the time is passed in.

mod batch;
mod hub;
mod idle;
mod lease;
mod log;
mod mailbox;
mod pace;
mod ping;
mod public;
mod rate;
mod render;
mod shard;
mod sync;
mod topic;
mod watch;
mod watcher;

pub use hub::{Hub, HubLimits};
pub use lease::Lease;
pub use log::{LogLimits, Mode};
pub use mailbox::Mailbox;
pub use shard::Shard;
pub use topic::{Notice, Topic, TopicMailbox};
pub use watch::{Watch, WatchError};
pub use watcher::{CloseReason, Subscribe, WatcherKey, Wire};
