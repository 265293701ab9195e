//! WebSocket: `spec/README.md`, sections 5 to 7, on top of RFC 6455.
//!
//! The handshake is HTTP's ([`handshake`]). After it the bare socket goes to a shard's [`reactor`], a task
//! that owns the sockets of its watchers: it reads what they say ([`inbound`], [`command`]) and writes
//! what the hub's shard has for them ([`connection`]).

mod command;
mod connection;
pub mod frame;
mod handshake;
pub mod inbound;
pub(crate) mod message;
mod reactor;

pub(crate) use handshake::{many_jobs, one_job};
pub(crate) use reactor::{Context, ShardHandle, shard};
