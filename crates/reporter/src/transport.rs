use std::time::Duration;

use milepost_protocol::JobId;

use crate::outcome::Outcome;

/// How updates get to a server. One thread owns it and waits for each answer.
pub(crate) trait Transport: Send {
    /// Sends the updates, which are at least one, and returns what became of each, in order.
    ///
    /// # Errors
    /// When that cannot be told, within `timeout` at the latest. Sending the same again is safe.
    fn send(
        &mut self,
        updates: &[Outgoing<'_>],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, Failure>;
}

/// An update on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) json: &'a str,
}

/// Why it is not known what became of the updates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or one that makes no sense.
    Lost { reason: String },
    /// The server asks to be left alone for a while.
    Busy { retry_after: Option<Duration>, reason: String },
    /// The server does not take a batch, or not such a large one in the time that there is.
    BatchRejected,
}
