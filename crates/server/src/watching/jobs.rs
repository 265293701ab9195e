//! `GET /jobs`: the jobs known, in pages.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use milepost_broker::JobsQuery;
use milepost_protocol::Status;

use crate::instance::Instance;
use crate::openapi;
use crate::request::parameter;
use crate::response::problem::{Outcome, Refused};
use crate::response::{join, json_text};

/// The jobs known, in pages
#[utoipa::path(
    get, path = "/jobs", operation_id = "jobs", tag = "Watching",
    params(openapi::JobsParams),
    responses((status = 200, description = "A page.", body = openapi::JobList), openapi::ListRefused),
)]
pub(crate) async fn list(
    State(instance): State<Arc<Instance>>,
    RawQuery(query): RawQuery,
) -> Outcome<Response> {
    let jobs = instance.broker.jobs(&parse(query.as_deref())?).await?;
    let next = jobs.next.map_or_else(|| "null".to_owned(), |next| format!("\"{next:x}\""));
    let states = join(&jobs.states);
    Ok(json_text(format!(r#"{{"jobs":[{states}],"next":{next},"total":{}}}"#, jobs.total)))
}

fn parse(query: Option<&str>) -> Outcome<JobsQuery> {
    // Pairs, because `status` may be given several times.
    let pairs: Vec<(String, String)> = parameter::from_query(query)?;
    let mut parsed =
        JobsQuery { statuses: Vec::new(), prefix: String::new(), limit: 100, after: None };
    for (name, value) in pairs {
        match name.as_str() {
            "status" => {
                for name in value.split(',') {
                    let status = Status::from_name(name).ok_or_else(|| {
                        let known = Status::ALL.map(Status::as_str).join(", ");
                        Refused::parameter(
                            "status",
                            format!("is {name:?}, which is none of {known}"),
                        )
                    })?;
                    parsed.statuses.push(status);
                }
            }
            "prefix" => parsed.prefix = value,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                parsed.limit = limit.ok_or_else(|| {
                    Refused::parameter("limit", format!("is {value:?}; it is 1 to 1000"))
                })?;
            }
            "after" => {
                let after = u64::from_str_radix(&value, 16).ok();
                parsed.after = Some(after.ok_or_else(|| {
                    Refused::parameter("after", format!("is {value:?}, which no page's next was"))
                })?);
            }
            _ => {}
        }
    }
    Ok(parsed)
}
