//! Operating: health, metrics, and the documents that describe the interface.

pub(crate) mod documents;
pub(crate) mod health;
pub(crate) mod metrics;
