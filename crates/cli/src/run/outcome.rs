//! The outcome of a command, and the end that is reported.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Map, Value, json};
use signal_hook::consts::SIGINT;

use super::child;
use super::signals::name;
use crate::bars::time_taken;

/// The exit code of a program that Ctrl-C ended, if it caught the signal or read the key itself: 128 and SIGINT.
const INTERRUPTED: u8 = 130;

/// The end of a job that is a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It exited with 0.
    Completed { result: Value },
    /// It exited with another code, or died by a signal that Milepost did not forward, or could not be started.
    Failed { error: String, exit_code: u8 },
    /// A signal asked it to stop, and it did; or it exited as after Ctrl-C.
    Cancelled { reason: String, exit_code: u8 },
}

/// What is known once the command has exited.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) took: Duration,
    /// The last signal that asked to stop: Ctrl-C, or one that was sent to this process.
    pub(crate) stop_signal: Option<i32>,
    pub(crate) forwarded: Option<i32>,
    /// Why a watcher had it stopped.
    pub(crate) cancelled: Option<String>,
    /// The command's error: a JSON line's `error`, or its last lines.
    pub(crate) error: Option<String>,
    /// A JSON line's `result`.
    pub(crate) result: Option<Value>,
}

impl Exit {
    pub(crate) fn outcome(self) -> Outcome {
        let exit_code = child::exit_code(self.status);
        if self.status.success() {
            let mut result = Map::from_iter([
                ("exit_code".to_owned(), json!(0)),
                ("duration_seconds".to_owned(), json!(milliseconds(self.took))),
            ]);
            if let Some(output) = self.result {
                result.insert("output".to_owned(), output);
            }
            return Outcome::Completed { result: Value::Object(result) };
        }
        if let Some(reason) = self.cancelled {
            return Outcome::Cancelled { reason, exit_code };
        }
        let died_by = self.status.signal();
        let own_end = died_by.is_some() && died_by == self.forwarded;
        let interrupted = (died_by.is_none() && exit_code == INTERRUPTED).then_some(SIGINT);
        let stopped_by = self.stop_signal.or_else(|| died_by.filter(|_| own_end)).or(interrupted);
        if let Some(signal) = stopped_by {
            return Outcome::Cancelled {
                reason: format!("Stopped by {}", name(signal)),
                exit_code,
            };
        }
        let error = match died_by {
            Some(signal) => format!("killed by {}", name(signal)),
            None => self.error.unwrap_or_else(|| format!("exited with code {exit_code}")),
        };
        Outcome::Failed { error, exit_code }
    }
}

impl Outcome {
    /// The outcome as text: `completed in 1:23`, `failed after 0:12 with exit code 3`.
    pub(crate) fn in_words(&self, took: Duration) -> String {
        let took = time_taken(took);
        match self {
            Self::Completed { .. } => format!("completed in {took}"),
            Self::Failed { exit_code, .. } => {
                format!("failed after {took} with exit code {exit_code}")
            }
            Self::Cancelled { reason, .. } => {
                let reason =
                    reason.replacen("Stopped", "stopped", 1).replacen("Cancelled", "on request", 1);
                format!("cancelled after {took}, {reason}")
            }
        }
    }

    /// The outcome in short: `failed: no disk`.
    pub(crate) fn in_short(&self) -> String {
        match self {
            Self::Completed { .. } => "completed".to_owned(),
            Self::Failed { error, .. } => {
                let last = error.lines().rfind(|line| !line.trim().is_empty());
                format!("failed: {}", last.unwrap_or_default())
            }
            Self::Cancelled { reason, .. } => format!("cancelled: {reason}"),
        }
    }

    /// What our own process exits with: the command's code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Completed { .. } => 0,
            Self::Failed { exit_code, .. } | Self::Cancelled { exit_code, .. } => *exit_code,
        }
    }
}

/// Seconds, to the millisecond.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `raw` as wait(2) has it: the exit code times 256, or the signal.
    fn exit(raw: i32) -> Exit {
        Exit {
            status: ExitStatus::from_raw(raw),
            took: Duration::from_millis(1500),
            stop_signal: None,
            forwarded: None,
            cancelled: None,
            error: None,
            result: None,
        }
    }

    #[test]
    fn zero_is_completed_even_if_it_was_asked_to_stop() {
        let result = json!({"exit_code": 0, "duration_seconds": 1.5});
        assert_eq!(exit(0).outcome(), Outcome::Completed { result: result.clone() });
        assert_eq!(
            Exit { stop_signal: Some(2), ..exit(0) }.outcome(),
            Outcome::Completed { result }
        );
        let with_output = Exit { result: Some(json!([1])), ..exit(0) }.outcome();
        assert!(
            matches!(with_output, Outcome::Completed { result } if result["output"] == json!([1]))
        );
    }

    #[test]
    fn a_code_is_a_failure_with_the_last_words() {
        let Outcome::Failed { error, exit_code } =
            (Exit { error: Some("no disk".into()), ..exit(3 << 8) }).outcome()
        else {
            panic!()
        };
        assert_eq!((error.as_str(), exit_code), ("no disk", 3));
        assert!(
            matches!(exit(3 << 8).outcome(), Outcome::Failed { error, .. } if error == "exited with code 3")
        );
    }

    #[test]
    fn an_outcome_in_words() {
        let of = |raw, stop_signal| {
            Exit { stop_signal, ..exit(raw) }.outcome().in_words(Duration::from_secs(83))
        };
        assert_eq!(of(0, None), "completed in 1:23");
        assert_eq!(of(3 << 8, None), "failed after 1:23 with exit code 3");
        assert_eq!(of(15, Some(15)), "cancelled after 1:23, stopped by SIGTERM");
        let cancelled = Some("Cancelled by me: too slow".to_owned());
        let on_request = Exit { cancelled, ..exit(15) }.outcome();
        let words = on_request.in_words(Duration::from_secs(83));
        assert_eq!(words, "cancelled after 1:23, on request by me: too slow");
    }

    #[test]
    fn a_signal_is_a_failure_unless_it_came_through_us() {
        assert!(
            matches!(exit(9).outcome(), Outcome::Failed { error, exit_code: 137 } if error == "killed by SIGKILL")
        );
        let cancelled = |exit: Exit| matches!(exit.outcome(), Outcome::Cancelled { .. });
        assert!(cancelled(Exit { stop_signal: Some(15), forwarded: Some(15), ..exit(15) }));
        assert!(cancelled(Exit { stop_signal: Some(2), ..exit(2) }), "Ctrl-C");
        assert!(
            cancelled(Exit { stop_signal: Some(2), ..exit(255 << 8) }),
            "ffmpeg exits with 255 after Ctrl-C"
        );
        assert!(cancelled(exit(130 << 8)), "Ctrl-C in sudo or ssh, which read the keys themselves");
        assert!(!cancelled(exit(2)), "a SIGINT from elsewhere");
        assert!(!cancelled(exit(143 << 8)));
        assert!(cancelled(Exit { forwarded: Some(10), ..exit(10) }), "SIGUSR1 that was sent to us");
        assert!(!cancelled(Exit { forwarded: Some(10), ..exit(9) }));
    }
}
