use std::collections::VecDeque;
use std::sync::Mutex;

use milepost_broker::{JobsQuery, MAX_CONSIDERED};

use crate::listing::Listed;
use crate::lock;
use crate::stripe::Stripe;

/// A page of a list. It merges the lists of the stripes, and reads each of them in parts.
pub(crate) struct Page<'b> {
    query: &'b JobsQuery,
    sources: Vec<Source<'b>>,
    /// How many jobs are read from a stripe under one lock.
    part: usize,
}

pub(crate) struct Collected {
    pub(crate) listed: Vec<Listed>,
    /// Where the next page begins; none if this is the last.
    pub(crate) next: Option<u64>,
    /// How many jobs were considered that do not match.
    pub(crate) unmatched: usize,
}

struct Source<'b> {
    stripe: &'b Mutex<Stripe>,
    listed: VecDeque<Listed>,
    /// Jobs that began before this are still to be read; none if there are no more.
    before: Option<u64>,
}

impl<'b> Page<'b> {
    pub(crate) fn new(stripes: &'b [Mutex<Stripe>], query: &'b JobsQuery) -> Self {
        let before = Some(query.after.unwrap_or(u64::MAX));
        let source = |stripe| Source { stripe, listed: VecDeque::new(), before };
        let part = query.limit.div_ceil(stripes.len()) + 4;
        Self { query, sources: stripes.iter().map(source).collect(), part }
    }

    /// The most recently begun jobs that match. A stripe is read only as far as its next job may be the page's next one.
    pub(crate) async fn collect(mut self) -> Collected {
        let mut listed = Vec::new();
        let (mut considered, mut unmatched) = (0, 0);
        loop {
            let newest = self.sources.iter().filter_map(Source::newest).max();
            let unknown = self.sources.iter_mut().filter(|source| source.listed.is_empty());
            let unknown = unknown.max_by_key(|source| source.before);
            if let Some(source) = unknown
                && let Some(before) = source.before.filter(|before| Some(*before) > newest)
            {
                if considered >= MAX_CONSIDERED {
                    return Collected { listed, next: Some(before), unmatched };
                }
                let jobs = source.look(self.query, self.part);
                considered += jobs;
                unmatched += jobs - source.listed.len();
                if source.listed.is_empty() {
                    // Few jobs match, so other tasks run in between.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let source = self.sources.iter_mut().max_by_key(|source| source.newest());
            let Some(next) = source.and_then(|source| source.listed.pop_front()) else {
                return Collected { listed, next: None, unmatched };
            };
            if listed.len() == self.query.limit {
                let next = listed.last().map(|last: &Listed| last.begun);
                return Collected { listed, next, unmatched };
            }
            listed.push(next);
        }
    }
}

impl Source<'_> {
    /// When the page's next job among those read began.
    fn newest(&self) -> Option<u64> {
        self.listed.front().map(|job| job.begun)
    }

    /// Reads jobs that match. Returns how many were considered.
    fn look(&mut self, query: &JobsQuery, part: usize) -> usize {
        let Some(before) = self.before else { return 0 };
        let considered = lock(self.stripe).list(query, before, part, &mut self.listed);
        self.before = considered.before;
        considered.jobs
    }
}
