//! The origins whose pages may watch and report.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use milepost_protocol::ProblemType;

use crate::access::Grant;
use crate::config::Config;
use crate::instance::Instance;
use crate::response::problem::{Outcome, Refused};

/// The origins whose pages may watch, besides the server's own pages.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Their pages may also report and control.
    named: Box<[String]>,
    unnamed: Unnamed,
}

/// Which origins may watch without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    None,
    /// Those of pages that this machine itself serves.
    Local,
    Any,
}

impl Origins {
    /// By default, pages of any origin may watch if they need a credential, or if other machines reach the server
    /// anyway: with `insecure`, or under one of its `hosts`. Otherwise only this machine reaches it, and a page on the
    /// internet must not do so through a browser here.
    pub(crate) fn new(config: &Config) -> Self {
        let Some(origins) = &config.cors_origins else {
            let is_open =
                config.insecure || config.asks_for_credentials() || !config.hosts.is_empty();
            let unnamed = if is_open { Unnamed::Any } else { Unnamed::Local };
            return Self { named: Box::default(), unnamed };
        };
        let (any, named): (Vec<_>, Vec<_>) =
            origins.iter().cloned().partition(|origin| origin == "*");
        let unnamed = if any.is_empty() { Unnamed::None } else { Unnamed::Any };
        Self { named: named.into(), unnamed }
    }

    pub(crate) fn named(&self) -> &[String] {
        &self.named
    }

    pub(crate) fn unnamed(&self) -> Unnamed {
        self.unnamed
    }

    fn allow(&self, origin: &str, watches: bool) -> bool {
        let is_allowed = match self.unnamed {
            Unnamed::None => false,
            Unnamed::Local => is_local(origin),
            Unnamed::Any => true,
        };
        (watches && is_allowed) || self.named.iter().any(|named| named == origin)
    }
}

/// Whether this machine itself serves the pages of that origin. A page that was opened from a file has the origin
/// `null`, and so has a frame in a sandbox, which any page may have made.
pub(crate) fn is_local(origin: &str) -> bool {
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(page) = page else { return false };
    if let Some(address) = page.strip_prefix('[') {
        let address = address.split_once(']').map(|(address, _)| address.parse::<IpAddr>());
        return matches!(address, Some(Ok(address)) if address.to_canonical().is_loopback());
    }
    let name = page.split_once(':').map_or(page, |(name, _)| name);
    name.parse::<IpAddr>().map_or_else(
        |_| name == "localhost" || name.ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_pages_are_those_that_this_machine_serves() {
        for local in [
            "http://localhost",
            "https://localhost:3000",
            "http://app.localhost:3000",
            "http://127.0.0.1:8085",
            "http://127.9.9.9",
            "http://[::1]:3000",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "null",
            "",
            "https://app.example.com",
            "https://localhost.example.com",
            "https://notlocalhost",
            "http://127.0.0.1.example.com",
            "http://192.168.1.2",
            "http://[::2]",
            "http://[::1",
            "file://localhost",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }
}
