use std::num::NonZeroUsize;
use std::time::Duration;

/// How long, and how much of, a job is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long after an update, unless the update has a `ttl`.
    pub ttl: Duration,
    /// How long after its end, unless an update had a `ttl`.
    pub ttl_after_end: Duration,
    /// The most states in its history, the present one included.
    pub history: NonZeroUsize,
    /// The most bytes in its history. The present state is kept whatever its size.
    pub history_bytes: usize,
    /// The largest update of a legacy worker, in bytes.
    pub max_update_bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            ttl: hour,
            ttl_after_end: hour,
            history: NonZeroUsize::MIN.saturating_add(31),
            history_bytes: 64 << 10,
            max_update_bytes: milepost_protocol::MAX_UPDATE_BYTES,
        }
    }
}
