//! Milepost over HTTP: WebSocket, server-sent events, polling, reports, health and metrics.
//!
//! [`run`] is all there is to call: the binary does, and so do tests. The routes are on one screen in
//! `router`; one file for each transport. WebSockets leave HTTP after the handshake and belong to the
//! hub's shards from then on (`websocket`).

mod accept;
mod body;
mod config;
mod corked;
mod drain;
mod events;
mod health;
mod instance;
mod jobs;
mod listen;
mod listing;
mod metrics;
mod openapi;
mod origin;
mod page;
mod parameter;
mod problem;
mod report;
mod router;
mod server;
mod watchers;
pub mod websocket;

pub use config::{Config, ConfigError, RedisUrl};
pub use listen::listen;
pub use server::{RunError, run};
