//! Connections: listening, accepting, and serving HTTP/1.1 and HTTP/2 on each.

pub(crate) mod accept;
pub(crate) mod corked;
mod listen;
mod listener;
mod opening;
pub(crate) mod operators;
pub mod proxy_header;
pub(crate) mod serve;
mod stall;
pub(crate) mod stream;
pub(crate) mod tls;

pub use listen::listen;
pub use listener::Listener;
