//! What a watcher does when, for Milepost's own simulation: no sockets, and time and random numbers are passed in.

use std::time::Instant;

use milepost_protocol::JobId;

use crate::event::{ConnectionError, Event};
use crate::options::{Mode, Options};
use crate::session::{self, Endpoint, Output};

/// The session of a watcher of one job.
pub struct Session(session::Session);

/// What the caller has to do.
#[derive(Debug)]
pub enum Step {
    /// Open a socket at this path.
    Connect(String),
    /// Send this text.
    Send(String),
    /// Drop the socket.
    Disconnect,
    /// Tell this to the program that watches.
    Emit(Event),
}

impl Session {
    /// A watcher of `job` that has seen nothing yet.
    pub fn new(job: JobId, mode: Mode, now: Instant) -> Self {
        let options = Options { mode, ..Options::default() };
        Self(session::Session::new(Endpoint::One(job), options, None, now))
    }

    /// What to do next; none until something happens or the [deadline](Self::deadline) passes.
    pub fn poll(&mut self) -> Option<Step> {
        loop {
            return Some(match self.0.poll()? {
                Output::Connect(path) => Step::Connect(path),
                Output::Send(text) => Step::Send(text),
                Output::Disconnect => Step::Disconnect,
                Output::Emit(event) => Step::Emit(event),
                // There are no tokens in the simulation.
                Output::Renew => continue,
            });
        }
    }

    /// When to call [`on_deadline`](Self::on_deadline), unless something happens earlier.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// The deadline has passed. `draw` is random, from 0 to 1.
    pub fn on_deadline(&mut self, now: Instant, draw: f64) {
        self.0.on_deadline(now, draw);
    }

    /// The socket is open.
    pub fn on_open(&mut self) {
        self.0.on_open();
    }

    /// A text message arrived.
    pub fn on_text(&mut self, text: &str, now: Instant) {
        self.0.on_text(text, now);
    }

    /// The server closed the socket.
    pub fn on_close(&mut self, code: u16, now: Instant, draw: f64) {
        self.0.on_close(Some(code), "", now, draw);
    }

    /// The connection broke, or could not be made.
    pub fn on_lost(&mut self, now: Instant, draw: f64) {
        self.0.on_lost(ConnectionError::Closed { code: None, reason: String::new() }, now, draw);
    }
}
