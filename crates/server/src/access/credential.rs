//! The credential of a request: `spec/README.md`, section 15.

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Uri};

/// A client that offers this WebSocket subprotocol beside the one with its token is answered with it.
pub(crate) const SUBPROTOCOL: &str = "milepost";
const BEARER_SUBPROTOCOL: &str = "milepost.bearer.";
const COOKIE_NAME: &str = "milepost_token";

/// A key or a token, and how it was sent.
pub(crate) struct Credential<'a> {
    pub(crate) text: &'a str,
    /// The browser sent it by itself, for any page.
    pub(crate) is_ambient: bool,
}

/// A request has more than one header `Authorization`.
pub(crate) struct Repeated;

impl<'a> Credential<'a> {
    /// The first that the request carries: in `Authorization`, as a subprotocol, in a cookie, in the query.
    ///
    /// # Errors
    /// When there is more than one `Authorization`. RFC 9110, section 5.3: a proxy may have judged another one than the server would.
    pub(crate) fn of(headers: &'a HeaderMap, uri: &'a Uri) -> Result<Option<Self>, Repeated> {
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next();
        if authorizations.next().is_some() {
            return Err(Repeated);
        }
        let given = |text| Self { text, is_ambient: false };
        let explicit = authorization.map(bearer).or_else(|| subprotocol(headers)).map(given);
        Ok(explicit
            .or_else(|| cookie(headers).map(|text| Self { text, is_ambient: true }))
            .or_else(|| query(uri).map(given)))
    }
}

/// RFC 6750, section 2.1. A credential of another scheme is not valid.
fn bearer(value: &HeaderValue) -> &str {
    match value.to_str().unwrap_or_default().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    offered(headers).find_map(|protocol| protocol.strip_prefix(BEARER_SUBPROTOCOL))
}

/// The subprotocol to answer a handshake with: one of those offered, or browsers fail the connection.
pub(crate) fn chosen_subprotocol(headers: &HeaderMap) -> Option<&str> {
    let known =
        |protocol: &&str| *protocol == SUBPROTOCOL || protocol.starts_with(BEARER_SUBPROTOCOL);
    offered(headers)
        .find(|protocol| *protocol == SUBPROTOCOL)
        .or_else(|| offered(headers).find(known))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs =
        values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value).next()
}

fn query(uri: &Uri) -> Option<&str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    // Neither a key nor a token has characters that are escaped in a query.
    pairs.filter(|(name, _)| *name == "token").map(|(_, value)| value).next()
}
