use milepost_hub::WatcherKey;
use milepost_protocol::{JobId, Position};
use tokio::task::AbortHandle;

/// A subscription to a job's log.
pub(super) struct LogSubscription {
    /// Distinguishes it from earlier ones of the same socket to the same log.
    pub(super) request: u64,
    /// The last line that was sent.
    pub(super) after: Option<Position>,
    /// When the next part is read.
    pub(super) until: Until,
    /// Waits for the next part, and ends with the subscription.
    pub(super) waiting: Option<Waiting>,
}

/// A task that waits. It ends with this value.
pub(super) struct Waiting(pub(super) AbortHandle);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The next part of a log that a socket waits for.
pub(super) struct LogWait {
    pub(super) key: WatcherKey,
    pub(super) serial: u64,
    pub(super) request: u64,
    pub(super) job: JobId,
    pub(super) after: Option<Position>,
    pub(super) until: Until,
    /// Whether the socket was blocked. It is checked again before the log is read.
    pub(super) is_blocked: bool,
    /// Whether it depends on the job's state if the connection may watch it.
    pub(super) is_undecided: bool,
}

/// When to read.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// At once, and the part is sent even if it has no lines.
    Begun,
    /// Once there are lines.
    Grown,
}
