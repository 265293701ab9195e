//! What a request carries: its body, its parameters and its headers.

pub(crate) mod body;
pub(crate) mod headers;
pub(crate) mod id;
pub(crate) mod parameter;
