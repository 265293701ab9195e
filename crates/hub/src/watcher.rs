use std::io;

use milepost_protocol::{JobId, Position, State, Timestamp};
use smallvec::SmallVec;

use crate::log::Mode;

/// What a shard writes to: a connection that does not block.
pub trait Wire {
    /// Writes what it can take now.
    ///
    /// # Errors
    /// `WouldBlock` when that is nothing; [`writable`](crate::Shard::writable) is to be called when it can again. Any other
    /// error is the end of the connection.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Appends a state in this wire's framing.
    fn frame(state: &State, out: &mut Vec<u8>);

    /// Appends a keepalive in this wire's framing; `job` is there on a wire that watches one job.
    fn ping(job: Option<&JobId>, now: Timestamp, out: &mut Vec<u8>);
}

/// A watcher of a [`Shard`](crate::Shard), until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatcherKey(pub usize);

/// How a watcher wants to be shown a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscribe {
    /// The position that it has seen; none: begin with the present state.
    pub since: Option<Position>,
    /// Every state, or only the newest at each moment.
    pub mode: Mode,
    /// At most so many updates a second, ends not counted.
    pub max_rate: Option<f64>,
    /// Whether the watcher is finished after the job's end.
    pub close_at_end: bool,
}

/// Why a watcher is to be removed.
#[derive(Debug)]
pub enum Gone {
    /// Its connection failed.
    Failed(io::Error),
    /// It asked to be closed at the job's end, and has got it.
    Finished,
}

/// A watcher, as its shard has it.
pub(crate) struct Watcher<W> {
    pub(crate) wire: W,
    pub(crate) subscriptions: SmallVec<[u32; 2]>,
    /// The rest of a frame that was begun, and control frames behind it. Boxed: few have any.
    #[expect(clippy::box_collection, reason = "8 bytes for each watcher instead of 24")]
    pub(crate) unsent: Option<Box<Vec<u8>>>,
    /// The wire takes nothing now.
    pub(crate) blocked: bool,
    pub(crate) many: bool,
    pub(crate) leaving: Leaving,
    pub(crate) sent_tick: u32,
    pub(crate) due_tick: u32,
}

/// Whether a watcher is to be removed. Told once, in [`take_gone`](crate::Shard::take_gone).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It stays.
    No,
    /// Once the rest of the end's frame is written.
    OnceWritten,
    /// It has all that it wanted.
    Finished,
    /// Its connection failed.
    Failed,
}

impl<W> Watcher<W> {
    /// Whether it can be shown a state now.
    pub(crate) fn takes(&self) -> bool {
        !self.blocked && self.leaving == Leaving::No
    }

    /// Keeps what its wire did not take; returns how much that is by now.
    pub(crate) fn keep(&mut self, rest: &[u8]) -> usize {
        if !rest.is_empty() {
            self.unsent.get_or_insert_default().extend_from_slice(rest);
        }
        self.unsent.as_ref().map_or(0, |unsent| unsent.len())
    }

    pub(crate) fn fail(
        &mut self,
        key: WatcherKey,
        error: io::Error,
        gone: &mut Vec<(WatcherKey, Gone)>,
    ) {
        self.blocked = true;
        if std::mem::replace(&mut self.leaving, Leaving::Failed) != Leaving::Failed {
            gone.push((key, Gone::Failed(error)));
        }
    }

    /// It has been sent the end that it waited for, all or the beginning of its frame.
    pub(crate) fn finish(&mut self, key: WatcherKey, gone: &mut Vec<(WatcherKey, Gone)>) {
        self.leaving = if self.unsent.is_none() {
            gone.push((key, Gone::Finished));
            Leaving::Finished
        } else {
            Leaving::OnceWritten
        };
    }
}

/// Writes as much as the wire takes; `WouldBlock` is nothing.
pub(crate) fn write<W: Wire>(wire: &mut W, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match wire.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
