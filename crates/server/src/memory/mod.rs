//! The process' memory budget: `memory_limit`, divided into shares, each with its use, its refusals and a metric.
//!
//! All memory that clients can make grow is taken from a share first. A request that does not fit is rejected, and the
//! server continues.

mod limit;
mod pressure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use milepost_protocol::ProblemType;

use crate::response::problem::{Outcome, Refused};

pub(crate) use limit::detect;
pub use pressure::ProcessMemory;
pub(crate) use pressure::watch;

/// The memory of a topic without a state, with its subscription and its entries in tables and queues.
pub(crate) const TOPIC_BYTES: usize = 1_024;

/// The budget of this process. The shares leave almost a quarter for the runtime, sockets and the allocator, even if logs exceed theirs
/// by as much as they may.
#[derive(Debug)]
pub(crate) struct Budget {
    /// How much resident memory the process should stay under, in bytes.
    pub(crate) limit: usize,
    /// For the embedded broker's states. The broker counts them itself.
    pub(crate) states: usize,
    /// For watched jobs, those with watchers and those that linger. The hub counts them itself.
    pub(crate) subscriptions: usize,
    /// For the logs of watched jobs. The hub counts them itself.
    pub(crate) logs: usize,
    /// For the jobs that this instance has reported to Redis lately. The client counts them itself.
    pub(crate) reported: usize,
    /// For job logs. The embedded broker counts them itself.
    pub(crate) job_logs: usize,
    /// For the bodies of requests while they are read and parsed.
    pub(crate) bodies: Arc<Share>,
    /// For responses that are not sent yet.
    pub(crate) responses: Arc<Share>,
}

/// The memory that one kind of data may use.
#[derive(Debug)]
pub(crate) struct Share {
    name: &'static str,
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

/// A part of a share, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    share: Arc<Share>,
    bytes: usize,
}

impl Budget {
    /// Divides `limit` bytes; a body of `max_body` bytes fits in any case. With `shared_states`, another process keeps
    /// the states, and logs get their share: the hub's copy of a state is the only one here.
    pub(crate) fn new(limit: usize, max_body: usize, shared_states: bool) -> Self {
        let part = |sixty_fourths: usize| limit / 64 * sixty_fourths;
        let states = if shared_states { 0 } else { Self::states_of(limit) };
        let (logs, job_logs, reported) = if shared_states { (20, 0, 4) } else { (4, 2, 0) };
        Self {
            limit,
            states,
            subscriptions: part(6),
            logs: part(logs),
            reported: part(reported),
            job_logs: part(job_logs),
            bodies: Share::new("bodies", part(8).max(max_body.saturating_mul(3))),
            responses: Share::new("responses", part(4)),
        }
    }

    /// What the embedded broker's states may use.
    pub(crate) fn states_of(limit: usize) -> usize {
        limit / 8 * 3
    }

    /// The shares that are counted here.
    pub(crate) fn shares(&self) -> [&Share; 2] {
        [&self.bodies, &self.responses]
    }
}

impl Share {
    pub(crate) fn new(name: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Self { name, limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    /// Takes `bytes` from the share.
    ///
    /// # Errors
    /// `server-full` if they do not fit.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Outcome<Held> {
        let mut held = self.nothing();
        held.grow_to(bytes)?;
        Ok(held)
    }

    /// Holds nothing yet.
    pub(crate) fn nothing(self: &Arc<Self>) -> Held {
        Held { share: Arc::clone(self), bytes: 0 }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Grows to hold at least `bytes`.
    ///
    /// # Errors
    /// `server-full` if they do not fit. The part then stays as it was.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Outcome<()> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let Share { name, limit, used, refused } = &*self.share;
        let within = |used: usize| used.checked_add(more).filter(|used| used <= limit);
        if used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
            let detail = format!("the memory for {name} is used up: {limit} bytes");
            return Err(Refused::new(ProblemType::ServerFull, detail));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Shrinks to hold at most `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.share.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_holds_its_limit_and_not_a_byte_more() {
        let share = Share::new("bodies", 100);
        let mut first = share.take(60).ok().expect("room");
        assert!(share.take(41).is_err());
        let second = share.take(40).ok().expect("room");
        assert!(first.grow_to(61).is_err());
        assert_eq!((share.used(), share.refused()), (100, 2));
        drop(second);
        assert!(first.grow_to(100).is_ok());
        first.shrink_to(10);
        assert_eq!(share.used(), 10);
        drop(first);
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn the_shares_leave_room_for_the_rest() {
        for shared_states in [false, true] {
            let budget = Budget::new(256 << 20, 8 << 20, shared_states);
            let shares: usize = budget.shares().iter().map(|share| share.limit()).sum();
            // Logs may exceed their share by a quarter before watchers are shed.
            let logs = budget.logs / 4 * 5;
            let all = budget.states
                + budget.subscriptions
                + logs
                + budget.job_logs
                + budget.reported
                + shares;
            // The runtime, the sockets, the heads of requests and the allocator take the rest, almost a quarter.
            assert!(all <= budget.limit / 64 * 49, "{all}");
        }
    }
}
