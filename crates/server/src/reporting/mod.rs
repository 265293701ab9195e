//! What workers send.

mod batch;
pub(crate) mod update;
