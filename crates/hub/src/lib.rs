//! Which watchers watch which job, and what each of them has seen.
//!
//! Each watched job has a [`Topic`], whose log holds its latest states. A watcher is a cursor into
//! that log: no queue and no copy for each watcher, so a slow one costs nothing but its own freshness.
//!
//! Watchers are divided among shards. Each [`Shard`] belongs to one task, which owns its watchers and
//! writes to them itself; a topic tells the shards that watch it through their [`Mailbox`]es. What watches
//! by other means (an HTTP response, a test) holds a [`Watch`].
//!
//! No I/O here: what a shard writes to is a [`Wire`], and the time is passed in.

mod hub;
mod idle;
mod lease;
mod log;
mod mailbox;
mod pace;
mod ping;
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
pub use topic::{Topic, TopicMailbox};
pub use watch::Watch;
pub use watcher::{Gone, Subscribe, WatcherKey, Wire};
