use std::collections::VecDeque;
use std::sync::Arc;

use milepost_protocol::{Epoch, JobId, State, Timeline, Timestamp};

use crate::Limits;
use crate::capacity::{Capacity, cost, timeline_cost};
use milepost_broker::Listener;

/// A job of a stripe: known, listened to, or both.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) known: Option<Known>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
}

/// A job that was reported and not yet forgotten.
pub(crate) struct Known {
    pub(crate) state: Arc<State>,
    /// Boxed, because most idle jobs have none.
    pub(crate) earlier: Option<Box<Earlier>>,
    /// None while the job has been reported only once. Boxed, because most idle jobs have none.
    pub(crate) timeline: Option<Box<Timeline>>,
    /// The epoch of the next state.
    pub(crate) epoch: Epoch,
    /// Orders the jobs by when they began.
    pub(crate) begun: u64,
    /// When the job expires, in the unit of the stripe's queues.
    pub(crate) expires: u64,
    /// The time under which the job is queued.
    pub(crate) queued: u64,
    /// The clocks of a job whose health changes with time. Boxed, because most jobs have none.
    pub(crate) clocks: Option<Box<Clocks>>,
}

/// When a job's worker last reported, when the job last made progress, and when its health is checked next. In milliseconds of
/// the clock's `elapsed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) seen: u64,
    pub(crate) progressed: u64,
    /// The time under which the job is queued for its next check; none if it is not queued.
    pub(crate) queued: Option<u64>,
    /// How the job counts among the stripe's workers.
    pub(crate) counted: Counted,
}

/// How a job counts among the workers that may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It does not: it is lost already, or silence does not matter.
    #[default]
    Not,
    /// Its worker was heard lately.
    Heard,
    /// Its worker has been silent for some time.
    Silent,
}

/// The states before the present one, oldest first.
#[derive(Default)]
pub(crate) struct Earlier {
    states: VecDeque<Arc<State>>,
    /// The bytes of their JSON.
    bytes: usize,
}

impl Known {
    /// Makes `state` the present one, and keeps the one before it in the history if there is room.
    pub(crate) fn advance(&mut self, state: Arc<State>, limits: &Limits, capacity: &Capacity) {
        capacity.add(&state);
        // Earlier states share it, or are soon gone.
        capacity.add_bytes(state.usual_len());
        capacity.remove_bytes(self.state.usual_len());
        let previous = std::mem::replace(&mut self.state, state);
        let earlier = self.earlier.get_or_insert_default();
        earlier.bytes += previous.json().len();
        earlier.states.push_back(previous);
        while earlier.states.len() >= limits.history.get()
            || earlier.bytes + self.state.json().len() > limits.history_bytes
        {
            let Some(oldest) = earlier.states.pop_front() else { break };
            earlier.bytes -= oldest.json().len();
            capacity.remove(&oldest);
        }
    }

    /// Adds to the timeline what is due when `next` becomes the present state. Returns whether the timeline changed.
    #[inline]
    pub(crate) fn note(&mut self, next: &State, now: Timestamp, capacity: &Capacity) -> bool {
        let is_due = |timeline: &Timeline| timeline.is_due(&self.state, next, now);
        if self.timeline.as_deref().is_some_and(|timeline| !is_due(timeline)) {
            return false;
        }
        self.note_due(next, now, capacity);
        true
    }

    #[inline(never)]
    fn note_due(&mut self, next: &State, now: Timestamp, capacity: &Capacity) {
        let mut timeline = match self.timeline.take() {
            Some(timeline) => {
                capacity.remove_timeline(&timeline);
                timeline
            }
            None => Box::new(Timeline::begun_with(&self.state)),
        };
        timeline.add(&self.state, next, now);
        capacity.add_timeline(&timeline);
        // `next` is not counted yet.
        if capacity.exceeded(false, next, 0).is_none() {
            self.timeline = Some(timeline);
        } else {
            capacity.remove_timeline(&timeline);
        }
    }

    /// Makes `state` the only one, and drops the history and the timeline.
    pub(crate) fn replace(&mut self, state: Arc<State>, capacity: &Capacity) {
        self.release(capacity);
        capacity.add(&state);
        capacity.add_bytes(state.usual_len());
        self.earlier = None;
        self.timeline = None;
        self.state = state;
    }

    /// Stops counting the bytes of the job.
    pub(crate) fn release(&self, capacity: &Capacity) {
        self.states().for_each(|state| capacity.remove(state));
        capacity.remove_bytes(self.state.usual_len());
        if let Some(timeline) = &self.timeline {
            capacity.remove_timeline(timeline);
        }
    }

    /// The bytes that the job counts for.
    pub(crate) fn cost(&self) -> usize {
        let timeline = self.timeline.as_deref().map_or(0, timeline_cost);
        self.states().map(|state| cost(state)).sum::<usize>() + timeline + self.state.usual_len()
    }

    /// The timeline, also of a job that has been reported only once.
    pub(crate) fn timeline(&self) -> Timeline {
        let timeline = self.timeline.as_deref().cloned();
        timeline.unwrap_or_else(|| Timeline::begun_with(&self.state))
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<State>> {
        self.earlier.iter().flat_map(|earlier| &earlier.states).chain([&self.state])
    }
}
