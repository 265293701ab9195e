//! Connections: listening, accepting, and serving HTTP/1.1 and HTTP/2 on each.

pub(crate) mod accept;
pub(crate) mod corked;
mod listen;
pub(crate) mod serve;
mod stall;

pub use listen::listen;
