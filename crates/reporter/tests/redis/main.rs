//! A worker that reports straight to Redis: real servers, and what may befall them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fault in here fails the test")]

mod bench;
mod faults;
mod readers;
mod topologies;
