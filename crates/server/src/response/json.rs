use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;

/// A JSON response that no cache keeps: it is out of date when it arrives.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    // Structs of strings, numbers and lists: only I/O can fail.
    json_text(serde_json::to_string(value).unwrap_or_default())
}

/// The same, for JSON that is already text.
pub(crate) fn json_text(body: impl Into<Body>) -> Response {
    let body = body.into();
    let json = HeaderValue::from_static("application/json");
    let no_cache = HeaderValue::from_static("no-cache");
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, json);
    response.headers_mut().insert(CACHE_CONTROL, no_cache);
    response
}
