use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::accuracy::Accuracy;
use crate::limits::connections::Counted;

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
    /// How far estimates were from the ends of attempts.
    pub(crate) accuracy: Accuracy,
    /// Updates refused.
    pub(crate) refusals: AtomicU64,
    /// Requests without a valid credential.
    pub(crate) unauthenticated: AtomicU64,
    /// Requests whose credential does not allow them.
    pub(crate) forbidden: AtomicU64,
    /// Connections refused because the server has as many as it may.
    pub(crate) full: AtomicU64,
    /// Subscriptions refused because their socket has, or begins, too many.
    pub(crate) subscriptions_refused: AtomicU64,
    /// New tokens refused unchecked because their socket sends too many.
    pub(crate) tokens_refused: AtomicU64,
    /// Requests refused because they are too large.
    pub(crate) too_large: AtomicU64,
    pub(crate) timeouts: Timeouts,
    /// Faults on the server's side.
    pub(crate) errors: AtomicU64,
    /// Sockets open, watchers or not.
    pub(crate) sockets: AtomicUsize,
}

/// Clients that were too slow, by what they were slow with.
#[derive(Default)]
pub(crate) struct Timeouts {
    /// The beginning of a connection, or a request's header. Also connections that stood idle.
    pub(crate) header: AtomicU64,
    /// A request's body.
    pub(crate) body: AtomicU64,
    /// A message on a WebSocket.
    pub(crate) message: AtomicU64,
    /// Reading a response.
    pub(crate) response: AtomicU64,
}

impl Timeouts {
    /// By name, for `/metrics`.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 4] {
        [
            ("header", &self.header),
            ("body", &self.body),
            ("message", &self.message),
            ("response", &self.response),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
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
