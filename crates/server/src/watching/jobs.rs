//! `GET /jobs`: the jobs known, in pages.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use milepost_broker::{Jobs, JobsQuery, Keyword, MAX_CONSIDERED};
use milepost_protocol::{Health, JobId, State as JobState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Grant;
use crate::instance::Instance;
use crate::openapi;
use crate::request::parameter::Known;
use crate::response::body::{pieces, text_bytes};
use crate::response::json_text;
use crate::response::problem::{Outcome, Refused};
use crate::watching::survey::{self, Sort, StatusCounts};

/// How many jobs the broker is asked for at first.
const FIRST_CHUNK: usize = 16;
/// The most jobs that it is asked for at once. They may be much larger than those before.
const MAX_CHUNK: usize = 256;
/// About how many bytes of jobs a part of the response has.
const CHUNK_BYTES: usize = 128 << 10;

/// A page of the known jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    // Empty here. The jobs are written one by one, between `START` and the tail.
    /// The most recently begun first, unless `sort` says otherwise.
    #[schema(value_type = Vec<JobState>, max_items = 1000)]
    jobs: [(); 0],
    /// The `after` of the next page. If `null`, this is the last page.
    #[schema(required = true)]
    next: Option<String>,
    /// How many jobs are known, whether they match or not.
    total: usize,
    /// How many jobs match in each status, regardless of `status`, if `counts` asks for it. At most 10,000 are
    /// counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    counts: Option<StatusCounts>,
}

impl JobList {
    /// The JSON before the jobs.
    const START: &str = "{\"jobs\":[";

    /// The JSON after the jobs, which are too many to hold at once.
    fn tail(&self) -> String {
        let mut whole = serde_json::to_string(self).unwrap_or_default();
        whole.drain(..Self::START.len());
        whole
    }
}

/// The known jobs, in pages
#[utoipa::path(
    get, path = "/jobs", operation_id = "jobs", tag = "Watching",
    params(openapi::JobsParams),
    responses((status = 200, description = "A page.", body = JobList), openapi::ListRefused),
)]
pub(crate) async fn list(
    State(instance): State<Arc<Instance>>,
    RawQuery(query): RawQuery,
    grant: Grant,
) -> Outcome<Response> {
    let mut page = Page::of(ListQuery::parse(query.as_deref())?, grant, instance).await?;
    // An error in the first part becomes a problem. A later one breaks the response off.
    let first = page.next_chunk().await?;
    let rest = stream::unfold(page, async |mut page| {
        let chunk = page.next_chunk().await.transpose()?;
        let chunk = chunk.map_err(|refused| std::io::Error::other(refused.0.detail));
        Some((chunk, page))
    });
    let chunks = stream::iter(first).map(Ok).chain(rest);
    Ok(json_text(Body::from_stream(in_pieces(chunks))))
}

fn in_pieces(
    chunks: impl Stream<Item = std::io::Result<Bytes>>,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    chunks.map_ok(|chunk| stream::iter(pieces(chunk).map(Ok))).try_flatten()
}

/// A page that is being sent. It reads one part at a time from the broker, so that it holds no more than that. A page
/// in another order than the broker's holds all of its states.
struct Page {
    instance: Arc<Instance>,
    query: JobsQuery,
    /// The most jobs that are still to be sent.
    left: usize,
    /// How many jobs to ask for next.
    chunk: usize,
    /// In another order: the rest of the page.
    sorted: Option<Jobs>,
    /// If they were requested.
    counts: Option<StatusCounts>,
    begun: bool,
    ended: bool,
    grant: Grant,
    /// How many jobs the page has shown so far.
    shown: usize,
    /// How many more jobs that the page does not show may be considered.
    unshown: usize,
}

impl Page {
    async fn of(list: ListQuery, grant: Grant, instance: Arc<Instance>) -> Outcome<Self> {
        let ListQuery { query, sort, with_counts } = list;
        let by_private = |keyword: &Keyword| !matches!(keyword, Keyword::Name(_));
        if !query.text.is_empty() || query.keywords.iter().any(by_private) {
            grant.check_full_view("it does not allow listing by q, tag or parent")?;
        }
        let counts = if with_counts {
            Some(survey::counts(&*instance.broker, &query, &grant).await?)
        } else {
            None
        };
        let sorted = match sort {
            Some(sort) => Some(survey::page(&*instance.broker, &query, &grant, sort).await?),
            None => None,
        };
        let left = query.limit;
        let chunk = FIRST_CHUNK;
        Ok(Self {
            instance,
            query,
            left,
            chunk,
            sorted,
            counts,
            begun: false,
            ended: false,
            grant,
            shown: 0,
            unshown: MAX_CONSIDERED,
        })
    }

    async fn next_jobs(&mut self) -> Outcome<Jobs> {
        if let Some(mut jobs) = self.sorted.take() {
            let fitting = fitting(&jobs.states).min(self.query.limit);
            if fitting == jobs.states.len() {
                return Ok(jobs);
            }
            let rest = jobs.states.split_off(fitting);
            // The next part continues here.
            let part = Jobs { states: jobs.states, next: Some(0), ..jobs };
            self.sorted = Some(Jobs { states: rest, ..jobs });
            return Ok(part);
        }
        let broker = &self.instance.broker;
        let jobs = broker.jobs(&self.query).await?;
        let fitting = fitting(&jobs.states);
        if fitting == jobs.states.len() {
            return Ok(jobs);
        }
        // The next part continues after those that fit, and only the broker knows where that is.
        self.query.limit = fitting;
        Ok(broker.jobs(&self.query).await?)
    }

    /// The next part of the JSON; none after the last.
    async fn next_chunk(&mut self) -> Outcome<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        self.query.limit = self.left.min(self.chunk);
        let mut jobs = self.next_jobs().await?;
        let matching = jobs.states.len();
        if !self.grant.watches_all() {
            jobs.states.retain(|state| self.grant.may_watch_state(state));
        }
        self.unshown = self.unshown.saturating_sub(jobs.unmatched + matching - jobs.states.len());
        jobs.states = jobs.states.into_iter().map(|state| self.grant.show(state)).collect();
        let bytes: usize = jobs.states.iter().map(|state| state.json().len() + 1).sum();
        // The states are held while they are copied.
        let mut held = self.instance.memory.responses.take(2 * bytes + 128)?;
        let text = self.encode(&jobs, bytes + 128);
        let average = bytes / jobs.states.len().max(1);
        self.chunk = (CHUNK_BYTES / average.max(1)).clamp(1, MAX_CHUNK);
        drop(jobs);
        held.shrink_to(text.capacity());
        Ok(Some(text_bytes(text, held)))
    }

    fn encode(&mut self, jobs: &Jobs, capacity: usize) -> String {
        let mut text = String::with_capacity(capacity);
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(JobList::START);
        } else if self.shown > 0 && !jobs.states.is_empty() {
            text.push(',');
        }
        for (index, state) in jobs.states.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(state.json());
        }
        self.shown += jobs.states.len();
        self.left = self.left.saturating_sub(jobs.states.len());
        self.query.after = jobs.next;
        if jobs.next.is_none() || self.left == 0 || self.unshown == 0 {
            self.ended = true;
            let next = jobs.next.map(|next| format!("{next:x}"));
            let total = if self.grant.watches_all() { jobs.total } else { self.shown };
            let page = JobList { jobs: [], next, total, counts: self.counts.take() };
            text.push_str(&page.tail());
        }
        text
    }
}

/// How many of these states one part of the response has: as many as [`CHUNK_BYTES`] hold, and at least one.
fn fitting(states: &[Arc<JobState>]) -> usize {
    let mut bytes = 0;
    let fits = |state: &&Arc<JobState>| {
        bytes += state.json().len();
        bytes <= CHUNK_BYTES
    };
    states.iter().take_while(fits).count().max(1).min(states.len())
}

/// The parameters of a list.
struct ListQuery {
    query: JobsQuery,
    sort: Option<Sort>,
    with_counts: bool,
}

impl ListQuery {
    fn parse(query: Option<&str>) -> Outcome<Self> {
        let known = Known {
            once: &["prefix", "name", "parent", "q", "sort", "counts", "limit", "after"],
            repeatable: &["status", "health", "tag"],
        };
        let pairs = known.pairs(query)?;
        let query = JobsQuery { limit: 100, ..JobsQuery::default() };
        let mut list = Self { query, sort: None, with_counts: false };
        for (name, value) in pairs {
            list.add(&name, value)?;
        }
        Ok(list)
    }

    fn add(&mut self, name: &str, value: String) -> Outcome<()> {
        let query = &mut self.query;
        match name {
            "status" => query.statuses.extend(each_named(
                "status",
                &value,
                Status::from_name,
                &Status::ALL.map(Status::as_str),
            )?),
            "health" => query.healths.extend(each_named(
                "health",
                &value,
                Health::from_name,
                &Health::ALL.map(Health::as_str),
            )?),
            "prefix" => query.prefix = value,
            "name" => query.keywords.push(Keyword::Name(value.into())),
            "tag" => query.keywords.push(Keyword::Tag(value.into())),
            "parent" => {
                let parent = JobId::parse(&value).ok();
                expect("parent", &value, parent, "it must be a job id")?;
                query.keywords.push(Keyword::Parent(value.into()));
            }
            "q" => query.text = value,
            "sort" => self.sort = parse_sort(&value)?,
            "counts" => {
                let counts = value.parse().ok();
                self.with_counts = expect("counts", &value, counts, "it must be true or false")?;
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                query.limit = expect("limit", &value, limit, "it must be 1 to 1000")?;
            }
            "after" => {
                let after = u64::from_str_radix(&value, 16).ok();
                let expected = "it must be the next of an earlier page";
                query.after = Some(expect("after", &value, after, expected)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A parameter's value, or the refusal that says what it must be.
fn expect<T>(parameter: &str, text: &str, value: Option<T>, expected: &str) -> Outcome<T> {
    value.ok_or_else(|| Refused::parameter(parameter, format!("is {text:?}; {expected}")))
}

/// A parameter's values, of which each is one of the `known` names.
fn each_named<T>(
    parameter: &str,
    names: &str,
    from_name: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Outcome<Vec<T>> {
    let value = |name| {
        from_name(name).ok_or_else(|| {
            let detail = format!("is {name:?}, which is none of {}", known.join(", "));
            Refused::parameter(parameter, detail)
        })
    };
    names.split(',').map(value).collect()
}

/// The order of a list; none: the broker's, the most recently begun first.
fn parse_sort(name: &str) -> Outcome<Option<Sort>> {
    if name == "begun" {
        return Ok(None);
    }
    let known = Sort::NAMES.join(", ");
    let expected = format!("it must be begun, or one of {known}, optionally after a -");
    expect("sort", name, Sort::from_name(name), &expected).map(Some)
}
