//! What tasks and threads share a hub through. `tests/wakeups` puts a model checker's in their place.

pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread_local;

pub(crate) use tokio::sync::Notify;
