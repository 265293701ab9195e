use std::time::Instant;

use super::{Lifetime, Pace, Schedule};
use crate::backoff::Backoff;
use crate::snapshot::{Key, Snapshot, StateId};

/// What is known of a job: what of it has arrived, and when to check it again.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) keep: Lifetime,
    /// When to check the job again; none while it is being sent, or waits for another.
    pub(super) check_at: Option<Instant>,
    /// The last state that arrived, or was refused for good.
    pub(super) settled: Option<StateId>,
    pub(super) settled_urgent: Option<u64>,
    pub(super) sent_at: Option<Instant>,
    pub(super) in_flight: Option<Snapshot>,
    /// The attempt (as named) that is over, as the server answered.
    pub(super) over: Option<u32>,
    /// Of this job's own refusals and delays.
    pub(super) backoff: Backoff,
    pub(super) not_before: Option<Instant>,
    /// An earlier job of the same id, whose end goes first.
    pub(super) after: Option<Key>,
    /// The job that waits for this one.
    pub(super) then: Option<Key>,
}

/// What to do about a job.
pub(super) enum NextStep {
    Send,
    Check(Instant),
    Done,
}

impl Delivery {
    pub(super) fn new(keep: Lifetime, after: Option<Key>) -> Self {
        Self {
            keep,
            check_at: None,
            settled: None,
            settled_urgent: None,
            sent_at: None,
            in_flight: None,
            over: None,
            backoff: Backoff::default(),
            not_before: None,
            after,
            then: None,
        }
    }

    /// What to do about the job, which looks like this now.
    pub(super) fn consider(
        &mut self,
        seen: Snapshot,
        now: Instant,
        pace: Pace,
        flushing: bool,
    ) -> NextStep {
        if let Some(over) = self.over {
            if over == seen.state.attempt {
                let done = seen.ended || self.keep == Lifetime::UntilDelivered;
                return if done { NextStep::Done } else { NextStep::Check(now + pace.heartbeat) };
            }
            self.over = None;
            self.settled = None;
        }
        if self.settled == Some(seen.state) {
            if seen.ended || self.keep == Lifetime::UntilDelivered {
                return NextStep::Done;
            }
            let heartbeat = self.sent_at.map_or(now, |sent| sent + pace.heartbeat);
            let heartbeat = self.not_before.map_or(heartbeat, |at| at.max(heartbeat));
            return if heartbeat <= now {
                NextStep::Send
            } else {
                NextStep::Check(heartbeat.min(now + pace.interval))
            };
        }
        let wait = match self.sent_at {
            None => None,
            Some(_) if seen.ended || flushing => None,
            Some(sent) if self.settled_urgent != Some(seen.urgent) => Some(sent + Schedule::GAP),
            Some(sent) => Some(sent + pace.interval),
        };
        match wait.max(self.not_before) {
            Some(at) if at > now => NextStep::Check(at),
            _ => NextStep::Send,
        }
    }
}
