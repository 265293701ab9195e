//! A job's state as a badge, for READMEs, wikis and status pages: `spec/README.md`, section 9.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use milepost_protocol::{Health, JobId, State as JobState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Grant;
use crate::instance::Instance;
use crate::openapi;
use crate::request::parameter::{self, NamedJob, NoParameters};
use crate::response::json;
use crate::response::problem::{Outcome, Refused};
use crate::watching::state::{is_newer, tagged};

/// A longer label is cut, in characters.
const MAX_LABEL: usize = 40;

/// A badge, in the format of shields.io's endpoint.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "schemaVersion": 1, "label": "nightly backup", "message": "62%", "color": "#2a6ea6", "isError": false
})))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Badge {
    #[schema(minimum = 1, maximum = 1)]
    schema_version: u8,
    /// The job's name, or else its id; cut after 40 characters.
    label: String,
    /// A percentage while the job runs, or a word.
    message: String,
    /// `#` and six hexadecimal digits.
    #[schema(pattern = "^#[0-9a-f]{6}$")]
    color: &'static str,
    /// Whether the job failed.
    is_error: bool,
}

impl Badge {
    pub(crate) fn of(state: &JobState) -> Self {
        let view = state.view();
        let name = view.name.as_deref().filter(|name| !name.trim().is_empty());
        let (message, color) = match (state.status(), state.health()) {
            (Status::Completed, _) => ("completed".to_owned(), "#2c7a4b"),
            (Status::Failed, _) => ("failed".to_owned(), "#b5372d"),
            (Status::Cancelled, _) => ("cancelled".to_owned(), "#6a7078"),
            (_, Some(Health::Lost)) => ("silent".to_owned(), "#8a5a00"),
            (_, Some(Health::Stalled)) => ("stalled".to_owned(), "#8a5a00"),
            (Status::Queued, _) => ("queued".to_owned(), "#6a7078"),
            (Status::Processing, _) => (percent(view.progress), "#2a6ea6"),
        };
        let is_error = state.status() == Status::Failed;
        let label = cut(name.unwrap_or(state.job().as_str()));
        Self { schema_version: 1, label, message, color, is_error }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    fn svg(&self) -> String {
        let (label, message) = (xml(&self.label), xml(&self.message));
        let (left, right) = (width(&self.label), width(&self.message));
        let whole = left + right;
        let mut svg = format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" "#,
                r#"aria-label="{label}: {message}"><title>{label}: {message}</title>"#,
                r#"<clipPath id="r"><rect width="{whole}" height="20" rx="3"/></clipPath>"#,
                r##"<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3d444c"/>"##,
                r#"<rect x="{left}" width="{right}" height="20" fill="{color}"/></g>"#,
                r##"<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" "##,
                r#"text-anchor="middle">"#,
            ),
            whole = whole,
            label = label,
            message = message,
            left = left,
            right = right,
            color = self.color,
        );
        for (text, middle, room) in [(&label, left / 2, left), (&message, left + right / 2, right)]
        {
            // The text is stretched to its box, because fonts differ. Writing to a string cannot fail.
            let _ = write!(
                svg,
                r#"<text x="{middle}" y="14" textLength="{}" lengthAdjust="spacingAndGlyphs">{text}</text>"#,
                room - 2 * PADDING
            );
        }
        svg.push_str("</g></svg>\n");
        svg
    }
}

/// Rounded down, because only completed jobs have 100 %.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "progress is 0 to 1")]
fn percent(progress: Option<f64>) -> String {
    match progress {
        Some(progress) => format!("{}%", (progress * 100.0 + 1e-9).floor() as u8),
        None => "running".to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_LABEL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// On either side of a text, in pixels.
const PADDING: usize = 6;

/// About as wide as the text at 11 pixels, with the padding. Characters beyond Latin are wider.
fn width(text: &str) -> usize {
    let tenths: usize = text.chars().map(|c| if c < '\u{2e80}' { 66 } else { 110 }).sum();
    tenths / 10 + 2 * PADDING
}

/// Escapes characters that XML reserves, and drops those that it forbids.
pub(crate) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A job's state as an SVG badge
#[utoipa::path(
    get, path = "/jobs/{job_id}/badge.svg", operation_id = "badge_svg", tag = "Watching",
    params(openapi::JobPath, openapi::IfNoneMatch),
    responses(
        (status = 200, description = "The badge.", body = String, content_type = "image/svg+xml",
            headers(("ETag" = String, description = "The position, in quotes."))),
        (status = 304, description = "Nothing newer than `If-None-Match`.",
            headers(("ETag" = String, description = "The position, in quotes."))),
        openapi::HistoryRefused,
    ),
)]
pub(crate) async fn svg(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    _: NoParameters,
    grant: Grant,
    headers: HeaderMap,
) -> Outcome<Response> {
    respond(&instance, &job, &grant, &headers, |badge| {
        let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")),
            // If it is opened as a page, it can do nothing.
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (RESOURCE_POLICY, HeaderValue::from_static("cross-origin")),
        ];
        (headers, badge.svg()).into_response()
    })
    .await
}

/// A job's state as the data of a badge
///
/// In the format that shields.io reads from an endpoint.
#[utoipa::path(
    get, path = "/jobs/{job_id}/badge.json", operation_id = "badge_json", tag = "Watching",
    params(openapi::JobPath, openapi::IfNoneMatch),
    responses(
        (status = 200, description = "The badge.", body = Badge,
            headers(("ETag" = String, description = "The position, in quotes."))),
        (status = 304, description = "Nothing newer than `If-None-Match`.",
            headers(("ETag" = String, description = "The position, in quotes."))),
        openapi::HistoryRefused,
    ),
)]
pub(crate) async fn data(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    _: NoParameters,
    grant: Grant,
    headers: HeaderMap,
) -> Outcome<Response> {
    respond(&instance, &job, &grant, &headers, json).await
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

async fn respond(
    instance: &Instance,
    job: &str,
    grant: &Grant,
    headers: &HeaderMap,
    encode: impl Fn(&Badge) -> Response,
) -> Outcome<Response> {
    let job = JobId::parse(job)?;
    let seen = parameter::if_none_match(headers);
    let state = instance.broker.state(&job).await?.ok_or_else(|| Refused::unknown_job(&job))?;
    let state = grant.show(state);
    let response = if is_newer(Some(&state), &seen) {
        encode(&Badge::of(&state))
    } else {
        StatusCode::NOT_MODIFIED.into_response()
    };
    Ok(tagged(response, state.position()))
}
