//! Wake-ups of shards that a thread puts off until it has finished what it is doing.
//!
//! A connection's task often reports several updates in one poll, of jobs that different shards serve. To wake a shard's
//! task for each of them costs more than the delivery. So while a thread is in a batch, a topic that would wake a shard
//! leaves that to the end of the batch. By then the thread can often serve the shard itself.

use std::cell::Cell;

use crate::sync::thread_local;

/// After this many notifications in one batch, the shards are woken at once, so that a long batch does not delay
/// watchers.
const MAX_NOTIFICATIONS: u32 = 64;

#[derive(Clone, Copy)]
struct Open {
    /// The address of the hub's shared part.
    hub: usize,
    /// The shards to wake at the end, a bit for each.
    owed: u64,
    notifications: u32,
}

thread_local! {
    static OPEN: Cell<Option<Open>> = Cell::default();
}

/// A batch of this thread.
///
/// Invariant: the thread that puts a topic into an empty mailbox wakes its shard, now or at the end of the batch.
/// Others rely on that, so the end comes however the work ends.
pub(crate) struct Batch {
    hub: usize,
    outer: Option<Open>,
}

impl Batch {
    pub(crate) fn begin(hub: usize) -> Self {
        let open = Open { hub, owed: 0, notifications: 0 };
        Self { hub, outer: OPEN.with(|current| current.replace(Some(open))) }
    }

    /// Ends the batch; returns the shards to wake, a bit for each.
    pub(crate) fn end(self) -> u64 {
        let current = OPEN.with(|current| current.replace(self.outer));
        current.filter(|open| open.hub == self.hub).map_or(0, |open| open.owed)
    }
}

/// A topic of `hub` was put into the mailbox of `shard`, which `was_empty`. Returns the shards to wake now, a bit for each.
pub(crate) fn to_wake_now(hub: usize, shard: usize, was_empty: bool) -> u64 {
    let bit = u64::from(was_empty) << shard;
    OPEN.with(|current| {
        let Some(mut open) = current.get().filter(|open| open.hub == hub) else { return bit };
        open.owed |= bit;
        open.notifications += 1;
        let is_over = open.notifications >= MAX_NOTIFICATIONS;
        let now = if is_over { std::mem::take(&mut open.owed) } else { 0 };
        current.set(Some(open));
        now
    })
}

/// The shards of a set of bits.
pub(crate) fn shards(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let shard = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(shard)
    })
}
