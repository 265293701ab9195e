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
use http::{Method, Request};
use hyper::body::Incoming;

use super::update;
use crate::access::Grant;
use crate::instance::Instance;
use crate::limits::{Client, Meter};
use crate::request::headers::Unconditional;
use crate::response::problem::Outcome;
use crate::router;

/// Whether the request is a plain report: `POST /jobs/{job_id}`, with an id that is not encoded and without parameters,
/// not from a page, on a server without credentials.
pub(crate) fn is_plain_report<B>(instance: &Instance, request: &Request<B>) -> bool {
    request.method() == Method::POST
        && instance.gate.is_none()
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
    Unconditional::check(request.headers())?;
    let client = request.extensions().get::<Client>().copied();
    let meter = Meter::of(Arc::clone(instance), client, Grant::Unguarded);
    let job = job(&request).unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    update::report(instance, &Grant::Unguarded, &meter, &job, &parts.headers, body).await
}
