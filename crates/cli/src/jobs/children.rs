//! The children of a job that matter most to a person.

use milepost_protocol::{Children, Health, JobId, State, Status};

use crate::bars::known;
use crate::client::{Client, RequestError, listed};

/// The queries that are made one after the other, until there are enough children.
const QUERIES: [&[(&str, &str)]; 5] = [
    &[("health", "lost,stalled")],
    &[("status", "failed")],
    &[("status", "processing")],
    &[("status", "queued")],
    &[],
];

/// At most `limit` children of a job. Those that need attention come first: silent ones, then failed ones, then those that run, then
/// those that wait. Within one of these, those that began last come first.
pub(crate) fn children(
    client: &Client,
    parent: &JobId,
    counts: &Children,
    limit: usize,
) -> Result<Vec<State>, RequestError> {
    let is_all = known(counts) <= limit;
    let mut found: Vec<State> = Vec::new();
    for query in if is_all { &QUERIES[4..] } else { &QUERIES[..] } {
        let limit_text = limit.to_string();
        let query = [&[("parent", parent.as_str()), ("limit", &limit_text)], *query].concat();
        for state in listed(&client.jobs(&query)?)? {
            if !found.iter().any(|other| other.job() == state.job()) {
                found.push(state);
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    found.sort_by_key(rank);
    found.truncate(limit);
    Ok(found)
}

fn rank(state: &State) -> u8 {
    let is_unwell = state.health().is_some_and(|health| health != Health::Ok);
    match state.status() {
        Status::Queued | Status::Processing if is_unwell => 0,
        Status::Failed => 1,
        Status::Processing => 2,
        Status::Queued => 3,
        Status::Cancelled => 4,
        Status::Completed => 5,
    }
}
