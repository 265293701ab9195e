//! `GET /openapi.json`: the HTTP interface, generated from the annotations on the handlers.
//!
//! Responses are the types that the handlers serialize. A state or an update passes through as text, to the last digit;
//! `milepost_protocol` describes its fields. `tests/documents/openapi.rs` checks real responses against the document.

mod parameters;
mod problems;

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};

pub(crate) use parameters::{
    AfterRequestParam, CloseParam, IfNoneMatch, JobPath, JobsParams, LastEventId, LogParams,
    WaitParam, WatchParams, WatchersParams,
};
pub(crate) use problems::{
    BatchRefused, ForgetRefused, HistoryRefused, JobRefused, ListRefused, LogRefused,
    ParameterRefused, PollRefused, ReadLogRefused, ReportRefused, RequestRefused, SocketRefused,
    WatchRefused,
};

/// What the annotations of the handlers are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Milepost",
        description = "Shows how far long-running jobs are, live. `spec/README.md` has the rules. \
            Clients must ignore fields and problem types that they do not know, because both may be added.\n\n\
            Every rejection is `application/problem+json` (RFC 9457). Besides the problems of each operation, \
            any request may be answered with `invalid-host` (400), `unauthenticated` (401), `forbidden` (403), `not-found` (404), \
            `host-not-allowed` (421), `method-not-allowed` (405), `too-many-requests` (429), `internal` (500), \
            `too-many-connections`, `server-full` and `shutting-down` (503).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "Watching", description = "How far a job is: WebSocket, server-sent events, polling."),
        (name = "Reporting", description = "What workers send."),
        (name = "Requesting", description = "What watchers request of a job's worker."),
        (name = "Operating", description = "Health, metrics, and this document.")
    ),
    components(schemas(milepost_protocol::Problem, parameters::Mode, parameters::Close)),
)]
struct Base;

/// The document without the routes that the router adds to it.
pub(crate) fn base() -> Document {
    let mut document = Base::openapi();
    let schemes: [(&str, SecurityScheme); 3] = [
        (
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .bearer_format("JWT, or a key")
                    .build(),
            ),
        ),
        ("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("milepost_token")))),
        ("query", SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("token")))),
    ];
    // A server without credentials asks for none.
    let mut requirements = vec![SecurityRequirement::default()];
    for (name, scheme) in schemes {
        document.components.get_or_insert_default().add_security_scheme(name, scheme);
        requirements.push(SecurityRequirement::new(name, Vec::<String>::new()));
    }
    document.security = Some(requirements);
    document
}
