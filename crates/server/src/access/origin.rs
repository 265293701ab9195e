//! Whose pages may watch and report.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use milepost_protocol::ProblemType;

use crate::access::Grant;
use crate::instance::Instance;
use crate::response::problem::{Outcome, Refused};

/// That a request which changes something was not sent by a foreign page: a browser says whose page sends it
/// (RFC 6454, section 7), and sends a plain POST without asking us first. Whatever is not a browser names no
/// origin, and is let through. With what the request is granted.
pub(crate) struct NotForeign(pub(crate) Grant);

impl FromRequestParts<Arc<Instance>> for NotForeign {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, Refused> {
        let Ok(grant) = Grant::from_request_parts(parts, instance).await;
        // A foreign page has no credential but a cookie, whose page the layer has checked.
        if instance.gate.is_some() {
            return Ok(Self(grant));
        }
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        check(instance, authority, &parts.headers, false).map(|()| Self(grant))
    }
}

/// Whether a WebSocket may be opened by the page that asks for it: browsers open them across origins without asking.
pub(crate) fn check_handshake(instance: &Instance, headers: &HeaderMap) -> Outcome<()> {
    check(instance, None, headers, true)
}

/// Whether a page may use the credential that its browser sends by itself. `changes`: the request changes something, or
/// opens a WebSocket, which a browser says the page of.
///
/// # Errors
/// `origin-not-allowed` if it is neither ours nor one that the operator has named.
pub(super) fn check_ambient(
    instance: &Instance,
    headers: &HeaderMap,
    changes: bool,
) -> Outcome<()> {
    if headers.contains_key(ORIGIN) {
        return check(instance, None, headers, false);
    }
    // A page of ours that only reads names no origin. Browsers that can say more, do (Fetch Metadata).
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
    let allowed = |named: &String| *named == *origin || (watches && named == "*");
    if instance.config.cors_origins.iter().any(allowed)
        || is_own(instance, &origin, authority, headers)
    {
        return Ok(());
    }
    let detail = format!("{origin:?} is neither this server nor one of its cors_origins");
    Err(Refused::new(ProblemType::OriginNotAllowed, detail))
}

/// Whether the page came from here. HTTP/2 names us in the address, HTTP/1.1 in a header.
fn is_own(instance: &Instance, origin: &str, authority: Option<&str>, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page.zip(host).is_some_and(|(page, host)| {
        page.eq_ignore_ascii_case(host) && instance.hosts.may_be_own(host)
    })
}
