use std::collections::{BTreeSet, HashMap};

use milepost_broker::{JobsQuery, Keyword};
use milepost_protocol::{Health, State, Status};

/// A stripe's jobs by the attributes for which they can be filtered.
///
/// Invariant: each known job is under all keywords of its present state, and nowhere else. A job has at most 18 keywords, so
/// the bound on jobs also bounds the index.
#[derive(Default)]
pub(crate) struct Index {
    /// Jobs by the time at which they began.
    jobs: HashMap<Keyword, BTreeSet<u64>>,
    /// The same for jobs in a rare status or health, so that they are found quickly among very many others.
    rare: [BTreeSet<u64>; RARE_STATUSES.len() + RARE_HEALTHS.len()],
}

const RARE_STATUSES: [Status; 3] = [Status::Queued, Status::Failed, Status::Cancelled];
const RARE_HEALTHS: [Health; 2] = [Health::Stalled, Health::Lost];

/// The place in [`Index::rare`] of jobs in that status; none if it is not rare.
fn rare_status(status: Status) -> Option<usize> {
    RARE_STATUSES.iter().position(|rare| *rare == status)
}

fn rare_health(health: Health) -> Option<usize> {
    Some(RARE_STATUSES.len() + RARE_HEALTHS.iter().position(|rare| *rare == health)?)
}

/// The places of a state in [`Index::rare`].
fn rare_places(state: &State) -> [Option<usize>; 2] {
    let status = state.status();
    let health = state.health().filter(|_| !status.is_end());
    [rare_status(status), health.and_then(rare_health)]
}

impl Index {
    /// Records that a job has gone from one state to another; none before it was known, and after it was forgotten.
    pub(crate) fn update(&mut self, begun: u64, before: Option<&State>, now: Option<&State>) {
        let places = |state: Option<&State>| state.map(rare_places).unwrap_or_default();
        let (left, entered) = (places(before), places(now));
        if left != entered {
            for place in left.into_iter().flatten() {
                self.rare[place].remove(&begun);
            }
            for place in entered.into_iter().flatten() {
                self.rare[place].insert(begun);
            }
        }
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

    /// At most `most` jobs that began before `before`, the latest first, out of the smallest part of the index that contains all
    /// jobs that match the query; none if only the whole list does.
    pub(crate) fn candidates(
        &self,
        query: &JobsQuery,
        before: u64,
        most: usize,
    ) -> Option<Vec<u64>> {
        static EMPTY: BTreeSet<u64> = BTreeSet::new();
        let rare = |places: Option<Vec<usize>>| {
            let places = places.filter(|places| !places.is_empty())?;
            Some(places.into_iter().map(|place| &self.rare[place]).collect::<Vec<_>>())
        };
        let of_statuses = rare(query.statuses.iter().copied().map(rare_status).collect());
        let of_healths = rare(query.healths.iter().copied().map(rare_health).collect());
        let of_keywords = query.keywords.iter().map(|word| self.jobs.get(word).unwrap_or(&EMPTY));
        let sets = of_keywords.map(|jobs| vec![jobs]).chain(of_statuses).chain(of_healths);
        let fewest = sets.min_by_key(|sets| sets.iter().map(|jobs| jobs.len()).sum::<usize>())?;
        let latest = |jobs: &&'_ BTreeSet<u64>| -> Vec<u64> {
            jobs.range(..before).rev().take(most).copied().collect()
        };
        let mut candidates: Vec<u64> = fewest.iter().flat_map(latest).collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        // A query may name a status twice.
        candidates.dedup();
        candidates.truncate(most);
        Some(candidates)
    }
}
