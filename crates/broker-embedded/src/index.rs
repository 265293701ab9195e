use std::collections::{BTreeSet, HashMap};

use milepost_broker::{JobsQuery, Keyword};
use milepost_protocol::State;

/// A stripe's jobs by the attributes that they are found by.
///
/// Invariant: it has each known job under all keywords of its present state, and nothing else. A job has at most 18, so
/// the index is bounded as the jobs are, and forgets them with the job.
#[derive(Default)]
pub(crate) struct Index {
    /// By when the jobs began.
    jobs: HashMap<Keyword, BTreeSet<u64>>,
}

impl Index {
    /// A job has left one state for another; none before it was known, and after it was forgotten.
    pub(crate) fn update(&mut self, begun: u64, before: Option<&State>, now: Option<&State>) {
        if let (Some(before), Some(now)) = (before, now)
            && Keyword::are_same(before, now)
        {
            return;
        }
        let before = before.map(Keyword::all_of).unwrap_or_default();
        let now = now.map(Keyword::all_of).unwrap_or_default();
        for keyword in before {
            if let Some(jobs) = self.jobs.get_mut(&keyword) {
                jobs.remove(&begun);
                if jobs.is_empty() {
                    self.jobs.remove(&keyword);
                }
            }
        }
        for keyword in now {
            self.jobs.entry(keyword).or_default().insert(begun);
        }
    }

    /// The fewest jobs that are sure to contain all that have the query's keywords; none if that is all jobs.
    pub(crate) fn candidates(&self, query: &JobsQuery) -> Option<&BTreeSet<u64>> {
        static EMPTY: BTreeSet<u64> = BTreeSet::new();
        let jobs = query.keywords.iter().map(|keyword| self.jobs.get(keyword).unwrap_or(&EMPTY));
        jobs.min_by_key(|jobs| jobs.len())
    }
}
