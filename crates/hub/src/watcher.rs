use std::io;

use milepost_protocol::{JobId, Position, State, Timestamp, View};
use smallvec::SmallVec;

use crate::log::Mode;
use crate::topic::Notice;

/// A connection that a shard writes to without blocking.
pub trait Wire {
    /// Writes as many bytes as the connection accepts now.
    ///
    /// # Errors
    /// `WouldBlock` when it accepts none; its owner calls [`writable`](crate::Shard::writable) once it accepts some again.
    /// Any other error ends the connection.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Appends a state in this wire's framing.
    fn frame(state: &State, out: &mut Vec<u8>);

    /// Appends a keepalive in this wire's framing. `job` is given if the wire watches only one.
    fn ping(job: Option<&JobId>, now: Timestamp, out: &mut Vec<u8>);

    /// Appends a notice about the job in this wire's framing.
    fn notice(notice: Notice, job: &JobId, now: Timestamp, out: &mut Vec<u8>);
}

/// Names a watcher of a [`Shard`](crate::Shard) until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatcherKey(pub usize);

/// The options of a watcher's subscription to a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscribe {
    /// The newest position that it has seen; without one it starts with the present state.
    pub since: Option<Position>,
    /// Every state, or only the newest at each moment.
    pub mode: Mode,
    /// The most updates per second, not counting ends.
    pub max_rate: Option<f64>,
    /// Whether to close the connection after the job's end.
    pub close_at_end: bool,
    /// How much of each state it is shown.
    pub view: View,
    /// Whether it was told that the job is known. If the job is forgotten by now, it is notified of that.
    pub expects_known: bool,
}

/// Why a watcher has to be removed.
#[derive(Debug)]
pub enum CloseReason {
    /// Its connection failed.
    Failed(io::Error),
    /// It asked to be closed at the job's end, and has been sent the end.
    Finished,
    /// There is no memory for the states of a job that it watches. It may reconnect later.
    Shed,
}

/// A shard's record of a watcher.
pub(crate) struct Watcher<W> {
    pub(crate) wire: W,
    pub(crate) subscriptions: SmallVec<[u32; 2]>,
    /// The remainder of a frame that was written in part, and control frames after it. Boxed: few watchers have any.
    #[expect(clippy::box_collection, reason = "8 bytes for each watcher instead of 24")]
    pub(crate) unsent: Option<Box<Vec<u8>>>,
    /// The wire accepts no bytes now.
    pub(crate) blocked: bool,
    /// Whether it may subscribe to many jobs.
    pub(crate) many: bool,
    pub(crate) phase: Phase,
    /// The ping wheel's tick at which the latest frame was sent.
    pub(crate) sent_tick: u32,
    /// The tick at which the watcher comes up in the ping wheel.
    pub(crate) due_tick: u32,
}

/// Where a watcher is in its life. A closed one is reported once, by [`take_closed`](crate::Shard::take_closed).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It receives states.
    Open,
    /// It will be finished once the remainder of the end's frame is written.
    Flushing,
    /// It has been sent the end that it waited for, or has to leave.
    Finished,
    /// Its connection failed.
    Failed,
}

impl<W> Watcher<W> {
    /// Whether it can be sent a state now.
    pub(crate) fn is_receptive(&self) -> bool {
        !self.blocked && self.phase == Phase::Open
    }

    /// Buffers bytes that its wire did not accept; returns how many are buffered now.
    pub(crate) fn buffer(&mut self, bytes: &[u8]) -> usize {
        if !bytes.is_empty() {
            self.unsent.get_or_insert_default().extend_from_slice(bytes);
        }
        self.unsent.as_ref().map_or(0, |unsent| unsent.len())
    }

    pub(crate) fn fail(
        &mut self,
        key: WatcherKey,
        error: io::Error,
        closed: &mut Vec<(WatcherKey, CloseReason)>,
    ) {
        self.blocked = true;
        if std::mem::replace(&mut self.phase, Phase::Failed) != Phase::Failed {
            closed.push((key, CloseReason::Failed(error)));
        }
    }

    /// One of its jobs' topics was shed.
    pub(crate) fn shed(&mut self, key: WatcherKey, closed: &mut Vec<(WatcherKey, CloseReason)>) {
        if self.phase == Phase::Open {
            self.phase = Phase::Finished;
            closed.push((key, CloseReason::Shed));
        }
    }

    /// The end that it waited for has been sent, perhaps in part.
    pub(crate) fn finish(&mut self, key: WatcherKey, closed: &mut Vec<(WatcherKey, CloseReason)>) {
        self.phase = if self.unsent.is_none() {
            closed.push((key, CloseReason::Finished));
            Phase::Finished
        } else {
            Phase::Flushing
        };
    }
}

/// Writes as much as the wire accepts. `WouldBlock` counts as nothing written.
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
