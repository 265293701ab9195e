//! WebSocket: `spec/README.md`, sections 5 to 7, on top of RFC 6455.
//!
//! The handshake is HTTP ([`handshake`]). After it, the bare socket goes to a shard ([`reactor`]; with TLS through a
//! [`relay`]), which reads its frames ([`inbound`], [`command`]) and writes what the hub's shard sends
//! ([`connection`]).

mod command;
mod connection;
#[cfg(test)]
mod described;
pub mod frame;
pub(crate) mod handshake;
pub mod inbound;
mod log_subscription;
pub(crate) mod message;
mod reactor;
mod relay;
mod session;
mod upgrade;

pub(crate) use handshake::admit;
pub(crate) use reactor::{Context, ShardHandle, shard};
pub(crate) use upgrade::{Proxied, Upgrade, Upgraded};
