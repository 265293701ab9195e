use std::collections::BTreeMap;
use std::sync::Arc;

use milepost_protocol::State;

/// States of a log as the public view has them, by their numbers. Each is made when the first watcher with that view has
/// it pending, and shown to all others, so a job without such watchers pays nothing.
#[derive(Default)]
pub(crate) struct PublicStates {
    states: BTreeMap<u64, Arc<State>>,
    /// The bytes of their JSON.
    bytes: usize,
}

impl PublicStates {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<State>> {
        self.states.get(&number)
    }

    /// Adds the public view of the state with that number, unless it is there.
    pub(crate) fn add(&mut self, number: u64, state: &State) {
        self.states.entry(number).or_insert_with(|| {
            let public = state.public();
            self.bytes += public.json().len();
            Arc::new(public)
        });
    }

    /// Drops those before number `first`, which have left the log.
    pub(crate) fn truncate(&mut self, first: u64) {
        while let Some(oldest) = self.states.first_entry()
            && *oldest.key() < first
        {
            self.bytes -= oldest.remove().json().len();
        }
    }
}
