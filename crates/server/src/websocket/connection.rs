use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use milepost_hub::{Notice, Wire};
use milepost_protocol::{JobId, State, Timestamp};
use socket2::Socket;

use super::inbound::Reader;
use super::log_subscription::LogSubscription;
use super::session::Session;
use super::{frame, message};
use crate::counters::WatchingSocket;
use crate::response::problem::notice_problem;

/// A watcher's socket and its state in the shard.
pub(super) struct Connection {
    /// Does not block.
    pub(super) stream: Socket,
    /// The handshake's request id, if it is to be logged.
    pub(super) id: Option<Box<str>>,
    pub(super) reader: Reader,
    pub(super) phase: Phase,
    pub(super) unread: Unread,
    /// The kernel has reported that the client closed its side, or both.
    pub(super) is_read_closed: bool,
    /// Present on a socket for many jobs.
    pub(super) many: Option<Box<Many>>,
    /// Present if credentials are required.
    pub(super) session: Option<Box<Session>>,
    /// Distinguishes this connection from earlier ones with the same key.
    pub(super) serial: u64,
    #[expect(dead_code, reason = "counts the watcher and its socket until it is dropped")]
    pub(super) watching: WatchingSocket,
}

/// Whether the connection is open or closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// A close frame was sent, or is buffered. Bytes from the client are discarded, at most `allowance` more.
    Closing {
        allowance: u32,
    },
}

/// Whether the socket may have bytes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The kernel has not reported any.
    Nothing,
    /// It has, and will be read in its turn.
    Queued,
    /// It has, and will be read once the client has read what is buffered for it.
    Parked,
}

/// Subscriptions of a socket for many jobs that are not attached yet, and those to logs.
#[derive(Default)]
pub(super) struct Many {
    /// By job, with a number that distinguishes the request from earlier ones for the same job.
    pub(super) pending: HashMap<JobId, u64>,
    pub(super) logs: HashMap<JobId, LogSubscription>,
    pub(super) requests: u64,
    /// When the present window began, in the clock's `elapsed`, and how many requests were made before it.
    pub(super) window: (Duration, u64),
}

impl Wire for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn frame(state: &State, out: &mut Vec<u8>) {
        frame::text(state.json(), out);
    }

    fn ping(job: Option<&JobId>, now: Timestamp, out: &mut Vec<u8>) {
        frame::text(&message::ping(job, now), out);
    }

    fn notice(notice: Notice, job: &JobId, now: Timestamp, out: &mut Vec<u8>) {
        let (problem, detail) = notice_problem(notice);
        frame::text(&message::error(problem.name(), detail, Some(job.as_str()), false, now), out);
    }
}
