use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use milepost_hub::Wire;
use milepost_protocol::{JobId, State, Timestamp};
use mio::net::TcpStream;

use super::inbound::Reader;
use super::{frame, message};
use crate::instance::WatchingSocket;

/// A watcher's socket, as its shard has it.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) reader: Reader,
    pub(super) phase: Phase,
    pub(super) unread: Unread,
    /// The kernel has said that the client closed its half, or both.
    pub(super) is_read_closed: bool,
    /// On a socket for many jobs.
    pub(super) many: Option<Box<Many>>,
    /// Tells this connection from one before under the same key.
    pub(super) serial: u64,
    #[expect(dead_code, reason = "counts the watcher and its socket until it is dropped")]
    pub(super) watching: WatchingSocket,
}

/// How far the connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// A close frame was sent, or waits to be; what the client still says is read and thrown away, at most
    /// so many bytes more.
    Closing {
        patience: u32,
    },
}

/// Whether there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Not that the kernel had said.
    Nothing,
    /// There is, and it will be read in its turn.
    Queued,
    /// There is, and it will be read when the client has read what waits for it.
    Parked,
}

/// What a socket for many jobs has asked for and not got yet.
#[derive(Default)]
pub(super) struct Many {
    /// With a number that tells a request from one before for the same job.
    pub(super) pending: HashMap<JobId, u64>,
    pub(super) requests: u64,
    /// When the present window began, in the clock's `elapsed`, and how many requests had been made until then.
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
}
