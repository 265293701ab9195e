//! Keeps pages of foreign origins from using the server in a visitor's name.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use milepost_protocol::ProblemType;

use super::Grant;
use crate::instance::Instance;
use crate::response::problem::{Outcome, Refused};

/// The grant of a request that changes something and was not sent by a foreign page. A browser names the origin of the
/// page (RFC 6454, section 7), and sends a plain POST without asking the server first. Other clients name no origin,
/// and are accepted.
pub(crate) struct NotForeign(pub(crate) Grant);

impl FromRequestParts<Arc<Instance>> for NotForeign {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, Refused> {
        let Ok(grant) = Grant::from_request_parts(parts, instance).await;
        // A foreign page has no credential but a cookie, and the layer has checked that cookie's page.
        if instance.gate.is_some() {
            return Ok(Self(grant));
        }
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        check(instance, authority, &parts.headers, false).map(|()| Self(grant))
    }
}

/// Whether a page may open a WebSocket. Browsers open them across origins without asking the server first.
pub(crate) fn check_handshake(instance: &Instance, headers: &HeaderMap) -> Outcome<()> {
    check(instance, None, headers, true)
}

/// Whether a page may use the credential that its browser sends by itself. `changes`: the request changes something, or
/// opens a WebSocket, so that the browser names the page's origin.
///
/// # Errors
/// `origin-not-allowed` if it is neither the server's own nor one that the operator named.
pub(super) fn check_ambient(
    instance: &Instance,
    headers: &HeaderMap,
    changes: bool,
) -> Outcome<()> {
    if headers.contains_key(ORIGIN) {
        return check(instance, None, headers, false);
    }
    // A page of the server that only reads names no origin. Most browsers then send Fetch Metadata.
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    let is_ours = match site {
        Some(site) => matches!(site, b"same-origin" | b"none"),
        None => !changes,
    };
    if is_ours {
        return Ok(());
    }
    let detail = "a cookie counts only for pages of this server, or of its cors_origins";
    Err(Refused::new(ProblemType::OriginNotAllowed, detail))
}

fn check(
    instance: &Instance,
    authority: Option<&str>,
    headers: &HeaderMap,
    watches: bool,
) -> Outcome<()> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    if instance.origins.allow(&origin, watches) || is_own(instance, &origin, authority, headers) {
        return Ok(());
    }
    let detail = format!(
        "{origin:?} is neither this server nor one of its cors_origins; if its pages may do this, add it to that setting"
    );
    Err(Refused::new(ProblemType::OriginNotAllowed, detail))
}

/// Whether the page is this server's. HTTP/2 names the server in the address, HTTP/1.1 in a header.
fn is_own(instance: &Instance, origin: &str, authority: Option<&str>, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page.zip(host).is_some_and(|(page, host)| {
        page.eq_ignore_ascii_case(host) && instance.hosts.may_be_own(host)
    })
}
