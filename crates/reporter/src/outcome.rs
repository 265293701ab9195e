use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::requested::Requested;

/// What became of one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has a position. `requested`: what watchers request of the worker.
    Accepted { requested: Option<Arc<Requested>> },
    /// What it contains is too large, or not valid: with less, it may be taken. `foreign`: it is no Milepost server that says so,
    /// so it is not given up when nothing is left to leave out.
    Reducible { reason: String, too_large: bool, foreign: bool },
    /// Never in this form, whatever is dropped from it.
    Rejected { reason: String },
    /// Not now; for this job only. `full`: an end would be taken.
    Busy { retry_after: Option<Duration>, reason: String, full: bool, cause: Cause },
    /// The attempt has ended, or a later one has begun.
    AttemptOver { reason: String },
}
