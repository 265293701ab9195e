//! One connection to a server of Redis: its channels, and the scripts that run between their messages.

mod socket;

use std::collections::VecDeque;
use std::io;

use milepost_protocol::JobId;
use milepost_redis::{Answer, Call, Names};
use redis_protocol::resp3::types::BytesFrame;

use crate::watched::FoldKey;
pub(crate) use socket::Socket;
use socket::{bytes_of, error_of, text_of};

/// The subscriptions on one connection, and the scripts that run over it.
///
/// Invariant: messages and replies arrive in the order in which Redis sent them. A state that arrives before the reply to a read
/// is part of that reply, and a state that arrives after it is newer.
pub(crate) struct Subscription {
    names: Names,
    socket: Socket,
    /// The commands without a reply so far, oldest first. Bounded: a job has at most one read and one fold in flight.
    unanswered: VecDeque<Sent>,
    /// How many of these commands are reads.
    reads: usize,
}

/// A command in flight.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Subscribes to a job's channel; without a job, to the channel of the probes.
    Subscribe(Option<JobId>),
    Unsubscribe(JobId),
    Read(JobId),
    /// Folds a legacy update that names this attempt.
    Fold(JobId, FoldKey, Option<u32>),
    LoadScript,
}

/// What arrived over the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message on a channel. Its payload need not be text.
    Message { channel: String, payload: Vec<u8> },
    /// A script's reply.
    Answered(Sent, Answer),
    /// An error reply.
    Refused(Sent, String),
}

/// Why a subscription ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The connection is lost, or nothing arrives on it.
    Lost(io::Error),
    /// Slots of the Cluster have moved, so they have to be queried again.
    Moved(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl Subscription {
    /// A new connection without subscriptions.
    pub(crate) fn new(names: Names, socket: Socket) -> Self {
        let mut subscription = Self { names, socket, unanswered: VecDeque::new(), reads: 0 };
        subscription.load_scripts();
        subscription
    }

    /// How many reads are in flight.
    pub(crate) fn reads(&self) -> usize {
        self.reads
    }

    /// Loads the scripts into the server.
    pub(crate) fn load_scripts(&mut self) {
        for script in Call::of_subscriptions() {
            self.send(&script.load(), Sent::LoadScript);
        }
    }

    /// Subscribes to the channel of the probes.
    pub(crate) fn subscribe_to_probes(&mut self, channel: &str) {
        let command = self.command("SUBSCRIBE", channel);
        self.send(&command, Sent::Subscribe(None));
    }

    pub(crate) fn subscribe(&mut self, job: &JobId) {
        let command = self.command("SUBSCRIBE", &self.names.channel(job));
        self.send(&command, Sent::Subscribe(Some(job.clone())));
    }

    pub(crate) fn unsubscribe(&mut self, job: JobId) {
        let command = self.command("UNSUBSCRIBE", &self.names.channel(&job));
        self.send(&command, Sent::Unsubscribe(job));
    }

    /// Sends a [`Call::read`] of this job.
    pub(crate) fn read(&mut self, job: JobId, call: &Call) {
        self.send(&call.command(), Sent::Read(job));
        self.reads += 1;
    }

    /// Sends a [`Call::report`] of a legacy update that names this attempt.
    pub(crate) fn fold(&mut self, job: JobId, key: FoldKey, attempt: Option<u32>, call: &Call) {
        self.send(&call.command(), Sent::Fold(job, key, attempt));
    }

    /// The command for a channel. In a Cluster its name begins with `S`.
    fn command(&self, name: &str, channel: &str) -> redis::Cmd {
        let mut command = if self.names.is_cluster() {
            redis::cmd(&format!("S{name}"))
        } else {
            redis::cmd(name)
        };
        command.arg(channel);
        command
    }

    fn send(&mut self, command: &redis::Cmd, sent: Sent) {
        self.socket.send(command);
        self.unanswered.push_back(sent);
    }

    /// Reads and writes as much as the connection allows. Returns when something was read, or everything is written. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn progress(&mut self) -> io::Result<()> {
        self.socket.progress().await
    }

    /// The next event; none if it has not arrived completely.
    ///
    /// # Errors
    /// When the server ended a subscription, or sent something that is not the protocol of Redis.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Ended> {
        while let Some(frame) = self.socket.next()? {
            let event = match frame {
                BytesFrame::Push { data, .. } => self.pushed(data)?,
                frame => Some(self.answered(frame)?),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Handles a push: a message, or the beginning or end of a subscription.
    fn pushed(&mut self, data: Vec<BytesFrame>) -> Result<Option<Event>, Ended> {
        let mut parts = data.into_iter();
        let mut text = || parts.next().and_then(text_of);
        let (Some(kind), Some(channel)) = (text(), text()) else { return Ok(None) };
        match kind.as_str() {
            "message" | "smessage" => {
                let payload = parts.next().and_then(bytes_of);
                Ok(payload.map(|payload| Event::Message { channel, payload }))
            }
            "subscribe" | "ssubscribe" => {
                if matches!(self.unanswered.front(), Some(Sent::Subscribe(_))) {
                    self.unanswered.pop_front();
                }
                Ok(None)
            }
            "unsubscribe" | "sunsubscribe" => {
                let job = self.names.job_of(&channel);
                match self.unanswered.front() {
                    Some(Sent::Unsubscribe(sent)) if Some(sent) == job.as_ref() => {
                        self.unanswered.pop_front();
                        Ok(None)
                    }
                    // Not requested, so the channel's slot has moved to another server.
                    _ => Err(Ended::Moved(format!("the slot of {channel} has moved"))),
                }
            }
            _ => Ok(None),
        }
    }

    fn answered(&mut self, frame: BytesFrame) -> Result<Event, Ended> {
        let Some(sent) = self.unanswered.pop_front() else {
            return Err(io::Error::other("Redis answered a command that was not sent").into());
        };
        if matches!(sent, Sent::Read(_)) {
            self.reads -= 1;
        }
        if let Some(error) = error_of(&frame) {
            return Ok(Event::Refused(sent, error.to_owned()));
        }
        let answer: Option<Vec<_>> = match frame {
            BytesFrame::Array { data, .. } => data.into_iter().map(bytes_of).collect(),
            frame => Some(bytes_of(frame).into_iter().collect()),
        };
        Ok(Event::Answered(sent, Answer(answer.unwrap_or_default())))
    }
}
