//! What a request carries: its body, its parameters, and the page that sent it.

pub(crate) mod body;
pub(crate) mod origin;
pub(crate) mod parameter;
