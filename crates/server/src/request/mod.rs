//! What a request carries: its body and its parameters.

pub(crate) mod body;
pub(crate) mod parameter;
