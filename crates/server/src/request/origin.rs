//! Whose pages may report.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use milepost_protocol::ProblemType;

use crate::instance::Instance;
use crate::response::problem::Refused;

/// That a request which changes something was not sent by a foreign page: a browser says whose page sends it
/// (RFC 6454, section 7), and sends a plain POST without asking us first. Whatever is not a browser names no
/// origin, and is let through.
pub(crate) struct NotForeign;

impl FromRequestParts<Arc<Instance>> for NotForeign {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, Refused> {
        let Some(origin) = parts.headers.get(ORIGIN) else { return Ok(Self) };
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let named = instance.config.cors_origins.iter().any(|named| *named == *origin);
        if named
            || is_own(
                &origin,
                parts.uri.authority().map(http::uri::Authority::as_str),
                &parts.headers,
            )
        {
            return Ok(Self);
        }
        let detail = format!("{origin:?} is neither this server nor one of its cors_origins");
        Err(Refused::new(ProblemType::OriginNotAllowed, detail))
    }
}

/// Whether the page came from here. HTTP/2 names us in the address, HTTP/1.1 in a header.
fn is_own(origin: &str, authority: Option<&str>, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
}
