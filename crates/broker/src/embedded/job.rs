use std::collections::VecDeque;
use std::sync::Arc;

use milepost_protocol::{Epoch, State};

use super::Limits;
use super::capacity::{Capacity, cost};
use crate::Listener;

/// What a shard has of a job: that it is known, that somebody listens, or both.
#[derive(Default)]
pub(super) struct Job {
    pub(super) known: Option<Known>,
    pub(super) listener: Option<Arc<dyn Listener>>,
}

/// A job that was reported and not yet forgotten.
pub(super) struct Known {
    pub(super) state: Arc<State>,
    /// Boxed: most jobs at rest have none.
    pub(super) earlier: Option<Box<Earlier>>,
    /// The epoch of the next state.
    pub(super) epoch: Epoch,
    /// Orders the jobs by when they began.
    pub(super) begun: u64,
    /// In the unit of the shard's queues.
    pub(super) expires: u64,
    /// Under which time the job stands in its queue.
    pub(super) queued: u64,
}

/// The states before the present one, oldest first.
#[derive(Default)]
pub(super) struct Earlier {
    states: VecDeque<Arc<State>>,
    /// Of their JSON.
    bytes: usize,
}

impl Known {
    /// Makes `state` the present one and keeps the one before in the history, as far as there is room.
    pub(super) fn advance(&mut self, state: Arc<State>, limits: &Limits, capacity: &Capacity) {
        capacity.add(&state);
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

    /// Makes `state` the present one and the only one.
    pub(super) fn replace(&mut self, state: Arc<State>, capacity: &Capacity) {
        self.states().for_each(|state| capacity.remove(state));
        capacity.add(&state);
        self.earlier = None;
        self.state = state;
    }

    /// What the job counts.
    pub(super) fn cost(&self) -> usize {
        self.states().map(|state| cost(state)).sum()
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &Arc<State>> {
        self.earlier.iter().flat_map(|earlier| &earlier.states).chain([&self.state])
    }
}
