//! Real Redis servers for tests, and a network to them that breaks.
//!
//! - [`Server`]: one `redis-server` with [`Options`]: password, memory limit, persistence, TLS. It can be killed, frozen and
//!   restarted, with its data or without.
//! - [`Sentinels`]: a primary, its replicas, and three Sentinels that watch over them.
//! - [`Cluster`]: three primaries, each with as many replicas as asked for.
//! - [`Process`]: any other program that ends with the test.
//! - [`hostile_command`]: what no worker writes, under one job's names.
//! - [`Proxy`]: a network between a client and a server, which delays, holds, cuts and refuses connections.
//!
//! Everything listens on free ports of 127.0.0.1, keeps its files in a temporary folder, and ends when its value is dropped, or
//! when the test's process is killed. `redis-server` has to be installed: `cargo xtask setup`.
//!
//! This is for tests: failures panic, with a message and the server's log. Only a command that a server refuses or does not
//! answer is an [`Error`], because many tests are about that.

mod certificates;
mod client;
mod cluster;
mod hostile;
mod options;
mod port;
mod process;
mod proxy;
mod sentinels;
mod server;

pub use certificates::Certificates;
pub use client::{Error, Reply};
pub use cluster::Cluster;
pub use hostile::hostile_command;
pub use options::{Options, Persistence};
pub use port::free_port;
pub use process::Process;
pub use proxy::{Proxy, Traffic, Way};
pub use rustix::process::Signal;
pub use sentinels::Sentinels;
pub use server::{Data, PROGRAM_VARIABLE, Server};

use std::time::{Duration, Instant};

/// Anything that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` returns something. Panics with `what` in the message if that takes more than 60 s.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
