//! What workers send.

pub(crate) mod update;
