//! Lists in the order of a field, and counts by status.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use milepost_broker::{Broker, Jobs, JobsQuery, MAX_CONSIDERED, Unavailable};
use milepost_protocol::{State, Status, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Grant;

/// The field that a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    key: SortKey,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortKey {
    Name,
    Status,
    Progress,
    Started,
    Seen,
    Took,
    Left,
}

impl Sort {
    /// The names of the fields. A `-` before the name reverses the order.
    pub(super) const NAMES: [&str; 7] =
        ["name", "status", "progress", "started", "seen", "took", "left"];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let (descending, name) = name.strip_prefix('-').map_or((false, name), |name| (true, name));
        let key = match name {
            "name" => SortKey::Name,
            "status" => SortKey::Status,
            "progress" => SortKey::Progress,
            "started" => SortKey::Started,
            "seen" => SortKey::Seen,
            "took" => SortKey::Took,
            "left" => SortKey::Left,
            _ => return None,
        };
        Some(Self { key, descending })
    }

    /// Sorts the states. Those without the field come last in either direction. Equal ones keep their order.
    pub(super) fn sort(self, states: &mut [Arc<State>]) {
        states.sort_by_cached_key(|state| Ranked { rank: self.rank(state), sort: self });
    }

    fn rank(self, state: &State) -> Option<Rank> {
        let view = state.view();
        match self.key {
            SortKey::Name => view.name.map(|name| Rank::Text(name.into())),
            SortKey::Status => Some(Rank::Status(state.status())),
            SortKey::Progress => view.progress.map(Rank::Number),
            SortKey::Started => view.started_at.map(|moment| Rank::Text(moment.into())),
            SortKey::Seen => {
                view.last_seen_at.or(view.ended_at).map(|moment| Rank::Text(moment.into()))
            }
            SortKey::Took => {
                let started = Timestamp::parse(&view.started_at?)?;
                let ended = Timestamp::parse(&view.ended_at?)?;
                Some(Rank::Moment(ended.as_micros().saturating_sub(started.as_micros())))
            }
            SortKey::Left if state.status().is_end() => None,
            SortKey::Left => {
                let Estimate { eta } = serde_json::from_str(state.json()).ok()?;
                Some(Rank::Moment(Timestamp::parse(&eta)?.as_micros()))
            }
        }
    }
}

/// The instant by which a job is estimated to complete. Its order is that of the time left.
#[derive(Deserialize)]
struct Estimate<'a> {
    #[serde(borrow)]
    eta: Cow<'a, str>,
}

#[derive(PartialEq, PartialOrd)]
enum Rank {
    Status(Status),
    Number(f64),
    /// An instant or a duration, in microseconds.
    Moment(i64),
    Text(Box<str>),
}

struct Ranked {
    rank: Option<Rank>,
    sort: Sort,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.rank, &other.rank) {
            (Some(a), Some(b)) => {
                let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
                if self.sort.descending { order.reverse() } else { order }
            }
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// A page of the matching jobs in the order of a field. `after` is how many come before the page.
pub(super) async fn page(
    broker: &dyn Broker,
    query: &JobsQuery,
    grant: &Grant,
    sort: Sort,
) -> Result<Jobs, Unavailable> {
    let mut states = survey(broker, query, grant).await?;
    sort.sort(&mut states);
    let total = broker.jobs(&JobsQuery { limit: 1, ..JobsQuery::default() }).await?.total;
    let first = query.after.unwrap_or(0);
    let mut states = states
        .split_off(usize::try_from(first).map_or(states.len(), |first| first.min(states.len())));
    let has_more = states.len() > query.limit;
    states.truncate(query.limit);
    let next = has_more.then(|| first.saturating_add(u64::try_from(states.len()).unwrap_or(0)));
    Ok(Jobs { states, next, total, unmatched: 0 })
}

/// The jobs that match and may be watched, among the [`MAX_CONSIDERED`] that a broker considers.
async fn survey(
    broker: &dyn Broker,
    query: &JobsQuery,
    grant: &Grant,
) -> Result<Vec<Arc<State>>, Unavailable> {
    let query = JobsQuery { after: None, limit: MAX_CONSIDERED, ..query.clone() };
    let states = broker.jobs(&query).await?.states;
    Ok(states.into_iter().filter(|state| grant.may_watch_state(state)).collect())
}

/// How many jobs there are in each status.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct StatusCounts {
    queued: usize,
    processing: usize,
    completed: usize,
    failed: usize,
    cancelled: usize,
}

impl StatusCounts {
    fn count(&mut self, status: Status) {
        let count = match status {
            Status::Queued => &mut self.queued,
            Status::Processing => &mut self.processing,
            Status::Completed => &mut self.completed,
            Status::Failed => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
        };
        *count += 1;
    }
}

/// How many of the jobs that match in all but their status have each status.
pub(super) async fn counts(
    broker: &dyn Broker,
    query: &JobsQuery,
    grant: &Grant,
) -> Result<StatusCounts, Unavailable> {
    let query = JobsQuery { statuses: Vec::new(), ..query.clone() };
    let mut counts = StatusCounts::default();
    for state in survey(broker, &query, grant).await? {
        counts.count(state.status());
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(by: &str, states: &[(&str, &str)]) -> Vec<String> {
        let mut states: Vec<_> = states
            .iter()
            .map(|(job, fields)| {
                let json = format!(
                    r#"{{"job_id":"{job}","status":"processing","attempt":1,"position":"1-1",{fields}}}"#
                );
                Arc::new(State::parse(&json).unwrap())
            })
            .collect();
        Sort::from_name(by).unwrap().sort(&mut states);
        states.iter().map(|state| state.job().to_string()).collect()
    }

    #[test]
    fn by_how_long_an_attempt_took_whatever_the_date() {
        let day =
            r#""started_at":"2026-11-28T23:00:00.000Z","ended_at":"2026-11-29T01:00:00.000Z""#;
        let minute =
            r#""started_at":"2026-11-29T00:00:00.000Z","ended_at":"2026-11-29T00:01:00.000Z""#;
        let running = r#""started_at":"2026-11-27T00:00:00.000Z""#;
        let jobs = [("running", running), ("long", day), ("short", minute)];
        assert_eq!(sorted("took", &jobs), ["short", "long", "running"]);
        assert_eq!(sorted("-took", &jobs), ["long", "short", "running"]);
    }

    #[test]
    fn by_the_time_left_in_any_time_zone() {
        let jobs = [
            ("none", r#""eta":7"#),
            ("later", r#""eta":"2026-11-29T10:30:00+01:00""#),
            ("sooner", r#""eta":"2026-11-29T09:00:00.000Z""#),
        ];
        assert_eq!(sorted("left", &jobs), ["sooner", "later", "none"]);
    }
}
