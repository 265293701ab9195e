//! A real server, and clients of it over real sockets. One file for each subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod agreement;
mod attacks;
mod codec;
mod conformance;
mod connections;
mod credentials;
mod events;
mod forgotten;
mod frames;
mod handshake;
mod job_logs;
mod limits;
mod listing;
mod logging;
mod memory;
mod operating;
mod operators;
mod pages;
mod patterns;
mod polling;
mod proxy_protocol;
mod reporting;
mod shutdown;
mod slow_watchers;
mod subscribing;
mod tls;
mod token_function;
mod unix_socket;
mod unreadable;
mod views;
mod watching;
