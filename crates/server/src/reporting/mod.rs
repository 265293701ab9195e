//! What workers send, and what watchers request of them.

mod accepted;
mod batch;
pub(crate) mod direct;
pub(crate) mod job_log;
pub(crate) mod requests;
pub(crate) mod update;
