//! Milepost over HTTP: WebSocket, server-sent events, polling, reports, health and metrics.
//!
//! [`run`] is the only entry point, for the binary and for tests. The routes are on one screen in `router`. Handlers
//! are grouped by the clients that they serve: `watching`, `reporting`, `operating`. WebSockets leave HTTP after the
//! handshake and belong to the hub's shards from then on (`websocket`).

mod access;
mod accuracy;
mod card;
mod config;
mod config_error;
mod connection;
mod counters;
mod drain;
mod fingerprint;
mod instance;
mod limits;
mod log_throttle;
mod memory;
mod openapi;
mod operating;
mod operators;
mod pages;
mod reporting;
mod request;
mod response;
mod router;
mod server;
mod supervisor;
mod watching;
pub mod websocket;

pub use access::Secret;
pub use config::{Config, RedisUrl, SocketMode};
pub use config_error::ConfigError;
pub use connection::proxy_header;
pub use connection::{Listener, listen};
pub use counters::DroppedLogLines;
pub use limits::{ClientAddressHeader, TrustedProxies};
pub use memory::ProcessMemory;
pub use server::{Control, RunError, run, run_with};
