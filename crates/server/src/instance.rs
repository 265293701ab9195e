use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::{HeaderValue, Version};
use milepost_broker::{Broker, Clock, JobLogs};
use milepost_hub::Hub;
use milepost_protocol::{ProblemType, Timestamp};
use tokio_util::task::TaskTracker;

use crate::access::{Audit, Gate, Grant, Granted, Hosts, Origins};
use crate::config::Config;
use crate::connection::tls::Tls;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::limits::connections::{Counted, TooMany};
use crate::memory::Budget;
use crate::response::problem::{Outcome, Refused};
use crate::supervisor::Supervisor;
use crate::websocket::ShardHandle;

/// What the requests of one running server share.
pub(crate) struct Instance {
    pub(crate) config: Config,
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    /// Checks credentials; none if the server has no credentials.
    pub(crate) gate: Option<Arc<Gate>>,
    /// None if clients are served without TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The header `Strict-Transport-Security` of responses over TLS.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) audit: Audit,
    pub(crate) broker: Arc<dyn Broker>,
    /// The broker again, as the keeper of job logs.
    pub(crate) logs: Arc<dyn JobLogs>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shards: Box<[ShardHandle]>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) memory: Budget,
    /// The most connections. Each HTTP/2 stream that watches counts as one.
    pub(crate) max_connections: usize,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) supervisor: Supervisor,
    pub(crate) dropped_log_lines: DroppedLogLines,
    pub(crate) started: Timestamp,
    /// Owns the tasks that requests begin: connections, upgrades.
    pub(crate) tasks: TaskTracker,
    /// How many watchers were given a shard.
    pub(crate) next_shard: AtomicUsize,
}

/// Returns how many log lines were dropped since the start.
pub type DroppedLogLines = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the server counts: `GET /ws/stats` and `GET /metrics`.
#[derive(Default)]
pub(crate) struct Counters {
    /// Watchers since start.
    pub(crate) total_connections: AtomicU64,
    /// Watchers now.
    pub(crate) active_connections: AtomicUsize,
    /// Frames and events sent to watchers.
    pub(crate) messages_sent: AtomicU64,
    /// Updates accepted.
    pub(crate) updates: AtomicU64,
    /// Updates refused.
    pub(crate) refusals: AtomicU64,
    /// Requests without a valid credential.
    pub(crate) unauthenticated: AtomicU64,
    /// Requests whose credential does not allow them.
    pub(crate) forbidden: AtomicU64,
    /// Faults on the server's side.
    pub(crate) errors: AtomicU64,
    /// Sockets open, watchers or not.
    pub(crate) sockets: AtomicUsize,
}

impl Instance {
    /// Does `work`, which does not wait, and then serves the watchers of the jobs that it reported, on this thread if
    /// that is little.
    pub(crate) fn batch<R>(&self, work: impl FnOnce() -> R) -> R {
        self.hub.batch(work, |shard| self.shards[shard].serve_in_place())
    }

    /// Counts a watcher's stream as a connection, because an HTTP/2 connection has many streams.
    ///
    /// # Errors
    /// `too-many-connections` if there are as many as allowed.
    pub(crate) fn count_stream(&self, version: Version) -> Outcome<Option<OpenSocket>> {
        if version != Version::HTTP_2 {
            return Ok(None);
        }
        let open = OpenSocket::new(&self.counters, self.max_connections);
        open.map(Some).ok_or_else(|| {
            let detail = format!("the server holds {} connections", self.max_connections);
            Refused::new(ProblemType::TooManyConnections, detail)
        })
    }

    /// Counts a WebSocket or an event stream that a credential begins.
    ///
    /// # Errors
    /// `too-many-requests` if its subject does so too often, or has as many as it may.
    pub(crate) fn count_subject(
        &self,
        granted: Option<&Arc<Granted>>,
    ) -> Outcome<Option<Arc<Counted<Arc<str>>>>> {
        let Some(subject) = granted.and_then(|granted| granted.subject()) else { return Ok(None) };
        self.limits.handshake_by(subject, self.clock.elapsed())?;
        self.limits.subjects.count(subject.into()).map_err(|TooMany(max)| {
            let detail = format!("a credential may have {max} connections at a time");
            Refused::new(ProblemType::TooManyRequests, detail)
        })
    }

    /// Whether responses may name other hosts and their errors; not if other machines reach the server without
    /// credentials.
    pub(crate) fn shows_details(&self, grant: &Grant) -> bool {
        !self.config.insecure && grant.may_operate()
    }

    /// The shard that the next watcher goes to: each in turn.
    pub(crate) fn next_shard(&self) -> &ShardHandle {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.shards[next % self.shards.len()]
    }
}

/// Counts a watcher until it is dropped.
pub(crate) struct Watching(Arc<Counters>);

impl Watching {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        count_watcher(counters);
        Self(Arc::clone(counters))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.active_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a socket until it is dropped.
pub(crate) struct OpenSocket {
    counters: Arc<Counters>,
    address: Option<Arc<Counted<IpAddr>>>,
    subject: Option<Arc<Counted<Arc<str>>>>,
}

impl OpenSocket {
    /// None if there are `max` already.
    pub(crate) fn new(counters: &Arc<Counters>, max: usize) -> Option<Self> {
        let sockets = &counters.sockets;
        let within = |open: usize| (open < max).then_some(open + 1);
        sockets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok()?;
        Some(Self { counters: Arc::clone(counters), address: None, subject: None })
    }

    /// The same, counted for its address as well.
    pub(crate) fn of(mut self, address: Option<Arc<Counted<IpAddr>>>) -> Self {
        if address.is_some() {
            self.address = address;
        }
        self
    }

    /// The same, counted for its subject as well.
    pub(crate) fn by(mut self, subject: Option<Arc<Counted<Arc<str>>>>) -> Self {
        self.subject = subject;
        self
    }
}

impl Clone for OpenSocket {
    /// The same socket for another owner. It is counted twice for a moment.
    fn clone(&self) -> Self {
        self.counters.sockets.fetch_add(1, Ordering::Relaxed);
        let (address, subject) = (self.address.clone(), self.subject.clone());
        Self { counters: Arc::clone(&self.counters), address, subject }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.counters.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Both: a watcher with a socket of its own.
pub(crate) struct WatchingSocket(OpenSocket);

impl WatchingSocket {
    pub(crate) fn new(open: OpenSocket) -> Self {
        count_watcher(&open.counters);
        Self(open)
    }
}

impl Drop for WatchingSocket {
    fn drop(&mut self) {
        self.0.counters.active_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count_watcher(counters: &Counters) {
    counters.total_connections.fetch_add(1, Ordering::Relaxed);
    counters.active_connections.fetch_add(1, Ordering::Relaxed);
}
