//! `GET /watchers`: how many watchers each job has on this instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use milepost_protocol::JobId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Grant;
use crate::instance::Instance;
use crate::openapi;
use crate::request::parameter::Known;
use crate::response::json;
use crate::response::problem::{Outcome, Refused};

/// The numbers of watchers that jobs have on this instance.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"watchers": {"job_12345": 2, "job_12346": 0}})))]
pub(crate) struct Watchers {
    /// By job.
    watchers: BTreeMap<String, usize>,
}

/// The most jobs in one request.
const MOST: usize = 100;

/// How many watchers jobs have
///
/// On this instance: other instances count their own watchers. A job without watchers has 0, whether it is known or
/// not. A WebSocket counts once for each job that it subscribes to. Open event streams and held polls count too.
#[utoipa::path(
    get, path = "/watchers", operation_id = "watchers", tag = "Operating",
    params(openapi::WatchersParams),
    responses((status = 200, description = "The counts.", body = Watchers), openapi::ParameterRefused),
)]
pub(crate) async fn count(
    State(instance): State<Arc<Instance>>,
    RawQuery(query): RawQuery,
    grant: Grant,
) -> Outcome<Response> {
    let jobs = parse(query.as_deref())?;
    // A job that may not be watched looks like an unknown job.
    let mut watchers = BTreeMap::new();
    for job in &jobs {
        let may_watch = grant.may_watch(job, &*instance.broker).await?;
        watchers.insert(job.to_string(), if may_watch { instance.hub.watchers(job) } else { 0 });
    }
    Ok(json(&Watchers { watchers }))
}

fn parse(query: Option<&str>) -> Outcome<Vec<JobId>> {
    // Pairs, because `job_id` may be given several times.
    let pairs = Known { once: &[], repeatable: &["job_id"] }.pairs(query)?;
    let named = pairs.iter().filter(|(name, _)| name == "job_id");
    let mut jobs = Vec::new();
    for id in named.flat_map(|(_, ids)| ids.split(',')) {
        if jobs.len() == MOST {
            return Err(Refused::parameter("job_id", format!("names more than {MOST} jobs")));
        }
        let job = JobId::parse(id);
        jobs.push(
            job.map_err(|error| Refused::parameter("job_id", format!("is {id:?}: {error}")))?,
        );
    }
    Ok(jobs)
}
