use std::collections::VecDeque;
use std::sync::Mutex;

use milepost_broker::JobsQuery;

use crate::lock;
use crate::stripe::{Listed, Stripe};

/// A page of a list: the stripes' lists merged, each read a part at a time.
pub(crate) struct Page<'b> {
    query: &'b JobsQuery,
    sources: Vec<Source<'b>>,
    /// How many jobs are read from a stripe at once.
    part: usize,
}

pub(crate) struct Collected {
    pub(crate) listed: Vec<Listed>,
    pub(crate) has_more: bool,
}

struct Source<'b> {
    stripe: &'b Mutex<Stripe>,
    listed: VecDeque<Listed>,
    /// Only jobs that began before are still to come; none if there are no more.
    before: Option<u64>,
}

impl<'b> Page<'b> {
    pub(crate) fn new(stripes: &'b [Mutex<Stripe>], query: &'b JobsQuery) -> Self {
        let before = Some(query.after.unwrap_or(u64::MAX));
        let source = |stripe| Source { stripe, listed: VecDeque::new(), before };
        let part = query.limit.div_ceil(stripes.len()) + 4;
        Self { query, sources: stripes.iter().map(source).collect(), part }
    }

    /// The most recently begun jobs that match.
    pub(crate) async fn collect(mut self) -> Collected {
        let mut listed = Vec::new();
        loop {
            for source in &mut self.sources {
                source.fill(self.query, self.part).await;
            }
            let newest = |source: &&mut Source<'_>| source.listed.front().map(|job| job.begun);
            let source = self.sources.iter_mut().max_by_key(newest);
            let Some(source) = source.filter(|source| !source.listed.is_empty()) else {
                return Collected { listed, has_more: false };
            };
            if listed.len() == self.query.limit {
                return Collected { listed, has_more: true };
            }
            listed.extend(source.listed.pop_front());
        }
    }
}

impl Source<'_> {
    /// Has the next job ready, if there is one.
    async fn fill(&mut self, query: &JobsQuery, part: usize) {
        while self.listed.is_empty()
            && let Some(before) = self.before
        {
            self.before = lock(self.stripe).list(query, before, part, &mut self.listed);
            if self.listed.is_empty() && self.before.is_some() {
                // Few jobs match, or none: others get their turn meanwhile.
                tokio::task::yield_now().await;
            }
        }
    }
}
