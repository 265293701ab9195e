//! The plain report, which most requests of a busy server are, answered without the router.
//!
//! The router's extractors, layers and boxes take a third of the instructions of a report. A request is plain if none
//! of them has anything to do for it; the answer is the same, byte for byte, but for headers that only a page in a
//! browser reads.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::ORIGIN;
use http::request::Parts;
use http::{Method, Request};
use hyper::body::Incoming;
use milepost_protocol::JobId;

use super::update;
use crate::access::{Need, grant};
use crate::instance::Instance;
use crate::limits::{Client, Meter};
use crate::request::headers::Unconditional;
use crate::response::problem::Outcome;
use crate::router;

/// Whether the request is a plain report: `POST /jobs/{job_id}`, with an id that is not encoded and without parameters,
/// not from a page.
pub(crate) fn is_plain_report<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST
        && request.uri().query().is_none()
        && job(request).is_some_and(|job| !job.is_empty() && !job.contains(['/', '%']))
        && !request.headers().contains_key(ORIGIN)
}

fn job<B>(request: &Request<B>) -> Option<&str> {
    request.uri().path().strip_prefix("/jobs/")
}

/// Answers a plain report.
pub(crate) async fn answer(instance: &Arc<Instance>, request: Request<Incoming>) -> Response {
    let answered = AssertUnwindSafe(report(instance, request)).catch_unwind().await;
    answered.map_or_else(router::panicked, IntoResponse::into_response)
}

async fn report(instance: &Arc<Instance>, request: Request<Incoming>) -> Outcome<Response> {
    let job = job(&request).unwrap_or_default().to_owned();
    let (Parts { method, uri, headers, extensions, .. }, body) = request.into_parts();
    // Like the router, which checks the id after the permission.
    let id = JobId::parse(&job).ok();
    let grant = grant(instance, Need::Report, &method, &uri, &headers, id.as_ref()).await?;
    Unconditional::check(&headers)?;
    let client = extensions.get::<Client>().copied();
    let meter = Meter::of(Arc::clone(instance), client, grant.clone());
    update::report(instance, &grant, &meter, &job, &headers, body).await
}
