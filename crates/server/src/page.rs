//! The pages, which the binary carries with it.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of `web/`, at the path that it has there.
macro_rules! web {
    ($content_type:ident $path:literal) => {
        (concat!("/", $path), $content_type, include_str!(concat!("../../../web/", $path)))
    };
}

/// What is served where: path, content type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../../../web/index.html")),
    web!(CSS "index.css"),
    web!(SCRIPT "index.js"),
    web!(SCRIPT "dashboard/chart.js"),
    web!(SCRIPT "dashboard/course.js"),
    web!(SCRIPT "dashboard/details.js"),
    web!(SCRIPT "dashboard/health.js"),
    web!(SCRIPT "dashboard/job-page.js"),
    web!(SCRIPT "dashboard/list.js"),
    web!(SCRIPT "dashboard/listing.js"),
    web!(SCRIPT "dashboard/rows.js"),
    web!(SCRIPT "dashboard/timeline.js"),
    ("/try", HTML, include_str!("../../../web/try.html")),
    web!(CSS "try.css"),
    web!(SCRIPT "try.js"),
    web!(SCRIPT "reports.js"),
    web!(SCRIPT "sample.js"),
    // Of both pages.
    web!(CSS "look.css"),
    web!(SCRIPT "announce.js"),
    web!(SCRIPT "connection.js"),
    web!(SCRIPT "job.js"),
    web!(SCRIPT "log.js"),
    web!(SCRIPT "pace.js"),
    web!(SCRIPT "paint.js"),
    web!(SCRIPT "server.js"),
    web!(SCRIPT "watches.js"),
    // Of everybody's pages.
    web!(SCRIPT "job-progress.js"),
    web!(SCRIPT "milepost.js"),
];

/// `GET` of each page and of what it loads.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        router.route(path, get(async move || asset(content_type, text)))
    })
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    // What a job says is shown as text; should a page ever forget that, nothing foreign runs.
    const POLICY: &str = "default-src 'self'; connect-src *; img-src 'self' data:; \
                          frame-ancestors 'self'; base-uri 'none'; form-action 'self'";
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, text).into_response()
}
