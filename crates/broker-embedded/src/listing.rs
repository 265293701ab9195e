//! Lists of known jobs.

use std::collections::VecDeque;
use std::sync::Arc;

use milepost_broker::JobsQuery;
use milepost_protocol::State;

use crate::stripe::Stripe;

/// A job in a list.
pub(crate) struct Listed {
    pub(crate) begun: u64,
    pub(crate) state: Arc<State>,
}

/// The result of one search of a stripe.
pub(crate) struct Considered {
    /// How many jobs were considered, whether they match or not.
    pub(crate) jobs: usize,
    /// Jobs that began before this are still to be considered; none if there are no more.
    pub(crate) before: Option<u64>,
}

impl Stripe {
    /// Adds jobs that match the query and began before `before` to `listed`, the most recently begun first, until
    /// there are `most`. Considers `SLICE` jobs at most, so that the lock is not held for long.
    pub(crate) fn list(
        &self,
        query: &JobsQuery,
        before: u64,
        most: usize,
        listed: &mut VecDeque<Listed>,
    ) -> Considered {
        const SLICE: usize = 256;
        let candidates: Box<dyn Iterator<Item = u64>> =
            match self.index.candidates(query, before, SLICE + 1) {
                Some(jobs) => Box::new(jobs.into_iter()),
                None => Box::new(self.by_begun.range(..before).rev().map(|(begun, _)| *begun)),
            };
        let mut jobs = 0;
        for begun in candidates {
            if listed.len() == most || jobs == SLICE {
                return Considered { jobs, before: Some(begun + 1) };
            }
            jobs += 1;
            let job = self.by_begun.get(&begun).and_then(|key| self.jobs.get(*key));
            let Some(known) = job.and_then(|job| job.known.as_ref()) else { continue };
            if query.matches(&known.state) {
                listed.push_back(Listed { begun, state: Arc::clone(&known.state) });
            }
        }
        Considered { jobs, before: None }
    }
}
