//! Watchers' requests to the command: to cancel, pause or resume.
//!
//! A thread polls the server. The command runs on, whether the server answers or not.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use milepost_protocol::{Action, JobId};
use milepost_reporter::Job;
use rustix::process::Signal;
use serde::Deserialize;

use super::child::SignalTarget;
use super::delivery::ReportDelivery;
use super::signals::Cancellation;
use crate::client::{Client, RequestError};

/// How long the server may hold a response.
const WAIT: Duration = Duration::from_secs(20);

/// How often to poll Redis, which cannot hold responses, and a server that does not know the job yet.
const EVERY: Duration = Duration::from_secs(1);

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// How often to check whether the command has exited.
const LOOK: Duration = Duration::from_millis(50);

/// Answers requests for a command.
pub(super) struct Answering<F> {
    pub(super) url: String,
    pub(super) job: JobId,
    /// The attempt, if it is known.
    pub(super) attempt: Option<u32>,
    pub(super) handle: Job,
    pub(super) cancellation: Cancellation,
    /// Between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
    /// Learns that the server answers.
    pub(super) delivery: Arc<ReportDelivery>,
    /// Prints a message at the terminal.
    pub(super) say: F,
}

/// A request, as a state has it.
#[derive(Debug, Deserialize)]
struct Requested {
    action: String,
    at: String,
    by: Option<String>,
    reason: Option<String>,
}

impl<F: Fn(&str) + Send + 'static> Answering<F> {
    /// Answers until the command has exited. The thread holds nothing that anybody waits for: it ends with the process, if
    /// it is asking then.
    pub(super) fn start(self, target: SignalTarget) {
        thread::spawn(move || self.run(&target));
    }

    fn run(self, target: &SignalTarget) {
        let Ok(client) = Client::with_timeout(&self.url, WAIT + Duration::from_secs(10)) else {
            return;
        };
        let mut seen: Option<String> = None;
        let mut pause = EVERY;
        // The first response is not held: it shows that the server is there.
        let mut wait = Duration::ZERO;
        while target.is_running() {
            let response = client.requested(&self.job, seen.as_deref(), wait);
            if response.is_ok() {
                self.delivery.answered();
                wait = if client.holds_answers() { WAIT } else { Duration::ZERO };
            }
            match response {
                Ok(Some(pending)) => {
                    let is_ours = self.attempt.is_none_or(|attempt| attempt == pending.attempt);
                    let requested = pending.requested.filter(|_| is_ours && !pending.has_ended);
                    let requested =
                        requested.and_then(|json| serde_json::from_str::<Requested>(&json).ok());
                    let new = requested.filter(|requested| Some(&requested.at) != seen.as_ref());
                    pause = EVERY;
                    if let Some(requested) = new {
                        self.answer(&requested, target);
                        seen = Some(requested.at);
                    } else if !client.holds_answers() || !is_ours || pending.has_ended {
                        thread::sleep(EVERY);
                    }
                }
                Ok(None) => thread::sleep(EVERY),
                // A server of an older version.
                Err(RequestError::Refused(problem)) if problem.status == 404 => return,
                Err(_) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    fn answer(&self, requested: &Requested, target: &SignalTarget) {
        let Some(action) = Action::from_name(&requested.action) else { return };
        let by = requested.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = requested.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        match action {
            Action::Cancel => {
                (self.say)(&format!("asked to stop{by}{why}"));
                self.cancellation.set(format!("Cancelled{by}{why}"));
                self.handle.acknowledge(action);
                self.cancel(target);
            }
            Action::Pause => {
                (self.say)(&format!("paused{by}{why}"));
                target.send_to_all(Signal::STOP);
                self.handle.acknowledge(action);
            }
            Action::Resume => {
                (self.say)(&format!("resumed{by}{why}"));
                target.send_to_all(Signal::CONT);
                self.handle.acknowledge(action);
            }
        }
    }

    fn cancel(&self, target: &SignalTarget) {
        target.send_to_all(Signal::TERM);
        // A command that is paused would not notice.
        target.send_to_all(Signal::CONT);
        let deadline = Instant::now() + self.grace;
        while target.is_running() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        target.send_to_all(Signal::KILL);
    }
}
