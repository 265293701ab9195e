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

/// The subscriptions on one connection, and the calls of scripts that go with them.
///
/// Invariant: messages and answers come in the order in which Redis sent them. What was published before a read was
/// answered is part of the answer; what comes after the answer is newer.
pub(crate) struct Subscription {
    names: Names,
    socket: Socket,
    /// What was sent and not answered yet, oldest first. Bounded: a job has one read and one fold under way at most.
    unanswered: VecDeque<Sent>,
    /// How many of them are reads.
    reads: usize,
}

/// A command that was sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Subscribes to a job's channel; without a job, to the channel of the probes.
    Subscribe(Option<JobId>),
    Unsubscribe(JobId),
    Read(JobId),
    /// Folds a legacy update, which names that attempt.
    Fold(JobId, FoldKey, Option<u32>),
    LoadScript,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message on a channel. Its payload need not be text.
    Message { channel: String, payload: Vec<u8> },
    /// A script's answer.
    Answered(Sent, Answer),
    /// Redis answered with an error.
    Refused(Sent, String),
}

/// Why a subscription ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The connection is lost, or nothing arrives on it.
    Lost(io::Error),
    /// Slots of the Cluster have moved: it has to be asked which server has which.
    Moved(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl Subscription {
    /// A subscription to nothing yet, on a new connection.
    pub(crate) fn new(names: Names, socket: Socket) -> Self {
        let mut subscription = Self { names, socket, unanswered: VecDeque::new(), reads: 0 };
        subscription.load_scripts();
        subscription
    }

    /// How many reads are not answered yet.
    pub(crate) fn reads(&self) -> usize {
        self.reads
    }

    /// Sends the scripts, so that the server knows them.
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

    /// Sends a [`Call::read`] of that job.
    pub(crate) fn read(&mut self, job: JobId, call: &Call) {
        self.send(&call.command(), Sent::Read(job));
        self.reads += 1;
    }

    /// Sends a [`Call::report`] of a legacy update that names that attempt.
    pub(crate) fn fold(&mut self, job: JobId, key: FoldKey, attempt: Option<u32>, call: &Call) {
        self.send(&call.command(), Sent::Fold(job, key, attempt));
    }

    /// The command of that name for a channel; in a Cluster channels have commands of their own.
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

    /// Reads and writes what the connection takes now. Returns when something was read, or everything is written.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn progress(&mut self) -> io::Result<()> {
        self.socket.progress().await
    }

    /// The next event that has arrived; none if the rest of it is still on its way.
    ///
    /// # Errors
    /// When the server ended a subscription, or sent what no server of Redis would send.
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

    /// A message, or the beginning or end of a subscription.
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
                    // It was not requested: the channel's slot has moved to another server.
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
