use std::time::Duration;

use milepost_protocol::JobId;

use crate::cause::Cause;
use crate::outcome::Outcome;

/// Sends updates to a server. One thread owns it and waits for each response.
pub(crate) trait Transport: Send {
    /// Sends at least one update, and returns the outcome of each, in order.
    ///
    /// # Errors
    /// If the outcomes are not known within `timeout`. Sending the same updates again is safe.
    fn send(
        &mut self,
        updates: &[Outgoing<'_>],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, Failure>;
}

/// An update to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) json: &'a str,
}

/// Why the outcomes of the updates are not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no response, or it is not valid.
    Lost { reason: String },
    /// The server asks to retry later.
    Busy { retry_after: Option<Duration>, reason: String, cause: Cause },
    /// The server rejects a batch, or one of this size in the available time.
    BatchRejected,
}

/// What became of the lines of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogOutcome {
    Accepted,
    /// The job was not reported yet.
    UnknownJob,
    /// They will not be accepted.
    Rejected {
        reason: String,
    },
}
