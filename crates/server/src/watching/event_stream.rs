//! What all streams of server-sent events share: `spec/README.md`, section 8.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Version};
use milepost_protocol::ProblemType;

use crate::access::{Ending, Grant};
use crate::counters::{OpenSocket, Watching};
use crate::instance::Instance;
use crate::limits::Meter;
use crate::limits::connections::Counted;
use crate::response::body::{pieces, text_bytes};
use crate::response::problem::{Outcome, Refused};

/// Keeps an idle connection open.
pub(super) const KEEPALIVE: &str = ": keepalive\n\n";

/// The source of one client's events.
pub(super) trait EventSource: Send + 'static {
    /// The next events; none if the stream is over.
    fn next(&mut self) -> impl Future<Output = Option<String>> + Send;

    /// Holds the memory of events until they are sent.
    fn instance(&self) -> &Instance;
}

/// What an open stream counts for, until it is dropped, and how long its credential allows it.
pub(super) struct Admission {
    pub(super) ending: Ending,
    #[expect(dead_code, reason = "counts the watcher until it is dropped")]
    watching: Watching,
    #[expect(dead_code, reason = "counts the stream until it is dropped")]
    stream: Option<OpenSocket>,
    #[expect(dead_code, reason = "counts the stream for its subject until it is dropped")]
    subject: Option<Arc<Counted<Arc<str>>>>,
}

/// Admits one more stream.
///
/// # Errors
/// If the client, or the server, has too many.
pub(super) fn admit(
    instance: &Instance,
    version: Version,
    grant: &Grant,
    meter: &Meter,
) -> Outcome<Admission> {
    let subject = meter.begin_stream()?;
    let stream = instance.count_stream(version)?;
    let watching = Watching::new(&instance.counters);
    Ok(Admission { ending: Ending::of(grant, instance), watching, stream, subject })
}

/// Sends each event at once.
pub(super) fn respond(source: impl EventSource) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        // nginx would collect events otherwise.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(bytes(source))).into_response()
}

fn bytes(source: impl EventSource) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let chunks = futures_util::stream::unfold(source, |mut source| async move {
        let chunk = source.next().await?;
        // Without memory, the stream ends. Its client reconnects and resumes from its position.
        let held = source.instance().memory.responses.take(chunk.capacity()).ok()?;
        Some((text_bytes(chunk, held), source))
    });
    chunks.flat_map(|chunk| futures_util::stream::iter(pieces(chunk).map(Ok)))
}

/// When the client has to reconnect. Spread, so that the clients of an instance that stops do not all reconnect at
/// once.
pub(super) fn retry() -> String {
    format!("retry: {}\n", fastrand::u32(1_000..=5_000))
}

/// The event that has the problem's name.
pub(super) fn problem(problem: &Refused) -> String {
    let name = ProblemType::from_uri(&problem.0.uri).map_or("internal", ProblemType::name);
    format!("event: {name}\ndata: {}\n\n", problem.json())
}
