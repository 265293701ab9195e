//! Clients that make a server hold as much memory as it lets them, all at once.

mod http2;
mod requests;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::http::Connection;
use crate::stage::Load;

/// How much abuse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Connections that request a list of jobs and read nothing.
    pub(crate) unread: usize,
    /// Connections that send a batch of 8 MiB but for its end.
    pub(crate) bodies: usize,
    /// Streams of one HTTP/2 connection: this many with batches, and as many with unread lists.
    pub(crate) streams: usize,
    /// Unknown jobs that are watched.
    pub(crate) watched: usize,
    /// Watched jobs that end again and again with large results.
    pub(crate) ended: usize,
}

impl Extent {
    const FULL: Self =
        Self { unread: 40, bodies: 150, streams: 64, watched: 1_000_000, ended: 2_000 };
    const QUICK: Self = Self { unread: 40, bodies: 40, streams: 32, watched: 100_000, ended: 500 };

    pub(crate) fn of(load: &Load) -> Self {
        if load.quick { Self::QUICK } else { Self::FULL }
    }

    /// Only the clients that send requests and read no responses.
    pub(crate) fn of_unread_answers(self) -> Self {
        Self { bodies: 0, watched: 0, ended: 0, ..self }
    }
}

/// A message of this many bytes makes a state about as large as allowed.
const LARGE: usize = 60_000;
/// So many jobs are reported before there are lists to read.
pub(crate) const LISTED: usize = 300;

/// Has the server hold something to list. Ends with the last report.
pub(crate) async fn prepare(address: SocketAddr) {
    requests::report_large_jobs(address, LISTED).await;
}

/// Has ever new jobs end with large results until one is refused. False if none is within ten seconds.
pub(crate) async fn end_until_refused(address: SocketAddr) -> bool {
    let refused = timeout(Duration::from_secs(10), requests::end_until_refused(address));
    refused.await.is_ok_and(|answer| answer.is_ok())
}

/// Has jobs end until the server evicts those that ended first: its share of states is full then. The abuse itself takes
/// many minutes to fill it.
///
/// # Errors
/// If it is not full within a minute.
pub(crate) async fn fill_states(address: SocketAddr) -> Result<(), Failure> {
    let filling = async {
        tokio::select! {
            () = requests::end_jobs(address) => {}
            () = until_evicted(address) => {}
        }
    };
    let filled = timeout(Duration::from_secs(60), filling).await;
    filled.map_err(|_| Failure("the share of states is not full after a minute".into()))
}

async fn until_evicted(address: SocketAddr) {
    loop {
        // A busy server may not answer in time.
        let evicted = match metrics(address).await {
            Ok(metrics) => metric(&metrics, "milepost_evicted_jobs_total"),
            Err(_) => None,
        };
        if evicted.is_some_and(|evicted| evicted > 0) {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What the server counts.
pub(crate) async fn metrics(address: SocketAddr) -> io::Result<String> {
    let mut connection = Connection::open(address).await?;
    Ok(connection.get("/metrics").await?.body)
}

/// The metric of that name, labels included.
pub(crate) fn metric(metrics: &str, name: &str) -> Option<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// Starts all kinds of abuse. It ends when `tasks` is dropped.
pub(crate) fn start(tasks: &mut JoinSet<()>, address: SocketAddr, extent: Extent) {
    for _ in 0..extent.unread {
        tasks.spawn(requests::read_nothing(address));
    }
    for _ in 0..extent.bodies {
        tasks.spawn(requests::hold_a_body_back(address));
    }
    tasks.spawn(http2::read_nothing(address, extent.streams));
    if extent.ended == 0 {
        return;
    }
    tasks.spawn(requests::end_jobs(address));
    tasks.spawn(http2::hold_bodies_back(address, extent.streams));
    tasks.spawn(sockets::churn(address));
    for number in 0..4 {
        tasks.spawn(sockets::watch_unknown_jobs(address, number, extent.watched / 4));
    }
    tasks.spawn(sockets::watch_ends(address, extent.ended));
    tasks.spawn(requests::end_watched_jobs(address, extent.ended));
    for _ in 0..extent.bodies {
        tasks.spawn(sockets::hold_a_message_back(address));
        tasks.spawn(requests::hold_a_header_back(address));
    }
}
